"""Benchmarks from a folder, and how a reader learns what is wrong with one."""

import gzip
import hashlib
import json
import random
import tracemalloc

import pytest
from helpers import record, records, write_benchmark, write_lines

from maml_en_llm import DataError, Example, Task, load_benchmark
from maml_en_llm.protocol import SEEDS
from maml_en_llm.tasks import load_settings as settings
from maml_en_llm.tasks.files import File, find
from maml_en_llm.tasks.settings import without_leaks


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz"])
def test_reads_plain_and_gzipped_files(tmp_path, end):
    write_benchmark(tmp_path, end=end, unseen=["c"])
    benchmark = load_benchmark(tmp_path, "mini")
    assert [task.name for task in benchmark.train] == ["a", "b"]
    assert [len(task.train) for task in benchmark.train] == [40, 40]
    (target,) = benchmark.test
    assert target.test[0] == Example("a0 c", "yes", ("yes", "no"))
    assert tuple(target.demonstrations) == SEEDS
    assert target.few_shot(13, 2) == (
        Example("s200 c", "no", ("yes", "no")),
        Example("t201 c", "no", ("yes", "no")),
    )
    assert benchmark.unseen == {"c"}
    assert benchmark.missing == ()


@pytest.mark.parametrize(
    ("train_name", "test_name"),
    [
        ("{}_16384_100_train", "{}_16_100_test"),
        ("{}_mt_train", "{}_test"),
        ("{}_train", "{}_test"),
    ],
)
def test_all_file_names_of_the_format(tmp_path, train_name, test_name):
    write_benchmark(tmp_path, train_name=train_name, test_name=test_name)
    benchmark = load_benchmark(tmp_path, "mini")
    assert len(benchmark.train[0].train) == 40
    assert len(benchmark.test[0].test) == 6


def test_the_published_file_comes_before_a_substitute(tmp_path):
    write_benchmark(tmp_path)
    write_lines(tmp_path / "a" / "a_mt_train.jsonl", records("a", 3))
    assert len(load_benchmark(tmp_path, "mini").train[0].train) == 40


@pytest.mark.parametrize("name", ["a/a_16384_100_train", "c/c_16_13_train"])
def test_a_packed_file_beside_it_holds_the_same(tmp_path, name):
    write_benchmark(tmp_path)
    plain, packed = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert load_benchmark(tmp_path, "mini").missing == ()
    for content in (gzip.compress(b"another"), b"damaged"):
        packed.write_bytes(content)
        with pytest.raises(DataError, match=f"{name}.jsonl: .* keep one of the two"):
            load_benchmark(tmp_path, "mini")
    plain.unlink()
    with pytest.raises(DataError, match=f"{name}.jsonl.gz: expected a complete gzip"):
        load_benchmark(tmp_path, "mini")


def test_a_packed_file_is_not_unpacked_beyond_the_plain_one(tmp_path):
    plain = tmp_path / "a_16_13_train.jsonl"
    plain.write_text("{}\n")
    packed = tmp_path / f"{plain.name}.gz"
    packed.write_bytes(gzip.compress(bytes(2**26)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected the content of .* found another"):
            find(tmp_path, [File("a", 13, (plain.name,))])
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def test_text_is_taken_as_it_stands(tmp_path):
    # Inner whitespace, unicode line separators and escapes belong to the text; only
    # "\n" ends a line of the file.
    text = "  é \u2028 \x85 a\\nb\t\n "
    write_benchmark(tmp_path)
    row = json.dumps(record("a", text, "yes"), ensure_ascii=False)
    write_lines(tmp_path / "a" / "a_16384_100_train.jsonl", [row, row])
    assert [
        example.input for example in load_benchmark(tmp_path, "mini").train[0].train
    ] == [text, text]


@pytest.mark.parametrize("kind", ["classification", "multi-choice", "free-form"])
def test_kind_from_the_options(tmp_path, kind):
    write_benchmark(tmp_path, kinds={"a": kind, "c": "multi-choice"})
    benchmark = load_benchmark(tmp_path, "mini")
    assert benchmark.train[0].kind == kind
    assert benchmark.test[0].kind == "multi-choice"


def test_settings_file_beside_the_folder_and_its_task_facts(tmp_path):
    write_benchmark(tmp_path / "data", kinds={"c": "multi-choice"})
    lists = json.loads((tmp_path / "data" / "settings.json").read_text())
    lists["tasks"] = {
        "c": {"kind": "classification", "domain": "news", "instruction": "choose"}
    }
    (tmp_path / "settings.json").write_text(json.dumps(lists))
    (tmp_path / "data" / "settings.json").unlink()
    (target,) = load_benchmark(tmp_path / "data", "mini").test
    assert (target.kind, target.domain, target.instruction) == (
        "classification",
        "news",
        "choose",
    )


@pytest.mark.parametrize(
    ("lacking", "names"),
    [
        (
            "a/a_16384_100_train",
            "one of a/a_16384_100_train.jsonl, a/a_mt_train.jsonl, a/a_train.jsonl",
        ),
        ("c/c_16_100_test", "one of c/c_16_100_test.jsonl, c/c_test.jsonl"),
        (
            "c/c_16_13_train",
            r"read the demonstration seeds that all targets have, "
            r"seeds=\(21, 42, 87, 100\), or put there c/c_16_13_train.jsonl",
        ),
    ],
)
def test_a_missing_file_is_named(tmp_path, lacking, names):
    write_benchmark(tmp_path)
    (tmp_path / f"{lacking}.jsonl").unlink()
    with pytest.raises(DataError, match=rf"{names} \(or \.gz\)$") as caught:
        load_benchmark(tmp_path, "mini")
    assert len(str(caught.value)) - len(str(tmp_path)) < 400


def test_seeds_of_ones_own(tmp_path):
    write_benchmark(tmp_path, test=("c", "d"))
    for task in "cd":
        for seed in SEEDS:
            (tmp_path / task / f"{task}_16_{seed}_train.jsonl").unlink()
        for seed in (0, 2026):
            write_lines(
                tmp_path / task / f"{task}_16_{seed}_train.jsonl",
                records(task, 16, start=seed),
            )
    (tmp_path / "d" / "d_16_2026_train.jsonl").unlink()
    for name in ("c_16_007_train.jsonl", "c_16_x_train.jsonl", "c_16_5_train.txt"):
        (tmp_path / "c" / name).touch()
    target, _ = load_benchmark(tmp_path, "mini", seeds=[0]).test
    assert [len(shots) for shots in target.demonstrations.values()] == [16]
    assert target.few_shot(0, 1)[0].input == records("c", 1)[0]["input"]
    alone = load_benchmark(tmp_path, "mini", tasks=["c"], seeds=[0, 2026])
    assert tuple(alone.test[0].demonstrations) == (0, 2026)
    message = r"lack their files: c, d; .* all targets have, seeds=\(0,\), or put there"
    with pytest.raises(DataError, match=message):
        load_benchmark(tmp_path, "mini")
    with pytest.raises(DataError, match="lack their files: d; .*seeds=.0,., or put"):
        load_benchmark(tmp_path, "mini", seeds=[2026])
    (tmp_path / "d" / "d_16_0_train.jsonl").unlink()
    with pytest.raises(DataError, match="to go on without, or put there c/c_16_100_tr"):
        load_benchmark(tmp_path, "mini")


def test_a_seed_that_a_generated_benchmark_lacks():
    message = r"lack their files: size-sea; .* seeds=\(13, 21, 42, 87, 100\), or"
    with pytest.raises(DataError, match=message):
        load_benchmark("minicrossfit", "hr_to_lr", tasks=["size-sea"], seeds=[100, 14])


def test_a_folder_without_settings_says_whose_they_are(tmp_path):
    folder = write_benchmark(tmp_path / "tasks")
    with pytest.raises(DataError, match="one of mini, found 'own'$"):
        load_benchmark(folder, "own")
    (folder / "settings.json").unlink()
    with pytest.raises(DataError, match=r"found 'own'; .* its own in a settings\.json"):
        load_benchmark(folder, "own")


def test_selection_of_tasks_and_seeds(tmp_path):
    write_benchmark(tmp_path, test=("c", "d"), unseen=["d"])
    benchmark = load_benchmark(tmp_path, "mini", tasks=["b", "c"], seeds=[21])
    assert [task.name for task in benchmark.train + benchmark.test] == ["b", "c"]
    assert tuple(benchmark.test[0].demonstrations) == (21,)
    assert benchmark.unseen == frozenset()


def test_missing_tasks_are_refused_or_left_out_loudly(tmp_path):
    write_benchmark(tmp_path, train=("a", "b"), test=("c", "d"), unseen=["d"])
    (tmp_path / "b" / "b_16384_100_train.jsonl").unlink()
    (tmp_path / "d" / "d_16_87_train.jsonl").unlink()
    with pytest.raises(
        DataError,
        match=r"2 tasks of setting 'mini' lack their files: b, d; .*allow_missing=True",
    ):
        load_benchmark(tmp_path, "mini")
    with pytest.warns(UserWarning, match="lack their files: b, d; they are left out"):
        benchmark = load_benchmark(tmp_path, "mini", allow_missing=True)
    assert benchmark.missing == ("b", "d")
    assert [task.name for task in benchmark.train + benchmark.test] == ["a", "c"]
    assert benchmark.unseen == frozenset()
    assert str(benchmark).endswith("left out because their files are missing: b, d")
    # A file of a seed that nobody asked for is not missing.
    assert load_benchmark(tmp_path, "mini", tasks=["d"], seeds=[100]).missing == ()


@pytest.mark.parametrize(("lost", "kept"), [("16384_100_train", 1), ("16_100_test", 0)])
def test_a_task_that_lacks_a_file_in_one_role_keeps_the_other(tmp_path, lost, kept):
    both = write_benchmark(tmp_path, train=("a", "sick"), test=("c", "sick"))
    (both / "sick" / f"sick_{lost}.jsonl").unlink()
    with pytest.warns(UserWarning, match="lack their files: sick; they are left out"):
        found = load_benchmark(both, "mini", allow_missing=True, faithful=True)
    roles = (found.train, found.test)
    assert ["sick" in {task.name for task in tasks} for tasks in roles] == [
        not kept,
        bool(kept),
    ]
    assert found.missing == ("sick",)


# protocol 1.5
COUNTS = {
    "hr_to_lr": (61, 26, 4),
    "class_to_class": (43, 20, 4),
    "non_class_to_class": (37, 20, 4),
    "qa_to_qa": (37, 22, 1),
    "non_qa_to_qa": (33, 22, 1),
    "non_nli_to_nli": (55, 8, 1),
    "non_paraphrase_to_paraphrase": (59, 4, 1),
}


def test_leaking_tasks_are_left_out_unless_asked_for(tmp_path):
    folder = write_benchmark(
        tmp_path, train=("a", "c", "unifiedqa:winogrande_xl"), test=("c", "wino_grande")
    )
    repaired, published = (
        load_benchmark(folder, "mini"),
        load_benchmark(folder, "mini", faithful=True),
    )
    assert [task.name for task in repaired.train] == ["a"]
    assert [task.name for task in published.train] == [
        "a",
        "c",
        "unifiedqa:winogrande_xl",
    ]
    assert repaired.test == published.test and [
        task.name for task in repaired.test
    ] == ["c", "wino_grande"]


def test_the_published_lists_leak_in_two_settings():
    leaks = {
        name: set(lists["train"]) - set(without_leaks(lists)["train"])
        for name, lists in settings().items()
    }
    assert {name: found for name, found in leaks.items() if found} == {
        "non_nli_to_nli": {"sick"},
        "qa_to_qa": {"unifiedqa:winogrande_xl"},
    }


def test_packaged_lists_are_those_of_metaicl():
    lists = settings()
    found = {
        name: tuple(len(part[role]) for role in ("train", "test", "unseen_domain_test"))
        for name, part in lists.items()
    }
    assert found == COUNTS
    train = {task for part in lists.values() for task in part["train"]}
    test = {task for part in lists.values() for task in part["test"]}
    assert (len(train | test), len(train), len(test), len(train & test)) == (
        142,
        131,
        52,
        41,
    )
    for part in lists.values():
        assert set(part["unseen_domain_test"]) <= set(part["test"])
        assert len(set(part["train"])) == len(part["train"])
    # The one overlap within a setting is the reference's own (protocol, trap 7).
    assert {
        name: set(part["train"]) & set(part["test"])
        for name, part in lists.items()
        if set(part["train"]) & set(part["test"])
    } == {"non_nli_to_nli": {"sick"}}


# --- bad input ---

GOOD = json.dumps(record())
LINES = {  # third line of a file → what its error says
    "not JSON": (
        '{"task": "t", ',
        r"expected a JSON object, found '\{\"task\": \"t\",'",
    ),
    "blank": ("", "expected a JSON object, found ''"),
    "a list": ("[1, 2]", "expected a JSON object, found a list"),
    "input not text": (
        json.dumps(record() | {"input": 3}),
        "expected a text, or an empty string, in 'input', found 3",
    ),
    "blank input": (
        json.dumps(record(text=" ")),
        "expected a text, or an empty string, in 'input', found ' '",
    ),
    "empty output": (
        json.dumps(record(answer="", options=[])),
        "expected a non-empty string in 'output', found ''",
    ),
    "output not an option": (
        json.dumps(record(answer="maybe")),
        r"expected 'output' to be one of \['yes', 'no'\], found 'maybe'",
    ),
    "options not a list": (
        json.dumps(record() | {"options": "yes no"}),
        "expected a list of strings in 'options', found 'yes no'",
    ),
    "options not texts": (
        json.dumps(record() | {"options": [1, 2]}),
        r"expected a list of strings in 'options', found \[1, 2\]",
    ),
} | {
    f"no {key}": (
        json.dumps({k: v for k, v in record().items() if k != key}),
        f"expected keys .*; {key} missing",
    )
    for key in record()
}


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz"])
@pytest.mark.parametrize(("line", "message"), LINES.values(), ids=LINES)
def test_bad_line_is_named(tmp_path, line, message, end):
    write_benchmark(tmp_path, end=end)
    path = write_lines(
        tmp_path / "a" / f"a_16384_100_train{end}", [GOOD, GOOD, line, GOOD]
    )
    with pytest.raises(DataError, match=rf"{path}:3: {message}"):
        load_benchmark(tmp_path, "mini")


def _latin(path):
    path.write_bytes(
        f"{GOOD}\n".encode()
        + json.dumps(record(text="é"), ensure_ascii=False).encode("latin-1")
    )


def _truncated(path):
    path.write_bytes(gzip.compress(GOOD.encode() * 100)[:-12])


def _damaged(path):
    noise = random.Random(0).randbytes(1000)
    packed = bytearray(gzip.compress(noise.hex().encode()))
    packed[100:200] = bytes(100)
    path.write_bytes(packed)


FILES = {
    "not UTF-8": (".jsonl", _latin, ":2: expected UTF-8 text"),
    "truncated gzip": (".jsonl.gz", _truncated, ": expected a complete gzip file"),
    "damaged gzip": (".jsonl.gz", _damaged, ": expected a complete gzip file"),
    "not gzip": (
        ".jsonl.gz",
        lambda path: path.write_text(GOOD),
        ": expected a complete gzip file",
    ),
    "empty": (
        ".jsonl",
        lambda path: path.write_text(""),
        ": expected one JSON object per line, found an empty file",
    ),
}


@pytest.mark.parametrize(("end", "spoil", "message"), FILES.values(), ids=FILES)
def test_bad_file_is_named(tmp_path, end, spoil, message):
    write_benchmark(tmp_path, end=end)
    path = tmp_path / "c" / f"c_16_42_train{end}"
    spoil(path)
    with pytest.raises(DataError, match=f"{path}{message}"):
        load_benchmark(tmp_path, "mini")


ARGUMENTS = {
    "unknown setting": (
        dict(setting="hr_to_ll"),
        "setting: expected one of hr_to_lr, .*found 'hr_to_ll'; nearest: hr_to_lr",
    ),
    "unknown task": (
        dict(tasks=["glue-rt"]),
        "tasks: 'glue-rt' is not in setting 'hr_to_lr'; nearest: glue-rte",
    ),
    "task of another setting": (
        dict(tasks=["spider"]),
        "tasks: 'spider' is not in setting 'hr_to_lr'",
    ),
}


@pytest.mark.parametrize(("changes", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_bad_argument_is_named(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        load_benchmark(tmp_path, **{"setting": "hr_to_lr"} | changes)


def test_no_such_folder(tmp_path):
    with pytest.raises(
        DataError, match=f"source: expected a folder .*, found '{tmp_path}/nowhere'"
    ):
        load_benchmark(tmp_path / "nowhere", "hr_to_lr")


def test_too_few_demonstrations():
    task = Task(
        "t",
        "classification",
        demonstrations={100: (Example("x", "y", ("y", "n")),) * 3},
    )
    assert len(task.few_shot(100, 3)) == 3
    with pytest.raises(
        DataError, match="demonstrations: 4 asked of task 't', seed 100, which has 3"
    ):
        task.few_shot(100, 4)
    with pytest.raises(
        DataError, match="seed: task 't' has no demonstrations for seed 13; it has 100"
    ):
        task.few_shot(13, 1)


@pytest.mark.parametrize(
    ("demonstrations", "message"),
    [({}, "it has none: ask for 0"), ({"13": ()}, "for seed 13; it has '13'$")],
)
def test_no_demonstrations_are_those_of_any_seed(demonstrations, message):
    task = Task("t", "classification", demonstrations=demonstrations)
    assert task.few_shot(13, 0) == ()
    with pytest.raises(DataError, match=message):
        task.few_shot(13, 1)
    for seed, count in (("13", 0), (13, -1)):
        with pytest.raises(DataError, match="expected a whole number"):
            task.few_shot(seed, count)


# --- real files ---


@pytest.fixture(scope="module")
def hr_to_lr(metaicl_data):
    with pytest.warns(
        UserWarning, match="14 tasks of setting 'hr_to_lr' lack their files"
    ):
        return load_benchmark(metaicl_data, "hr_to_lr", allow_missing=True)


def test_real_folder_is_refused_with_the_list_of_missing_tasks(metaicl_data):
    with pytest.raises(
        DataError,
        match="14 tasks .*scitail.*financial_phrasebank.*and 2 more; pass",
    ):
        load_benchmark(metaicl_data, "hr_to_lr")


def test_real_folder_without_the_missing_tasks(hr_to_lr):
    assert (len(hr_to_lr.train), len(hr_to_lr.test), len(hr_to_lr.missing)) == (
        52,
        21,
        14,
    )
    assert hr_to_lr.unseen == {"poem_sentiment", "climate_fever"}
    assert all(
        len(task.few_shot(seed, 16)) == 16 for task in hr_to_lr.test for seed in SEEDS
    )
    kinds = [task.kind for task in hr_to_lr.test]
    assert (kinds.count("classification"), kinds.count("multi-choice")) == (13, 8)
    sizes = {
        task.name: (len(task.test), len(task.test[0].options)) for task in hr_to_lr.test
    }
    for name, size in dict(
        qasc=(926, 8), dream=(2040, 3), hate_speech18=(2141, 2)
    ).items():  # protocol 4
        assert sizes[name] == size
    records = {
        "tweet_eval-stance_atheism": 52,
        "superglue-cb": 56,
        "tweet_eval-stance_feminist": 67,
        "glue-wnli": 71,
    }
    assert {name: sizes[name][0] for name in records} == records


@pytest.mark.parametrize("name", ["glue-rte", "glue-wnli"])
def test_real_records_are_those_of_the_golden_run(hr_to_lr, golden, name):
    (task,) = [task for task in hr_to_lr.test if task.name == name]
    known = golden["tasks"][name]
    assert list(task.test[0].options) == known["options"]
    assert [known["options"].index(example.output) for example in task.test] == known[
        "gold"
    ]


def test_a_known_record(hr_to_lr):
    # By its hash: the data are not ours to copy.
    (task,) = [task for task in hr_to_lr.test if task.name == "glue-wnli"]
    first = task.few_shot(100, 1)[0]
    assert (
        first.input.startswith("sentence 1: ") and " [SEP] sentence 2: " in first.input
    )
    assert hashlib.sha256(first.input.encode()).hexdigest()[:16] == "b8ff6d58a4a19c60"


def test_a_folder_called_as_a_generated_benchmark_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minicrossfit").mkdir()
    with pytest.warns(UserWarning, match="'minicrossfit' is the generated .*'./mini"):
        lists = settings("minicrossfit")
    assert "hr_to_lr" in lists
    with pytest.raises(DataError):
        load_benchmark("./minicrossfit", "hr_to_lr")
