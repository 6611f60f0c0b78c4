"""Bad files, settings and arguments: each is named, with what was expected."""

import gzip
import json
import os

import numpy as np
import pytest
import torch
from helpers import record, records, write_benchmark, write_lines

from maml_en_llm import DataError, load_benchmark
from maml_en_llm.tasks import load_settings, read_examples

LONGEST = 500  # characters of a message
GOOD = json.dumps(record("a"))


def line(**changes) -> str:
    return json.dumps(record("a") | changes)


def deep(n: int) -> str:
    return "[" * n + "]" * n


OTHERS = {"null": None, "number": 7, "truth": True, "list": ["x"], "object": {"x": 1}}
LINES = {
    "nothing": "",
    "blank": "   ",
    "text": "hello",
    "half an object": '{"task": "a", ',
    "two objects": GOOD + GOOD,
    "a string": '"a"',
    "a list": "[1, 2]",
    "a number": "12",
    "a null": "null",
    "byte-order mark": "\ufeff" + GOOD,
    "nesting 10^5": "[" * 10**5,
    "nesting closed": deep(1000),
    "nesting in a record": GOOD[:-1] + f', "more": {deep(200)}}}',
    "nesting of objects": '{"a":' * 500 + "1" + "}" * 500,
    "5,000 digits": GOOD[:-1] + ', "n": ' + "9" * 5000 + "}",
    "5,000 digits after a point": GOOD[:-1] + ', "n": 1.' + "9" * 5000 + "}",
    "5,000 digits as the text": '{"task": "a", "input": ' + "9" * 5000 + "}",
    "NaN": GOOD[:-1] + ', "n": NaN}',
    "Infinity": GOOD[:-1] + ', "n": -Infinity}',
    "comment": "// " + GOOD,
    "single quotes": GOOD.replace('"', "'"),
    "trailing comma": GOOD[:-1] + ",}",
    "control character": GOOD.replace("some", "so\x01me"),
    "input twice": GOOD[:-1] + ', "input": "other"}',
    "output twice": GOOD[:-1] + ', "output": "no"}',
    "options twice": GOOD[:-1] + ', "options": []}',
    "a key of its own twice": GOOD[:-1] + ', "id": 1, "id": 2}',
    "a key twice, deep": GOOD[:-1] + ', "more": {"id": 1, "id": 1}}',
    "half a pair in the text": line(input="dog \ud800"),
    "half a pair in the answer": line(output="no\udc00", options=[]),
    "half a pair in an option": line(options=["yes", "no\ud83d"]),
    "half a pair in the task": line(task="\ud800"),
    "half a pair in a key": GOOD[:-1] + ', "\\ud800": 1}',
    "halves in a wrong order": line(input="\ude00\ud83d"),
    "blank input": line(input=" \n"),
    "empty output": line(output="", options=[]),
    "blank output": line(output=" \t", options=[]),
    "empty option": line(options=["yes", ""]),
    "blank option": line(options=["yes", "  "]),
    "only an empty option": line(output="", options=[""]),
    "output not an option": line(output="maybe"),
    "output of another case": line(output="Yes"),
    "output with a blank": line(output="yes "),
    "doubled option": line(options=["yes", "no", "yes"]),
    "one option twice": line(options=["yes", "yes"]),
    "options a string": line(options="yes"),
    "options an object": line(options={"yes": 1}),
    "options null": line(options=None),
    "a single option": line(options=["yes"]),
    "an option without a width": line(options=["yes", "\u200b"]),
    "an output without a width": line(output="\u200b\ufeff", options=[]),
    "an option of a braille blank": line(options=["yes", "\u2800"]),
    "an option of a Hangul filler": line(options=["yes", "\u3164"]),
    "an option of an accent alone": line(options=["yes", "\u0301"]),
    "options of numbers": line(options=[1, 2]),
    "options of a list": line(options=["yes", ["no"]]),
    "100,000 options": line(options=[f"o{i}" for i in range(10**5)]),
    "a long answer": line(output="a" * 10**6),
    "long options": line(options="a" * 10**6),
    "a long task": line(task=["t" * 10**6]),
    "a line of 5 MB": line(input="a" * 5 * 2**20),
    "blank task": line(task=" "),
    "another task": line(task="b"),
    "an unknown task": line(task="z"),
    "a list of one record": f"[{GOOD}]",
}
LINES |= {
    f"{key} {kind}": line(**{key: value})
    for key in ("task", "input", "output")
    for kind, value in OTHERS.items()
}
LINES |= {
    f"no {key}": json.dumps({k: v for k, v in record("a").items() if k != key})
    for key in record()
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize("bad", LINES.values(), ids=LINES)
def test_a_bad_line_is_named(folder, bad):
    path = folder / "a" / "a_16384_100_train.jsonl"
    path.write_text(f"{GOOD}\n{GOOD}\n{bad}\n{GOOD}\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_benchmark(folder, "mini", tasks=["a"])
    message = str(caught.value)
    assert message.startswith(f"{path}:3: ")
    assert "expected" in message and len(message) - len(str(path)) < LONGEST


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
FILES = {
    "empty": (b"", "expected one JSON object per line"),
    "git-lfs pointer": (POINTER, "git-lfs"),
    "UTF-16": (GOOD.encode("utf-16"), ":1: expected UTF-8"),
    "Latin-1": (line(input="é").encode() + b"\n\xe9\n", ":2: expected UTF-8"),
    "zeros": (bytes(100), ":1: expected a JSON object"),
    "gzip under another name": (gzip.compress(b"x"), ":1: expected JSON lines, found"),
    "trailing blank line": (f"{GOOD}\n\n".encode(), ":2: expected a JSON object"),
    "one line without end": (b"x" * 2**23, ":1: expected a line of at most"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz"])
def test_a_bad_file_is_named(tmp_path, content, message, end):
    path = tmp_path / f"t{end}"
    if end.endswith("gz") and content != POINTER:
        content = gzip.compress(content)
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)
    assert len(str(caught.value)) - len(str(path)) < LONGEST


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.jsonl"):
        with pytest.raises(DataError, match=f"{path}: expected a file that can be"):
            read_examples(path)


LISTS = {"train": ["a"], "test": ["c"], "unseen_domain_test": []}


def content(lists=None, **more) -> dict:
    return {"settings": {"mini": LISTS | (lists or {})}} | more


SETTINGS = {
    "a list": [],
    "null": None,
    "no settings": {"setting": {}},
    "settings a list": {"settings": []},
    "settings null": {"settings": None},
    "settings empty": {"settings": {}},
    "a setting a list": {"settings": {"mini": ["a"]}},
    "a setting null": {"settings": {"mini": None}},
    "no test": {"settings": {"mini": {"train": ["a"]}}},
    "no train": {"settings": {"mini": {"test": ["c"]}}},
    "misspelt list": content({"unseen_domain_tests": ["c"]}),
    "list of another name": content({"unseen": ["c"]}),
    "misspelt tasks": content(task={"c": {"kind": "free-form"}}),
    "tasks a list": content(tasks=[]),
    "tasks null": content(tasks=None),
    "facts null": content(tasks={"c": None}),
    "facts a list": content(tasks={"c": ["free-form"]}),
    "unknown kind": content(tasks={"c": {"kind": "clasification"}}),
    "kind a list": content(tasks={"c": {"kind": ["free-form"]}}),
    "misspelt kind": content(tasks={"c": {"kinds": "free-form"}}),
    "misspelt kind, two letters": content(tasks={"c": {"knid": "free-form"}}),
    "kind in capitals": content(tasks={"c": {"Kind": "free-form"}}),
    "tasks in capitals": content(TASKS={"c": {"kind": "free-form"}}),
    "instruction a number": content(tasks={"c": {"instruction": 7}}),
    "domain a list": content(tasks={"c": {"domain": ["news"]}}),
    "unseen unknown": content({"unseen_domain_test": ["zzz"]}),
    "unseen trained on": content({"unseen_domain_test": ["a"]}),
    "long kind": content(tasks={"c": {"kind": "k" * 10**5}}),
    "many names": content({"unseen_domain_test": [f"t{i}" for i in range(10**4)]}),
}
NAMES = {
    "null": None,
    "a string": "a",
    "an object": {"a": 1},
    "numbers": [1],
    "nested": [["a"]],
    "doubled": ["c", "c"],
    "empty name": [""],
    "blank name": [" "],
    "dots": [".."],
    "dot": ["."],
    "leaves": ["../x"],
    "absolute": ["/etc/passwd"],
    "backslash": ["..\\x"],
    "deeper": ["c/c"],
    "NUL": ["c\0"],
    "newline": ["c\n"],
    "too long": ["c" * 300],
}
SETTINGS |= {
    f"{role}: {kind}": content({role: value})
    for role in LISTS
    for kind, value in NAMES.items()
}


@pytest.mark.parametrize("bad", SETTINGS.values(), ids=SETTINGS)
def test_bad_settings_are_named(tmp_path, bad):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(bad))
    with pytest.raises(DataError) as caught:
        load_benchmark(tmp_path, "mini", seeds=[100])
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "expected" in message
    assert len(message) - len(str(path)) < LONGEST


RAW = {
    "nesting": "[" * 10**5,
    "a key twice": '{"settings": {}, "settings": {}}',
    "a setting twice": '{"settings": {"s": {}, "s": {}}}',
    "no JSON": "settings",
    "half a pair": '{"settings": {"\\ud800": {}}}',
    "digits": '{"settings": ' + "1" * 5000 + "}",
    "empty": "",
}


@pytest.mark.parametrize("text", RAW.values(), ids=RAW)
def test_settings_that_are_no_json(tmp_path, text):
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(DataError, match=f"{tmp_path}/settings.json: expected"):
        load_settings(tmp_path)


ARGUMENTS = {
    "setting a number": (dict(setting=7), "setting: "),
    "setting unknown": (dict(setting="m" * 10**5), "setting: "),
    "tasks a string": (dict(tasks="a"), "tasks: expected a list"),
    "tasks of numbers": (dict(tasks=[1]), "tasks: 1 is not"),
    "tasks doubled": (dict(tasks=["a", "a"]), "tasks: expected each once"),
    "tasks a number": (dict(tasks=3), "tasks: expected a list"),
    "no task": (dict(tasks=[]), "tasks: expected a name or more, found none"),
    "tasks of lists": (dict(tasks=[["a"]]), "tasks: ['a'] is not"),
    "no seed": (dict(seeds=[]), "seeds: expected one or more, such as (100, 13"),
    "seeds of lists": (dict(seeds=[[100]]), "seeds: expected a whole number of at"),
    "seeds in a square": (dict(seeds=np.array([[100, 13]])), "seeds: expected a whole"),
    "seeds of torch": (dict(seeds=torch.tensor([13, 13])), "seeds: expected a whole"),
    "seeds of numpy doubled": (dict(seeds=np.array([13, 13])), "seeds: expected each"),
    "seed complex": (dict(seeds=[100 + 0j]), "seeds: expected a whole number of"),
    "seeds doubled": (dict(seeds=[13, 13]), "seeds: expected each once"),
    "seeds a string": (dict(seeds="13"), "seeds: expected a list"),
    "seeds a number": (dict(seeds=13), "seeds: expected a list"),
    "seed a truth": (dict(seeds=[True]), "seeds: expected"),
    "seed a float": (dict(seeds=[13.0]), "seeds: expected"),
    "seed negative": (dict(seeds=[-1]), "seeds: expected"),
    "seed too large": (dict(seeds=[10**5000]), "seeds: expected a whole number of"),
    "source a number": (dict(source=3), "source: expected"),
    "source empty": (dict(source=""), "source: expected"),
    "source NUL": (dict(source="a\0b"), "source: expected"),
    "source long": (dict(source="a" * 10**5), "source: expected"),
    "address": (dict(source="hf://datasets/a"), "source: expected"),
}


@pytest.mark.parametrize(("changes", "message"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_bad_arguments_are_named(folder, changes, message):
    with pytest.raises(ValueError) as caught:
        load_benchmark(**(dict(source=folder, setting="mini") | changes))
    assert str(caught.value).startswith(message) and len(str(caught.value)) < LONGEST


def a_folder(path) -> None:
    path.mkdir()


def a_dangling_link(path) -> None:
    path.symlink_to(path.parent / "nowhere")


def a_loop(path) -> None:
    path.symlink_to(path.name)


NO_FILES = [a_folder, os.mkfifo, a_dangling_link, a_loop]


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize("above", [False, True])
def test_settings_that_are_no_file_are_not_passed_over(tmp_path, make, above):
    folder = write_benchmark(tmp_path / "tasks")
    (folder / "settings.json").unlink()
    path = (tmp_path if above else folder) / "settings.json"
    make(path)
    with pytest.raises(DataError, match=f"^{path}: expected a file.*, found") as caught:
        load_benchmark(folder, "mini")
    assert len(str(caught.value)) - len(str(path)) < LONGEST


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize(
    "stem", ["a_16384_100_train", "c_16_100_test", "c_16_13_train"]
)
def test_a_tasks_file_that_is_no_file_is_named(tmp_path, make, stem):
    folder = write_benchmark(tmp_path)
    path = folder / stem[0] / f"{stem}.jsonl"
    path.unlink()
    make(path)
    for allowed in (False, True):
        with pytest.raises(DataError, match=f"^{path}: expected a file of examples"):
            load_benchmark(folder, "mini", allow_missing=allowed)


@pytest.mark.parametrize("seed", [[100], {}, None, "100", 100.0, True])
def test_a_seed_of_demonstrations_is_a_whole_number(folder, seed):
    (task,) = load_benchmark(folder, "mini", tasks=["c"]).test
    assert task.few_shot(np.int64(100), 2) == task.few_shot(100, 2)
    with pytest.raises(DataError, match="seed: expected a whole number of at least 0"):
        task.few_shot(seed, 2)


# --- what is unusual and good ---


@pytest.mark.parametrize(
    "name", ["a{0}", "{", "}", "a{task}", "a{seed}b", "{}", "a{0.x}", "a%s", "a b", "ä"]
)
def test_a_task_may_have_any_name_that_a_folder_may_have(tmp_path, name):
    folder = write_benchmark(tmp_path, train=(name,), test=(f"{name} too",))
    found = load_benchmark(folder, "mini")
    assert [task.name for task in found.train] == [name]
    (target,) = found.test
    assert target.name == f"{name} too"
    assert sorted(target.demonstrations) == [13, 21, 42, 87, 100]


def test_settings_may_be_a_link_to_a_file(tmp_path):
    folder = write_benchmark(tmp_path / "tasks")
    (folder / "settings.json").rename(tmp_path / "elsewhere.json")
    (folder / "settings.json").symlink_to(tmp_path / "elsewhere.json")
    assert load_benchmark(folder, "mini").setting == "mini"


def test_seeds_of_numpy_are_seeds(folder):
    found = load_benchmark(folder, "mini", tasks=["c"], seeds=np.array([100, 13]))
    (task,) = found.test
    assert [type(seed) for seed in task.demonstrations] == [int, int]


def test_published_ablations_are_read(tmp_path):
    rows = [record(text="") for _ in range(3)]
    path = write_lines(tmp_path / "texts.jsonl", rows)
    assert [example.input for example in read_examples(path)] == [""] * 3
    rows = [record(answer="", options=[""]), record(answer="", options=[])]
    path = write_lines(tmp_path / "labels.jsonl", rows)
    found = read_examples(path, demonstrations=True)
    assert [(e.output, e.options) for e in found] == [("", ())] * 2
    with pytest.raises(DataError, match=":1: expected a non-empty string in 'output'"):
        read_examples(path)


def test_questions_may_bring_an_option_twice(tmp_path):
    # as 1 in 1,000 of the published ones do
    rows = records("t", 4, kind="multi-choice")
    rows[2]["options"] = ["west", "right2", "west"]
    found = read_examples(write_lines(tmp_path / "t.jsonl", rows))
    assert found[2].options == ("west", "right2", "west")


def test_a_renamed_copy_is_read(tmp_path):
    # its examples keep the old name; the source has no task of that name
    folder = write_benchmark(tmp_path)
    path = folder / "a" / "a_16384_100_train.jsonl"
    write_lines(path, records("old", 40))
    assert len(load_benchmark(folder, "mini").train[0].train) == 40


def test_a_renamed_copy_is_of_one_task(tmp_path):
    # three tasks whose names the source does not know are no task
    path = tmp_path / "a.jsonl"
    write_lines(path, [record(f"old-{i % 3}") for i in range(6)])
    message = f"{path}:2: expected an example of task 'old-0', found one of 'old-1'"
    with pytest.raises(DataError, match=message):
        read_examples(path, task="a", others=("a", "b"))


@pytest.mark.parametrize(
    ("kind", "said", "fits"),
    [
        ("classification", "free-form", "a kind with options"),
        ("free-form", "multi-choice", "'free-form', as no example has options"),
    ],
)
def test_a_target_is_of_a_kind_that_its_options_allow(tmp_path, kind, said, fits):
    folder = write_benchmark(tmp_path, kinds={"c": kind})
    settings = json.loads((folder / "settings.json").read_text())
    settings["tasks"] = {"c": {"kind": said}}
    (folder / "settings.json").write_text(json.dumps(settings))
    message = f"kind of task 'c' in settings.json: expected {fits}.*, found '{said}'"
    with pytest.raises(DataError, match=message):
        load_benchmark(folder, "mini")


@pytest.mark.parametrize("path", [None, 3, b"x", "a\0b"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(DataError, match="path: expected that of a file, found"):
        read_examples(path)


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(DataError, match="expected a file of examples, found a device"):
        read_examples(tmp_path / "pipe.jsonl")


@pytest.mark.parametrize("argument", ["allow_missing", "faithful"])
def test_truth_values_are_truth_values(folder, argument):
    with pytest.raises(DataError, match=f"{argument}: expected True or False, found"):
        load_benchmark(folder, "mini", **{argument: "no"})


@pytest.mark.parametrize("name", ["climate_fevre", "Climate_Fever", "climate_fever "])
def test_facts_of_a_misspelt_task_are_refused(folder, name):
    path = folder / "settings.json"
    lists = {"train": ["climate_fever"], "test": ["c"], "unseen_domain_test": []}
    facts = {name: {"instruction": "Is it true?"}}
    path.write_text(json.dumps({"settings": {"mini": lists}, "tasks": facts}))
    with pytest.raises(DataError, match="expected 'climate_fever', which has no facts"):
        load_benchmark(folder, "mini")
