"""Prompts that are cut: how many demonstrations are left, and that it is said."""

import warnings
from dataclasses import replace

import pytest
from helpers import CharTokenizer, small_model, write_benchmark

from maml_en_llm import (
    SGD,
    Example,
    Format,
    PromptEncoder,
    TrainConfig,
    evaluate,
    load_benchmark,
    meta_train,
)
from maml_en_llm.evaluation import evaluate_adapted
from maml_en_llm.evaluation.cut import told_cuts
from maml_en_llm.prompts import Cut, Prompt
from maml_en_llm.protocol import SEEDS, SHOTS

LENGTHS = (3, 11, 1, 7, 5)
SHOWN = [
    Example(letter * length, "yes", ("yes", "certainly not"))
    for letter, length in zip("abcde", LENGTHS, strict=True)
]
QUERY = Example("q" * 6, "yes", ("yes", "certainly not"))
SHORT = 24  # tokens, of which three demonstrations take more
WORD_OF = {n: word for word, n in CharTokenizer.words.items()}


def there(prompt: Prompt, instruction: str) -> int:
    """Demonstrations that stand in what is read, with what separates them."""
    read = "".join(WORD_OF[i] for i in prompt.ids)
    texts = [f"\n\n\n{one.input}\n{one.output}" for one in SHOWN]
    if not instruction:
        texts[0] = texts[0].removeprefix("\n\n\n")
    return sum(text in read for text in texts)


@pytest.mark.parametrize("instruction", ["", "Say yes."])
def test_whole_demonstrations_are_those_that_can_be_read(instruction):
    seen = set()
    for limit in range(17 + len(instruction), 110):
        encoder = PromptEncoder(CharTokenizer(), Format(max_length=limit))
        prompt = encoder.training_prompt(SHOWN, QUERY, instruction)
        whole = encoder.whole(SHOWN, prompt, instruction)
        assert whole == there(prompt, instruction), limit
        assert (prompt.dropped > 0) == (whole < len(SHOWN))
        seen.add(whole)
        for option in encoder.query_prompts(SHOWN, QUERY, instruction):
            whole = encoder.whole(SHOWN, option, instruction)
            assert whole == there(option, instruction)
    assert seen == {*range(len(SHOWN) + 1)}


@pytest.mark.parametrize("mode", ["direct", "channel"])
def test_what_is_dropped_and_what_is_kept_is_the_whole_prompt(mode):
    whole = PromptEncoder(CharTokenizer(), Format(mode=mode))
    short = PromptEncoder(CharTokenizer(), Format(mode=mode, max_length=30))
    all_of_it = whole.training_prompt(SHOWN, QUERY)
    cut = short.training_prompt(SHOWN, QUERY)
    assert all_of_it.dropped == 0 < cut.dropped
    assert all_of_it.ids[cut.dropped :] == cut.ids


def test_cut_is_a_mean_over_prompts():
    found = [(Prompt((1, 2), 1, 5), 1), (Prompt((1, 2), 1), 4), (Prompt((1,), 1), 4)]
    assert Cut.of(found) == (pytest.approx(1 / 3), 3)


# --- in training ---


@pytest.fixture
def folder(tmp_path):
    return write_benchmark(tmp_path, test=("c", "d"), n_test=9)


def config_of(folder, **changes):
    own = dict(benchmark=str(folder), setting="mini", steps=3, tasks_per_step=2)
    sizes = dict(prompts=2, demonstrations=3, max_length=1024)
    return TrainConfig(**own | sizes | changes)


def train_on(folder, config):
    tasks = load_benchmark(folder, "mini").train
    return meta_train(small_model(), CharTokenizer(), tasks, config)


def test_a_run_says_before_its_first_step_what_is_cut(folder):
    config = config_of(folder, max_length=SHORT)
    sampler = config.make_sampler(load_benchmark(folder, "mini").train, CharTokenizer())
    lengths = [
        int(length)
        for step in range(config.steps)
        for episode in sampler.sample(step)
        for batch in (*episode.support, episode.query)
        for length in batch.attention_mask.sum(1)
    ]
    steps = []

    def stop(step, row):
        steps.append(step)

    with pytest.warns(UserWarning, match="max_length: 24 tokens are too few") as said:
        tasks = load_benchmark(folder, "mini").train
        record = meta_train(
            small_model(), CharTokenizer(), tasks, config, progress=stop
        )
    assert len(said) == 1 and len(steps) == 3
    cut = record["cut"]
    assert cut["prompts"] == pytest.approx(
        sum(n == SHORT for n in lengths) / len(lengths)
    )
    assert 0 < cut["whole"] < 3
    assert f"{cut['whole']:.1f} are left whole" in str(said[0].message)


def test_a_run_with_room_says_nothing(folder):
    record = train_on(folder, config_of(folder))  # a warning would be an error
    assert record["cut"] == {"prompts": 0, "whole": 3}
    record = train_on(folder, config_of(folder, method="multi-task", demonstrations=0))
    assert record["cut"] == {"prompts": 0, "whole": 0}


def test_the_count_draws_nothing_from_a_run(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = config_of(folder, max_length=SHORT)
        assert (
            train_on(folder, config)["losses"]
            == train_on(folder, replace(config, looks=0))["losses"]
        )


# --- in evaluation ---


def test_an_evaluation_names_the_targets_that_are_cut(folder):
    benchmark = load_benchmark(folder, "mini")
    how = dict(k=3, seeds=(100, 13), max_length=40, max_records=4)
    with pytest.warns(UserWarning, match=r"in the mean: c .*, d ") as said:
        record = evaluate(small_model(), CharTokenizer(), benchmark, **how)
    assert len(said) == 1
    encoder = PromptEncoder(CharTokenizer(), Format(max_length=40))
    for task in benchmark.test:
        counts = [
            min(
                encoder.whole(shown, prompt)
                for prompt in encoder.query_prompts(shown, query)
            )
            for shown in (task.few_shot(seed, 3) for seed in (100, 13))
            for query in task.test[:4]
        ]
        whole = record["cut"][task.name]["whole"]
        assert whole == pytest.approx(sum(counts) / len(counts)) and whole < 3
    with pytest.warns(UserWarning, match="max_length: 40 tokens are too few"):
        adapted = evaluate_adapted(
            *(small_model(), CharTokenizer(), benchmark),
            **dict(optimizer=SGD(0.1), steps=[0]) | how,
        )
    assert adapted[0]["cut"] == record["cut"]


def test_an_evaluation_with_room_names_none(folder):
    benchmark = load_benchmark(folder, "mini")
    how = dict(seeds=(100,), max_records=2)
    for k in (0, 3):
        found = evaluate(small_model(), CharTokenizer(), benchmark, k=k, **how)
        assert found["cut"] == {}


# --- real tasks (protocol 2.3) ---


def test_what_the_published_limit_leaves_of_real_prompts(metaicl_data, bpe):
    found = {}
    for setting in ("hr_to_lr", "qa_to_qa"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some tasks are not at hand
            benchmark = load_benchmark(metaicl_data, setting, allow_missing=True)
            how = dict(seeds=SEEDS, max_records=None)
            found[setting] = told_cuts(bpe, benchmark, Format(), SHOTS, **how)
        if setting == "hr_to_lr":
            assert (len(benchmark.test), len(found[setting])) == (21, 5)
    whole = {
        name: cut["whole"] for cuts in found.values() for name, cut in cuts.items()
    }
    said = {"dream": 5, "sciq": 7, "cosmos_qa": 8, "superglue-cb": 9}
    assert {name: round(whole[name]) for name in said} == said
