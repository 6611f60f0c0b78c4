"""Episodes: functions of (seed, step, index), nested, without a record in two roles."""

import math
import warnings
from collections import Counter
from dataclasses import replace

import pytest
import torch
from helpers import CharTokenizer, records

from maml_en_llm import (
    Benchmark,
    DataError,
    EpisodeSampler,
    Example,
    Format,
    PromptEncoder,
    Task,
)
from maml_en_llm.evaluation import hold_back
from maml_en_llm.methods.draws import RESERVED, draw_prompts, shuffled
from maml_en_llm.prompts import Prompt, batches


class Notebook:
    """An encoder that writes down what it was given."""

    def __init__(self):
        self.given = []

    def check_target(self, example, *, instruction="", first=False):
        pass

    def training_prompt(self, demonstrations, query, instruction):
        self.given.append((tuple(demonstrations), query))
        return Prompt((1, 2, 3), 1)


def task(name, n):
    return Task(
        name,
        "classification",
        train=tuple(
            Example(r["input"], r["output"], tuple(r["options"]))
            for r in records(name, n)
        ),
    )


@pytest.mark.parametrize("sampling", ["uniform", "size"])
@pytest.mark.parametrize("query_tasks", ["same", "fresh"])
def test_the_task_does_not_decide_its_records(sampling, query_tasks):
    """Each of 4 queries goes through a task's 50 records as independent draws do."""
    n_tasks, size, draws = 40, 50, 4000
    sampler = EpisodeSampler(
        [task(f"t{n}", size) for n in range(n_tasks)],
        Notebook(),
        seed=1,
        prompts=4,
        demonstrations=2,
        sampling=sampling,
        query_tasks=query_tasks,
    )
    drawn = [sampler.draw(step, 0) for step in range(draws)]
    pairs = n_tasks * size
    expected = pairs * (1 - (1 - 1 / pairs) ** draws)
    for place in range(4):
        seen = {(one.query_task, one.query[place].query) for one in drawn}
        assert len(seen) == pytest.approx(expected, rel=0.03)
    older = replace(sampler, independent=False)
    drawn = [older.draw(step, 0) for step in range(draws)]
    seen = {(one.query_task, one.query[0].query) for one in drawn}
    assert len(seen) < 0.8 * expected or query_tasks == "fresh"


def test_tasks_may_come_from_a_generator():
    tasks = [task(f"t{n}", 30) for n in range(3)]
    one, other = (
        EpisodeSampler(given, Notebook(), 1, demonstrations=2)
        for given in (tasks, (each for each in tasks))
    )
    assert [one.draw(n, 0) for n in range(9)] == [other.draw(n, 0) for n in range(9)]


@pytest.mark.parametrize(
    ("inner_steps", "prompts", "demonstrations"), [(0, 1, 16), (2, 3, 5), (3, 1, 0)]
)
def test_queries_of_an_episode_differ_and_are_never_shown(
    inner_steps, prompts, demonstrations
):
    # no record to spare: the draw cannot be lucky
    size = (inner_steps + 1) * prompts + demonstrations
    encoder = Notebook()
    sampler = EpisodeSampler(
        [task("a", size)],
        encoder,
        0,
        1,
        inner_steps,
        prompts,
        demonstrations,
    )
    for step in range(20):
        encoder.given.clear()
        (episode,) = sampler.sample(step)
        assert len(episode.support) == inner_steps
        assert [
            len(batch.input_ids) for batch in (*episode.support, episode.query)
        ] == [prompts] * (inner_steps + 1)
        queries = {query for _, query in encoder.given}
        assert len(queries) == (inner_steps + 1) * prompts
        for shown, _ in encoder.given:
            assert len(set(shown)) == len(shown) == demonstrations
            assert not queries & set(shown)


def test_every_record_is_drawn_in_every_role():
    encoder = Notebook()
    sampler = EpisodeSampler([task("a", 8)], encoder, 0, 1, 1, 1, 2)
    for step in range(100):
        sampler.sample(step)
    assert len({query for _, query in encoder.given}) == 8
    assert (
        len({shown[0] for shown, _ in encoder.given})
        == len({shown[1] for shown, _ in encoder.given})
        == 8
    )
    assert (
        len({encoder.given[n][0] for n in range(0, 200, 2)}) > 30
    )  # demonstrations are drawn anew for every prompt


@pytest.mark.parametrize(
    ("sampling", "shares"),
    [("size", [0.1, 0.3, 0.6]), ("uniform", [1 / 3, 1 / 3, 1 / 3])],
)
def test_share_of_each_task(sampling, shares):
    sizes = {"a": 10, "b": 30, "c": 60}
    sampler = EpisodeSampler(
        [task(*item) for item in sizes.items()],
        Notebook(),
        0,
        4000,
        0,
        1,
        1,
        sampling,
    )
    drawn = Counter(episode.task for episode in sampler.sample(0))
    # five standard deviations of a share of 4,000 draws
    assert [drawn[name] / 4000 for name in sizes] == pytest.approx(
        shares, abs=5 * math.sqrt(0.25 / 4000)
    )


def test_episodes_follow_the_generator():
    def texts(seed):
        sampler = EpisodeSampler(
            [task("a", 30), task("b", 30)],
            PromptEncoder(CharTokenizer()),
            seed,
            3,
            1,
            2,
            4,
        )
        return [
            [batch.input_ids.tolist() for batch in (*e.support, e.query)]
            for e in sampler.sample(0)
        ]

    assert texts(0) == texts(0) != texts(1)


SAMPLERS = {
    "no tasks": (
        dict(tasks=[]),
        "tasks: expected at least one meta-training task, found none",
    ),
    "k over the examples": (
        dict(demonstrations=9),
        r"tasks: an episode takes 13 different examples .* 9 demonstrations\); "
        r"too few in a \(12\); lower",
    ),
    "inner steps over the examples": (
        dict(inner_steps=9),
        r"takes 22 different examples \(9 inner steps .* too few in a \(12\)",
    ),
    "a benchmark": (
        dict(tasks=Benchmark((task("a", 12),), ())),
        "tasks: expected a list of tasks, as Benchmark.train, found Benchmark",
    ),
    "a task alone": (
        dict(tasks=task("a", 12)),
        "tasks: expected a list of tasks, as Benchmark.train, found Task",
    ),
    "a name": (
        dict(tasks="ab"),
        "tasks: expected a list of tasks, as Benchmark.train, found 'ab'",
    ),
    "a tokenizer": (
        dict(encoder=CharTokenizer()),
        r"encoder: expected PromptEncoder\(tokenizer\), found <.*CharTokenizer",
    ),
    "the encoder's class": (
        dict(encoder=PromptEncoder),
        r"encoder: expected PromptEncoder\(tokenizer\), found <class",
    ),
    "no encoder": (dict(encoder=None), "encoder: expected .*, found None"),
    "sampling": (
        dict(sampling="equal"),
        "sampling: expected one of size, uniform, found 'equal'",
    ),
}


@pytest.mark.parametrize(("changes", "message"), SAMPLERS.values(), ids=SAMPLERS)
def test_bad_sampler(changes, message):
    good = dict(
        tasks=[task("a", 12), task("b", 40)], inner_steps=1, prompts=2, demonstrations=2
    )
    usual = dict(encoder=Notebook(), seed=0) | good
    with pytest.raises(ValueError, match=message) as caught:
        EpisodeSampler(**usual | changes)
    assert len(str(caught.value)) < 400


# --- open points of the source ---


def sampled(**options):
    tasks = [
        Task(
            name,
            "classification",
            train=tuple(Example(f"{name}{i}", "y", ("y", "n")) for i in range(30)),
        )
        for name in "abcde"
    ]
    encoder = PromptEncoder(CharTokenizer())
    return EpisodeSampler(
        tasks,
        encoder,
        0,
        n_tasks=20,
        prompts=2,
        demonstrations=3,
        **options,
    ).sample(0)


def first_letters(batch) -> set[str]:
    letters = list(CharTokenizer.words)
    return {letters[first] for first in batch.input_ids[:, 0].tolist()}


def test_query_batches_of_the_same_or_of_fresh_tasks():
    same, fresh = (
        sampled(inner_steps=2, query_tasks=name) for name in ("same", "fresh")
    )
    for episode in [*same, *fresh]:
        assert all(first_letters(batch) == {episode.task} for batch in episode.support)
    assert all(first_letters(episode.query) == {episode.task} for episode in same)
    assert any(first_letters(episode.query) != {episode.task} for episode in fresh)


def test_inner_steps_one_by_one_or_all_at_once():
    for k in (0, 1, 3):
        one, whole = (
            sampled(inner_steps=k, inner_batch=name) for name in ("one", "all")
        )
        assert all(
            [len(b.input_ids) for b in episode.support] == [2] * k for episode in one
        )
        assert all(
            [len(b.input_ids) for b in episode.support] == [2 * k] * (k > 0)
            for episode in whole
        )


# --- an episode is a function of (seed, step, index), and draws are nested ---


def sampler_of(**options):
    tasks = [task(name, 60) for name in "abcd"]
    return EpisodeSampler(tasks, PromptEncoder(CharTokenizer()), **options)


def same_batch(one, other, rows=None) -> bool:
    """Whether the prompts of two batches are the same, the first ``rows`` of them."""
    texts = [
        [
            ids[mask.bool()].tolist()
            for ids, mask in zip(b.input_ids, b.attention_mask, strict=True)
        ]
        for b in (one, other)
    ]
    return texts[0][:rows] == texts[1][:rows]


def same_episode(one, other) -> bool:
    return (
        one.task == other.task
        and same_batch(one.query, other.query)
        and all(map(same_batch, one.support, other.support))
    )


SMALL = dict(seed=5, n_tasks=2, inner_steps=1, prompts=2, demonstrations=3)


def test_an_episode_moves_with_all_its_batches(monkeypatch):
    episode, _ = sampler_of(**SMALL).sample(0)
    assert same_episode(episode.to("cpu"), episode)
    with pytest.raises(ValueError, match="device: expected auto"):
        episode.to(torch.float16)
    monkeypatch.setattr(batches, "as_device", torch.device)  # as if there was another
    moved = episode.to("meta")
    assert moved.task == episode.task and len(moved.support) == len(episode.support)
    for batch in (*moved.support, moved.query):
        assert batch.input_ids.device.type == batch.loss_mask.device.type == "meta"


def test_steps_can_be_asked_for_in_any_order():
    one, other = sampler_of(**SMALL), sampler_of(**SMALL)
    forwards = [one.sample(step) for step in range(6)]
    backwards = [other.sample(step) for step in reversed(range(6))][::-1]
    for some, others in zip(forwards, backwards, strict=True):
        assert all(map(same_episode, some, others))
    texts = {str(e.query.input_ids.tolist()) for some in forwards for e in some}
    assert len(texts) == 12  # every step and index has its own


@pytest.mark.parametrize("query_tasks", ["same", "fresh"])
@pytest.mark.parametrize("inner_steps", [0, 1, 2, 3])
def test_methods_see_the_same_queries(inner_steps, query_tasks):
    how = SMALL | dict(query_tasks=query_tasks)
    maml = sampler_of(**how | dict(inner_steps=4))
    other = sampler_of(**how | dict(inner_steps=inner_steps))
    for step in range(5):
        for one, more in zip(other.sample(step), maml.sample(step), strict=True):
            assert one.task == more.task and same_batch(one.query, more.query)
            assert len(one.support) == inner_steps
            assert all(map(same_batch, one.support, more.support))


def test_a_larger_meta_batch_begins_with_the_smaller_one():
    few, many = sampler_of(**SMALL), sampler_of(**SMALL | dict(n_tasks=16))
    for step in range(5):
        assert all(map(same_episode, few.sample(step), many.sample(step)))


def test_more_prompts_only_add():
    few, many = sampler_of(**SMALL), sampler_of(**SMALL | dict(prompts=4))
    for step in range(5):
        for one, more in zip(few.sample(step), many.sample(step), strict=True):
            assert same_batch(one.query, more.query, rows=2)
            for a, b in zip(one.support, more.support, strict=True):
                assert same_batch(a, b, rows=2)


def test_more_demonstrations_only_add():
    few, many = sampler_of(**SMALL), sampler_of(**SMALL | dict(demonstrations=9))
    for step in range(5):
        for place in range(2):
            one, more = few.draw(step, place), many.draw(step, place)
            assert one.task == more.task
            for a, b in zip(
                [*one.support, one.query], [*more.support, more.query], strict=True
            ):
                assert [x.query for x in a] == [x.query for x in b]
                assert [x.shown for x in a] == [x.shown[:3] for x in b]


@pytest.mark.parametrize("size", [2 * RESERVED, 2 * RESERVED - 1, 60, 40])
@pytest.mark.parametrize(
    "steps, prompts, shown", [(0, 1, 16), (1, 1, 16), (3, 2, 16), (2, 3, 5), (0, 1, 0)]
)
def test_a_draw_is_part_of_a_larger_one(size, steps, prompts, shown):
    small = draw_prompts(size, "key", steps, prompts, shown)
    for more in ((1, 0, 0), (0, 1, 0), (0, 0, 4)):
        large = draw_prompts(
            size, "key", steps + more[0], prompts + more[1], shown + more[2]
        )
        for row, longer in zip(small, large, strict=False):
            for one, other in zip(row, longer, strict=False):
                assert one.query == other.query
                assert one.shown == other.shown[:shown]


@pytest.mark.parametrize("steps, prompts", [(0, 1), (1, 1), (4, 1), (1, 8), (3, 5)])
@pytest.mark.parametrize("shown", [0, 1, 16])
@pytest.mark.parametrize("spare", [0, 1, 7, 200])
def test_no_record_has_two_roles(steps, prompts, shown, spare):
    asked = (steps + 1) * prompts
    size = asked + shown + spare
    for key in map(str, range(10)):
        rows = draw_prompts(size, key, steps, prompts, shown)
        queries = [drawn.query for row in rows for drawn in row]
        assert len(set(queries)) == len(queries) == asked
        for row in rows:
            for drawn in row:
                assert len(set(drawn.shown)) == len(drawn.shown) == shown
                assert not set(drawn.shown) & set(queries)
                assert all(0 <= i < size for i in (*drawn.shown, drawn.query))


def test_every_order_is_as_likely():
    counts = Counter(tuple(shuffled(3, str(n))) for n in range(6000))
    # five standard deviations of a share of 6,000 draws
    assert len(counts) == 6
    for count in counts.values():
        assert abs(count / 6000 - 1 / 6) < 5 * math.sqrt(1 / 6 * 5 / 6 / 6000)


def test_demonstrations_differ_between_prompts_of_an_episode():
    rows = draw_prompts(100, "key", 3, 2, 8)
    assert len({drawn.shown for row in rows for drawn in row}) == 8


# --- what does not fit ---


def long_answers(name, n, *places):
    found = task(name, n)
    examples = list(found.train)
    for i in places:
        examples[i] = Example(f"long {i}", "z" * 40)
    return replace(found, train=tuple(examples))


@pytest.mark.parametrize("demonstrations", [0, 3])
def test_examples_that_do_not_fit_are_left_out_and_counted(demonstrations):
    tasks = [long_answers("a", 30, 4, 5), task("b", 30), long_answers("c", 30, 29)]
    encoder = PromptEncoder(CharTokenizer(), Format(max_example_length=30))
    with pytest.warns(UserWarning, match=r"left out of a \(2\), c \(1\); the first: "):
        sampler = EpisodeSampler(tasks, encoder, 1, demonstrations=demonstrations)
    assert sampler.left_out == {"a": 2, "c": 1}
    assert [len(task.train) for task in sampler.tasks] == [28, 30, 29]
    assert len(tasks[0].train) == 30
    for step in range(100):
        sampler.sample(step)


def test_a_task_with_too_few_examples_left_is_refused():
    encoder = PromptEncoder(CharTokenizer(), Format(max_example_length=30))
    message = r"too few in a \(4 and 2 that do not fit\).*max_example_length: an answer"
    with pytest.raises(DataError, match=message):
        EpisodeSampler([long_answers("a", 6, 0, 1)], encoder, 1, demonstrations=4)


# Examples of 13 tokens and at most 14 by their bytes:
# max_length, positions, demonstrations, whether refused
LENGTHS = {
    "the format cuts": (64, 64, 8, False),
    "no limit": (1024, None, 8, False),
    "bytes say that all fit": (1024, 14 * 3, 2, False),
    "tokens say that all fit": (1024, 13 * 4, 3, False),
    "one token too few": (1024, 13 * 4 - 1, 3, True),
    "many": (1024, 256, 39, True),
    "bare": (1024, 13, 0, False),
    "bare, too long": (1024, 12, 0, True),
}


@pytest.mark.parametrize(
    "length, positions, shown, refused", LENGTHS.values(), ids=LENGTHS
)
def test_prompts_longer_than_the_model_are_refused(length, positions, shown, refused):
    alike = tuple(Example(f"{n:08}", "no", ("no", "yes")) for n in range(40))
    tasks = [Task("a", "classification", train=alike)]
    encoder = PromptEncoder(CharTokenizer(), Format(max_length=length))
    assert sum(map(len, encoder.example(alike[0], first=False))) == 13
    sampler = EpisodeSampler(tasks, encoder, 1, demonstrations=shown)
    if not refused:
        sampler.check_positions(positions)
        return
    with pytest.raises(ValueError, match="max_length: expected at most .* of task 'a'"):
        sampler.check_positions(positions)


@pytest.mark.parametrize("twins", [0, 3, 5, 12])
def test_a_task_of_doubled_examples_is_named(twins):
    """12 examples, and ``twins`` of them a second time: from a third on it is said."""
    own = [Example(f"text {n}", ("yes", "no")[n % 2], ("yes", "no")) for n in range(12)]
    task = Task("twice", "classification", train=(*own, *own[:twins]))
    few = 3 * twins < 12 + twins
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        EpisodeSampler([task], PromptEncoder(CharTokenizer()), 1, demonstrations=2)
        hold_back([task], examples=17)
    told = [str(w.message) for w in said]
    assert len(told) == (0 if few else 2)
    assert all(f"twice ({twins} of {12 + twins})" in one for one in told)
