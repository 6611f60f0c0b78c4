"""Messages stay short, whatever names they are about."""

import json

import pytest
from helpers import CharTokenizer, small_model

from maml_en_llm import EpisodeSampler, PromptEncoder, Task, load_benchmark
from maml_en_llm.errors import LISTED, ROOM, SHOWN, check_choice, listed, nearest
from maml_en_llm.evaluation import score_options
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
