"""MiniCrossFit: valid, apart, balanced, reproducible, read by its demonstrations."""

import json
import subprocess
import sys
from collections import Counter
from statistics import fmean

import pytest

from maml_en_llm import DataError, load_benchmark
from maml_en_llm.base.corpus import build_tokenizer
from maml_en_llm.evaluation import rules as oracle
from maml_en_llm.minicrossfit import DIFFICULTIES, Difficulty, Draw
from maml_en_llm.minicrossfit import benchmark as minicrossfit
from maml_en_llm.minicrossfit.lexicon import UNSEEN
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
    "normal": "f1d3026004f0ddae680bbebd8c0409fdffdf126f7337f15eb364bb789c10156c",
    "easy": "20e83892d28730d7301fd1a6645936eb3a293ca4f466638fd74c97813ad8eecb",
    "hard": "643897cfb649f30cc6917d972992a325a03bdb979314a4a566818e808b504fcc",
}


@pytest.fixture(scope="session", params=["normal", "easy", "hard"])
def folders(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("minicrossfit") / request.param
    return request.param, folder, minicrossfit.write_benchmark(folder, request.param)


@pytest.fixture(scope="session")
def normal(tmp_path_factory):
    folder = tmp_path_factory.mktemp("minicrossfit") / "n"
    minicrossfit.write_benchmark(folder)
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
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids and tokenizer.decode(ids) == text


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


def words_alone(train, queries):
    """The option whose words were most often the answer to the text's words."""
    counts = Counter(
        (w, e.options.index(e.output))
        for t in train
        if t.kind == "classification"
        for e in t.train
        for w in e.input.split()
    )
    hits = [
        max(
            range(len(q.options)),
            key=lambda i: sum(counts[w, i] for w in q.input.split()),
        )
        for q in queries
    ]
    return fmean(q.options[i] == q.output for i, q in zip(hits, queries, strict=True))


def test_only_the_demonstrations_say_what_is_asked(normal):
    b = normal["class_to_class"]
    chance = fmean(1 / len(t.test[0].options) for t in b.test)
    without = fmean(words_alone(b.train, t.test) for t in b.test)
    reading = fmean(oracle.oracle_accuracy(t.few_shot(100, 16), t.test) for t in b.test)
    assert abs(without - chance) < 0.06
    assert reading > chance + 0.2


def test_an_oracle_reads_the_questions(normal):
    b = normal["qa_to_qa"]
    first = fmean(q.options[0] == q.output for t in b.test for q in t.test)
    assert first == pytest.approx(
        fmean(1 / len(q.options) for t in b.test for q in t.test), abs=0.05
    )
    assert (
        fmean(oracle.oracle_accuracy(t.few_shot(13, 16), t.test) for t in b.test) > 0.9
    )


def test_the_knobs_turn(tmp_path):
    scores = {}
    for name in DIFFICULTIES:
        minicrossfit.write_benchmark(tmp_path / name, name)
        b = load_benchmark(tmp_path / name, "class_to_class", seeds=[100])
        scores[name] = fmean(
            oracle.oracle_accuracy(t.few_shot(100, 16), t.test) for t in b.test
        )
    assert scores["easy"] > scores["normal"] + 0.05 > scores["hard"] + 0.1


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
