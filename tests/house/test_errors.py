"""Errors name the argument, and stay short whatever they are about."""

import json

import pytest
import torch
from helpers import CharTokenizer, small_model

from maml_en_llm import (
    Benchmark,
    Episode,
    EpisodeSampler,
    MAMLenLLM,
    MetaICL,
    PromptEncoder,
    PromptLoss,
    Task,
    load_benchmark,
    parameters,
)
from maml_en_llm.errors import LISTED, ROOM, SHOWN, check_choice, listed, nearest
from maml_en_llm.evaluation import (
    as_targets,
    by_rule,
    choose_rate,
    evaluate_by,
    few_per_family,
    held_out,
    hold_back,
    metric_name,
    oracle_answer,
    overall,
    score_options,
    score_predictions,
    score_prompts,
)
from maml_en_llm.meta import hessian_vector_product, loss_and_grad
from maml_en_llm.optimizers import SGD, Adam, Adam8Bit, Clipped
from maml_en_llm.prompts import Prompt, bucket, collate, pieces, stack
from maml_en_llm.tasks import Example

LONG = [f"{n:02d}{'n' * 150}" for n in range(20)]
MOST = 600  # characters of a message about the longest names


def test_names_are_listed_in_a_bounded_room():
    few = ["a", "b", "c"]
    assert listed(few) == "a, b, c" and listed([]) == ""
    assert listed(map(str, range(14))).endswith("10, 11, … and 2 more")
    three = ", ".join(name[:SHOWN] for name in LONG[:3])
    assert listed(LONG) == f"{three}, … and 17 more" and listed(LONG[:3]) == three
    whole = ["n" * 60] * LISTED
    assert listed(whole).count("n" * 60) == (ROOM + 2) // 62
    assert listed(whole).endswith(f", … and {LISTED - (ROOM + 2) // 62} more")


def test_what_is_nearest_is_cut_like_any_other_value():
    assert nearest(LONG[0], LONG) == f"; nearest: {LONG[0][:SHOWN]}"
    assert nearest("metaicl", ["MetaICL", "metaicl-2", "metaicl-1"]).count(",") >= 1


@pytest.fixture
def folder(tmp_path):
    lists = {name: {"train": LONG, "test": []} for name in LONG}
    (tmp_path / "settings.json").write_text(json.dumps({"settings": lists}))
    return tmp_path


TEN = tuple(Example(f"text {n}", "a", ("a", "b")) for n in range(10))
TASKS = [Task(name, "classification", train=TEN) for name in LONG]


def sampled(tasks, **more):
    encoder = PromptEncoder(CharTokenizer())
    return EpisodeSampler(tasks, encoder, 0, **(dict(demonstrations=1) | more))


def asked(option):
    query = Example("t", "a", (*LONG, option))
    return score_options(small_model(), CharTokenizer(), [], [query])


@pytest.mark.parametrize(
    "wrong",
    [
        lambda folder: load_benchmark(folder, LONG[0][:-1]),  # nearest settings
        lambda folder: load_benchmark(folder, LONG[0]),  # without its files
        lambda folder: load_benchmark(folder, LONG[0], tasks=[LONG[0][:-1]]),
        lambda _: sampled(TASKS * 2),  # doubled names
        lambda _: sampled(TASKS, instructions=True),
        lambda _: sampled(TASKS, demonstrations=16),
        lambda _: asked(" "),  # a blank option
        lambda _: check_choice("name", LONG[0][:-1], LONG),
    ],
)
def test_long_names_make_no_long_messages(folder, wrong):
    with pytest.raises(ValueError) as error:
        wrong(folder)
    assert len(str(error.value).replace(str(folder), "")) <= MOST


MODEL = small_model()
LOSS, OWN = PromptLoss(MODEL), parameters(MODEL)
BENCH = Benchmark([], as_targets([Task("a", "classification", train=TEN * 3)]))
BATCH = collate([Prompt((1, 2), 1)])
ONE = {"a": torch.ones(2)}
EPISODE = Episode("a", (BATCH,), BATCH)


def mean_loss(params, _):
    return params["a"].sum()


def predictions(*queries):
    return score_predictions("classification", queries, [[1, 2]])


# the message's beginning → a call with an argument of another kind
OTHER_KINDS = {
    "tasks: expected a list of Task": lambda: hold_back("abc"),
    "tasks: expected a list.* found 5": lambda: hold_back(5),
    r"tasks\[0\]: expected a Task, found 1": lambda: hold_back([1]),
    r"tasks\[0\]: expected a Task, found 2": lambda: as_targets([2]),
    r"tasks\[0\]: expected a Task, found 3": lambda: few_per_family([3], 2),
    r"held: expected a Held by family.*found {'a'": lambda: overall({"a": 1}),
    r"held: expected a Held by family.*found \[1": lambda: overall([1]),
    "family: expected a function.* found 3": lambda: held_out(
        MODEL, CharTokenizer(), BENCH.test, family=3
    ),
    "rule: expected a function.* found 3": lambda: by_rule(3),
    "k: expected a whole number": lambda: by_rule(oracle_answer, k=-1),
    "scorer: expected a function.* found 3": lambda: evaluate_by(3, BENCH),
    "make: expected a function.* found 3": lambda: choose_rate(
        MODEL, CharTokenizer(), TASKS, make=3
    ),
    "demonstrations: expected a list of Ex": lambda: oracle_answer(1, TEN[0]),
    "query: expected an Example.* found 2": lambda: oracle_answer([], 2),
    "task: expected a Task, found 1": lambda: metric_name(1),
    r"queries\[0\]: expected an Example, found 1": lambda: predictions(1),
    r"queries\[0\]: expected an answer": lambda: predictions(Example("t", 1, ("a",))),
    "batches: expected a list of Batch, found 1": lambda: stack(1),
    "batches: expected a list of Batch, found 2": lambda: bucket(2, 9),
    "batches: expected each a Batch.* found 'a'": lambda: bucket(["a"], 9),
    "tokens: expected a whole number": lambda: bucket([BATCH] * 2, "a"),
    "batches: .*found 3; .*tokens_at_once=0": lambda: MetaICL(
        tokens_at_once=9
    ).gradient(mean_loss, ONE, [Episode("a", (), 3)], None),
    "fmt: expected a Format": lambda: pieces("a", "b", None, first=True),
    "vector: expected names of parameters, found 'x'": lambda: hessian_vector_product(
        LOSS, OWN, BATCH, {"x": torch.ones(1)}
    ),
    "vector: expected tensors by name, found None": lambda: hessian_vector_product(
        LOSS, OWN, BATCH, None
    ),
    "names: expected names of parameters, found 'x'": lambda: loss_and_grad(
        LOSS, OWN, BATCH, ["x"]
    ),
    "params: expected tensors by name, found None": lambda: loss_and_grad(
        mean_loss, None, BATCH
    ),
    r"params: expected tensors by name, found \[1\]": lambda: LOSS([1], BATCH),
    "params: expected tensors by name, found 4": lambda: MAMLenLLM(
        inner=SGD(0.1)
    ).gradient(LOSS, 4, [EPISODE], None),
    r"grads: expected tensors by name, found \[\]": lambda: SGD(0.1).update(
        [], SGD(0.1).init({}), {}
    ),
    "params: expected tensors by name, found 'a'": lambda: SGD(0.1).update(
        ONE, SGD(0.1).init({}), "a"
    ),
    r"params: expected tensors by name, found \[ten": lambda: Adam(0.1).init(
        [ONE["a"]]
    ),
    "params: expected tensors by name, found 8": lambda: Adam8Bit(0.1).init(8),
    "grads: expected tensors by name, found 8": lambda: Adam8Bit(0.1).update(
        8, Adam8Bit(0.1).init({}), {}
    ),
    "grads: expected tensors by name, found 9": lambda: Clipped(SGD(0.1), 1.0).update(
        9, SGD(0.1).init({}), {}
    ),
}


@pytest.mark.parametrize("message", OTHER_KINDS)
def test_what_is_of_another_kind_is_named(message):
    with pytest.raises(ValueError, match=f"^{message}"):
        OTHER_KINDS[message]()


@pytest.mark.parametrize("ids", [("a", "b"), ((1, 2), (3, 4)), (None, 2), (2**70, 1)])
def test_prompts_of_other_ids_are_not_scored(ids):
    with pytest.raises(ValueError, match=r"^prompts\[0\].ids: expected whole numbers"):
        score_prompts(MODEL, [Prompt(ids, 1)])
