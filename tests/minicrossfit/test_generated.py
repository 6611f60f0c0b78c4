"""MiniCrossFit: valid, apart, balanced, reproducible, read by its demonstrations."""

import fcntl
import json
import os
import subprocess
import sys
from collections import Counter
from statistics import fmean, stdev

import pytest

from maml_en_llm import DataError, load_benchmark
from maml_en_llm.base.corpus import build_tokenizer
from maml_en_llm.evaluation import rules as oracle
from maml_en_llm.minicrossfit import DIFFICULTIES, Difficulty, Draw
from maml_en_llm.minicrossfit import benchmark as minicrossfit
from maml_en_llm.minicrossfit.lexicon import UNSEEN
from maml_en_llm.prompts import Format, PromptEncoder
from maml_en_llm.protocol import SEEDS
from maml_en_llm.tasks import load_settings as settings
from maml_en_llm.tasks import read_examples

SETTINGS = (
    "hr_to_lr",
    "class_to_class",
    "non_class_to_class",
    "qa_to_qa",
    "non_qa_to_qa",
    "non_nli_to_nli",
    "non_paraphrase_to_paraphrase",
)
# a change of the generator changes these, and every number measured on the benchmark
DIGESTS = {
    "normal": "01366a05b2f517de05727fe88b4fe7051caa41ea91b0e32145f4c76b2fe38510",
    "easy": "d845d93ed1a4c4d813f35d45d71b46cc5f446cf593e4b9a85bff1230507c0998",
    "hard": "728afca5a878366a0b083e19454baa96233d73b6386315a29fa022511d01b9f8",
}


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """Every difficulty's folder and digest, by name; a run's processes share them."""
    root, own = (
        tmp_path_factory.getbasetemp(),
        os.environ.get("PYTEST_XDIST_TESTRUNUID"),
    )
    root = root.parent / f"minicrossfit-{own}" if own else root / "minicrossfit"
    root.mkdir(exist_ok=True)
    found = {}
    for name in DIFFICULTIES:
        digest = root / f"{name}.digest"
        with (root / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # given up when the file is closed
            if not digest.exists():
                digest.write_text(minicrossfit.write_benchmark(root / name, name))
        found[name] = root / name, digest.read_text()
    return found


@pytest.fixture(scope="session", params=["normal", "easy", "hard"])
def folders(request, written):
    return request.param, *written[request.param]


@pytest.fixture(scope="session")
def normal(written):
    folder, _ = written["normal"]
    return {name: load_benchmark(folder, name) for name in SETTINGS}


def test_the_bytes_are_the_published_ones(folders):
    difficulty, folder, digest = folders
    assert digest == DIGESTS[difficulty] == minicrossfit.folder_digest(folder)


def test_every_file_parses_and_holds_no_unknown_word(folders):
    _, folder, _ = folders
    tokenizer = build_tokenizer()
    about = json.loads((folder / "settings.json").read_text())["tasks"]
    texts = {entry["instruction"] for entry in about.values()}
    files = list(folder.glob("*/*.jsonl"))
    for path in files:
        for example in read_examples(path):
            texts |= {example.input, example.output, *example.options}
    assert len(files) > 7 * 80 and len(texts) > 10_000
    assert all(text == " ".join(text.split()) for text in texts)
    known = set(tokenizer.get_vocab()) - {tokenizer.unk_token}
    assert {word for text in texts for word in text.split()} <= known
    for text in sorted(texts)[::500]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_size_and_kinds(normal):
    tasks = {t.name: t for b in normal.values() for t in (*b.train, *b.test)}
    assert len(tasks) >= 80 and len({t.domain for t in tasks.values()}) >= 12
    assert Counter(t.kind for t in tasks.values()).keys() == {
        "classification",
        "multi-choice",
        "free-form",
    }
    assert all(t.instruction and t.domain for t in tasks.values())
    assert {
        len(t.train[0].options)
        for t in tasks.values()
        if t.train and t.kind == "classification"
    } <= {2, 3, 4, 5, 6}
    assert set(settings(normal["hr_to_lr"].source)) == set(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS)
def test_training_and_target_tasks_are_apart(normal, setting):
    b = normal[setting]
    assert b.train and b.test and b.unseen and len(b.unseen) < len(b.test)
    assert not {t.name for t in b.train} & {t.name for t in b.test}
    assert not {t.domain for t in b.train} & set(UNSEEN)
    assert {t.name for t in b.test if t.domain in UNSEEN} == b.unseen
    assert all(t.kind != "free-form" for t in b.test)


def test_records_of_a_task_are_apart_and_balanced(normal):
    for task in normal["hr_to_lr"].test + normal["non_nli_to_nli"].test:
        shots = [example for seed in SEEDS for example in task.few_shot(seed, 16)]
        inputs = [example.input for example in (*shots, *task.test, *task.train)]
        assert (
            len(set(inputs)) == len(inputs)
            and len(task.test) >= 100
            and len(shots) == 5 * 16
        )
        if task.kind == "classification":
            for part in (task.few_shot(13, 16), task.test):
                counts = Counter(example.output for example in part)
                assert (
                    set(counts) == set(part[0].options)
                    and max(counts.values()) - min(counts.values()) <= 1
                )


def test_label_words_of_a_target_are_its_own(normal):
    b = normal["class_to_class"]
    known = {label for t in b.train for label in t.train[0].options}
    for task in b.test:
        assert not known & set(task.test[0].options)


def by_family(tasks):
    found = {}
    for task in tasks:
        found.setdefault(task.name.split("-")[0], []).append(task)
    return found


def words_alone(train, queries):
    """The option whose words were most often the answer to the text's words."""
    counts = Counter(
        (word, option)
        for task in train
        for e in task.train
        for word, option in clues(e, e.output)
    )
    hits = [
        max(q.options, key=lambda o: sum(counts[clue] for clue in clues(q, o)))
        for q in queries
    ]
    return fmean(hit == q.output for hit, q in zip(hits, queries, strict=True))


def clues(example, option):
    """Labels are told apart by their place in the list, options by their word."""
    if len(example.options) < 4 and option not in example.input.split():
        return [(w, example.options.index(option)) for w in example.input.split()]
    return [(option, True)]


def guess(task):
    return fmean(1 / len(e.options) for e in task.train[:40] or task.test)


def test_words_alone_say_nothing_in_any_family(normal):
    """What the words of other tasks of the family teach does not help with a task."""
    tasks = normal["hr_to_lr"].train
    for family, members in by_family(tasks).items():
        if members[0].kind == "free-form":
            continue
        gains = [
            words_alone(members[i::2], other.train[:40]) - guess(other)
            for i in (0, 1)
            for other in members[1 - i :: 2]
        ]
        error = stdev(gains) / len(gains) ** 0.5
        assert abs(fmean(gains)) < 4 * error + 0.02, family


def test_the_demonstrations_tell_the_answer_in_every_family(normal):
    """And the most frequent answer of the demonstrations does not."""
    targets = {t.name: t for b in normal.values() for t in b.test}
    assert len(by_family(targets.values())) == 19
    for family, members in by_family(targets.values()).items():
        chance = fmean(guess(t) for t in members)
        shots = {t.name: t.few_shot(100, 16) for t in members}
        rule = fmean(oracle.oracle_accuracy(shots[t.name], t.test) for t in members)
        assert rule > max(chance + 0.4, 0.85), family
        most = fmean(share_of_the_most_frequent(shots[t.name], t) for t in members)
        # of questions about one of several slots it knows the slot, not the row
        assert most < (0.55 if members[0].kind == "multi-choice" else chance + 0.02)


def share_of_the_most_frequent(shots, task):
    counts = Counter(e.output for e in shots)
    found = [max(q.options, key=counts.__getitem__) == q.output for q in task.test]
    return fmean(found)


@pytest.mark.parametrize("setting", SETTINGS)
def test_in_every_setting_the_demonstrations_are_worth_reading(normal, setting):
    b = normal[setting]
    how = dict(seeds=[100], max_records=28)
    rule = oracle.oracle(b, **how)["mean"]
    assert rule > oracle.random_guess(b, draws=5, max_records=28)["mean"] + 20
    assert rule > oracle.majority(b, **how)["mean"] + 20


def test_questions_about_several_slots_ask_for_each_equally_often(normal):
    b = normal["qa_to_qa"]
    for tasks in (b.train, b.test):
        asked = Counter(slot_of(t) for t in tasks if t.name.startswith("which"))
        assert len(asked) == 2 and len(set(asked.values())) == 1
        assert sum(asked.values()) >= 6


def slot_of(task):
    """How far the answer stands from the one asked for: the same in all examples."""
    found = set()
    for e in task.test or task.train:
        words = e.input.split()
        asked = words.index(words[-1])
        found |= {
            i for i in range(2, 5) if words[asked : asked + 5][i:][:1] == [e.output]
        }
    (place,) = found
    return place


def test_options_of_a_question_are_in_random_order(normal):
    b = normal["qa_to_qa"]
    first = fmean(q.options[0] == q.output for t in b.test for q in t.test)
    assert first == pytest.approx(fmean(guess(t) for t in b.test), abs=0.05)


def test_questions_are_a_fair_part_of_the_training_tasks(normal):
    kinds = Counter(t.kind for t in normal["hr_to_lr"].train)
    assert kinds["multi-choice"] >= 0.15 * sum(kinds.values())


def test_sixteen_demonstrations_fit_the_length_of_pre_training(folders):
    _, folder, _ = folders
    tokenizer = build_tokenizer()
    for setting in ("class_to_class", "qa_to_qa"):
        for task in load_benchmark(folder, setting, seeds=[13]).test:
            encoder = PromptEncoder(tokenizer, Format())
            prompts = [
                encoder.query_prompts(task.few_shot(13, 16), query)[0]
                for query in task.test[:8]
            ]
            assert max(len(prompt.ids) for prompt in prompts) <= 512, task.name


def test_the_knobs_turn(written):
    scores = {}
    for name, (folder, _) in written.items():
        b = load_benchmark(folder, "class_to_class", seeds=[100])
        scores[name] = fmean(
            oracle.oracle_accuracy(t.few_shot(100, 16), t.test) for t in b.test
        )
    assert scores["easy"] >= scores["normal"] > scores["hard"] + 0.05


def test_noise_reaches_the_demonstrations_and_not_the_test_set(tmp_path):
    clean, noisy = (Difficulty(noise=noise) for noise in (0.0, 0.5))
    found = {}
    for name, difficulty in dict(clean=clean, noisy=noisy).items():
        minicrossfit.write_benchmark(tmp_path / name, difficulty)
        b = load_benchmark(
            tmp_path / name,
            "class_to_class",
            seeds=[100],
            tasks=["sentiment-school", "topic-sea"],
        )
        found[name] = [
            len({(e.input.split()[-1], e.output) for e in b.test[0].test}),
            fmean(oracle.oracle_accuracy(t.few_shot(100, 16), t.test) for t in b.test),
        ]
    assert (
        found["clean"][0] == found["noisy"][0]
        and found["noisy"][1] < found["clean"][1] - 0.1
    )


def test_draw_is_uniform_and_reproducible():
    draw = Draw(1)
    counts = Counter(draw.one("abc") for _ in range(3000))
    assert all(900 < n < 1100 for n in counts.values())
    assert (
        Draw(7).shuffled("abcdef")
        == Draw(7).shuffled("abcdef")
        != Draw(8).shuffled("abcdef")
    )
    assert sorted(Draw(7).some("abcdef", 6)) == list("abcdef")


def test_by_name_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    b = load_benchmark("minicrossfit", "qa_to_qa", seeds=[13])
    again = load_benchmark("minicrossfit", "qa_to_qa", seeds=[13])
    assert b.test == again.test and len(list((tmp_path / "maml_en_llm").iterdir())) == 1
    with pytest.raises(
        ValueError,
        match="difficulty: expected one of easy, normal, hard, found 'brutal'",
    ):
        load_benchmark("minicrossfit:brutal", "qa_to_qa")
    with pytest.raises(DataError, match="setting"):
        load_benchmark("minicrossfit", "hr_to_hr")


def test_bad_input(tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(
        FileExistsError, match="out: .*there is there already; name a new folder"
    ):
        minicrossfit.write_benchmark(tmp_path / "there")
    with pytest.raises(ValueError, match="difficulty: expected one of"):
        minicrossfit.write_benchmark(tmp_path / "new", "harder")
    with pytest.raises(
        ValueError, match="different texts, found only .*lower the difficulty's demands"
    ):
        minicrossfit.write_benchmark(
            tmp_path / "new", Difficulty(labels=2, cues=1, distractors=0, swapped=0)
        )
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]  # nothing half-written


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "maml_en_llm"]
    done = subprocess.run(
        [*command, "tasks", "--out", str(tmp_path / "t")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and DIGESTS["normal"] in done.stdout
    again = subprocess.run(
        [*command, "tasks", "--out", str(tmp_path / "t")],
        capture_output=True,
        text=True,
    )
    assert (
        again.returncode == 1
        and "there already" in again.stderr
        and "Traceback" not in again.stderr
    )
    unknown = subprocess.run([*command, "task"], capture_output=True, text=True)
    assert unknown.returncode == 2 and "nearest: tasks" in unknown.stderr
