"""Tasks from and to data sets of the `datasets` library, on local data only."""

import json

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_dataset
from helpers import write_benchmark

from maml_en_llm import Benchmark, DataError, Example, Task, load_benchmark

TEXTS = ["a cat", "a dog", "an owl", "a cow"]
ROWS = {"text": TEXTS, "label": [0, 1, 1, 0], "n": [1, 2, 3, 4]}
LABELS = ClassLabel(names=["yes", "no"])
FEATURES = Features({"text": Value("string"), "label": LABELS, "n": Value("int64")})


@pytest.fixture
def arrow(tmp_path):
    Dataset.from_dict(ROWS, FEATURES).save_to_disk(tmp_path / "arrow")
    return Dataset.load_from_disk(tmp_path / "arrow")


def test_class_labels_give_answers_and_options(arrow):
    task = Task.from_dataset(arrow, input="text", output="label", name="pets")
    assert (task.name, task.kind, task.test) == ("pets", "classification", ())
    assert task.train[1] == Example("a dog", "no", ("yes", "no"))


def test_json_lines_with_functions(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = tmp_path / "q.jsonl"
    rows = [{"q": f"{t}?", "choices": ["x", t], "right": 1} for t in TEXTS]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_dataset("json", data_files=str(path), cache_dir=str(tmp_path / "c"))
    task = Task.from_dataset(
        data["train"],
        input=lambda row: f"question: {row['q']}",
        output="right",
        options="choices",
        role="test",
    )
    assert task.kind == "multi-choice" and task.train == ()
    assert task.test[0] == Example("question: a cat?", "a cat", ("x", "a cat"))


STARS = ["1", "2", "3", "4"]


def starred(numbers, options=STARS, **how):
    rows = [{"text": f"review {n}", "stars": n} for n in numbers]
    return Task.from_dataset(rows, input="text", output="stars", options=options, **how)


def test_numbers_that_may_be_options_or_their_places_are_refused():
    message = (
        r"dataset\[0\]: output: .* found 1, which may be option '1' or, .* '2'; .*str"
    )
    with pytest.raises(DataError, match=message) as raised:
        starred([1, 3, 2])
    assert len(str(raised.value)) < 300
    with pytest.raises(DataError, match=r"\[0\]: .* 4 options, found 4; as text .*str"):
        starred([4, 1])
    splits = {"train": [{"text": "a", "stars": 1}], "test": [{"text": "b", "stars": 2}]}
    with pytest.raises(DataError, match=r"dataset\['train'\]\[0\]: .* found 1, which"):
        read = dict(input="text", output="stars", options=STARS, shots=0)
        Task.from_dataset(splits, **read)


def test_numbers_that_are_places_only_are_taken():
    assert [x.output for x in starred([0, 1, 3]).train] == ["1", "2", "4"]
    assert [x.output for x in starred([1, 0], ["0", "1"]).train] == ["1", "0"]
    rows = [  # as of questions that bring their own options: the second has no "1"
        {"q": "1 + 1", "choices": ["0", "2", "1", "4"], "right": 1},
        {"q": "a cat", "choices": ["pet", "bird"], "right": 1},
    ]
    read = dict(input="q", output="right", options="choices")
    assert [x.output for x in Task.from_dataset(rows, **read).train] == ["2", "bird"]
    as_text = Task.from_dataset(
        [{"q": "a", "n": 1}], input="q", output=lambda row: str(row["n"]), options=STARS
    )
    assert as_text.train[0].output == "1"


def test_labels_of_a_column_have_numbers_even_if_they_look_like_some():
    label = ClassLabel(names=STARS)
    data = Dataset.from_dict(
        {"text": ["a", "b"], "label": [1, 2]},
        Features({"text": Value("string"), "label": label}),
    )
    task = Task.from_dataset(data, input="text", output="label")
    assert [x.output for x in task.train] == ["2", "3"]


def test_splits_become_the_parts_of_a_target(arrow):
    splits = DatasetDict(train=arrow, validation=arrow)
    read = dict(input="text", output="label", shots=2)
    task = Task.from_dataset(splits, **read, seeds=[13, 21], instruction="choose")
    again = Task.from_dataset(splits, **read, seeds=[13, 21], instruction="choose")
    assert task == again and tuple(task.demonstrations) == (13, 21)
    assert set(task.few_shot(13, 2)) <= set(task.train) and len(task.test) == 4


def test_demonstrations_by_seeds_of_ones_own(arrow):
    read = dict(input="text", output="label", shots=2)
    splits = {"train": arrow, "test": arrow}
    task, again = (
        Task.from_dataset(splits, **read, seeds=seeds) for seeds in ([0, 7], [7, 100])
    )
    assert tuple(task.demonstrations) == (0, 7)
    assert task.demonstrations[7] == again.demonstrations[7]


def test_a_pandas_table_by_its_rows(arrow):
    read = dict(input="text", output="label", options=["yes", "no"])
    table = arrow.to_pandas()
    message = r"dataset\[0\]: expected a row, found 'text'; of a pandas table df.to_d"
    with pytest.raises(DataError, match=message):
        Task.from_dataset(table, **read)
    rows = table.to_dict("records")
    assert Task.from_dataset(rows, **read).train == tuple(
        Example(text, ("yes", "no")[label], ("yes", "no"))
        for text, label in zip(TEXTS, ROWS["label"], strict=True)
    )


def test_answers_without_options_are_free_form():
    rows = [{"text": text, "answer": text.upper()} for text in TEXTS]
    task = Task.from_dataset(rows, input="text", output="answer")
    assert task.kind == "free-form" and task.train[0] == Example("a cat", "A CAT")


BAD = {
    "no such column": (dict(input="txt"), "input: expected one of .*nearest: text"),
    "no such answers": (dict(output="labels"), "output: expected one of .*label"),
    "no such options": (dict(options="choices"), "options: expected one of"),
    "a column that is none": (dict(input=3), "input: expected the name of a column"),
    "input of numbers": (dict(input="n"), r"dataset\[0\]: expected a text"),
    "index of nothing": (dict(output="n"), r"dataset\[0\]: output: .*name the options"),
    "index too large": (dict(output="n", options=["a"]), "an index of 1 options"),
    "options of a string": (dict(options="text"), "expected a list of strings"),
    "a function that fails": (
        dict(input=lambda row: row["none"]),
        r"dataset\[0\]: input: expected a value from the given function, found KeyErr",
    ),
    "unknown kind": (dict(kind="clasification"), "kind: expected one of"),
    "unknown role": (dict(role="dev"), "role: expected one of"),
    "name": (dict(name=3), "name: expected a task's name, found 3"),
    "no name": (dict(name=""), "name: expected a task's name, found ''"),
    "a blank name": (dict(name="  "), "name: expected a task's name"),
    "a name that leads out": (dict(name="a/../b"), "name: expected a task's name"),
    "a name of two lines": (dict(name="a\nb"), "name: expected a task's name"),
    "half a letter as name": (dict(name="\ud800"), "name: expected a task's name"),
    "half a letter": (dict(instruction="\ud800"), "instruction: expected a string of"),
    "seeds that are not read": (dict(seeds="zz"), "seeds: expected a list"),
    "a seed that is none": (dict(seeds=[-1]), "seeds: expected a whole number of at"),
    "free-form with options": (dict(kind="free-form"), "kind: expected a kind with"),
    "an unknown argument": (dict(zzz=1), "from_dataset: expected one of .*'zzz'"),
    "shots": (dict(shots=-1), "shots: expected a whole number"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_bad_columns_are_named(arrow, changes, message):
    arguments = dict(input="text", output="label") | changes
    with pytest.raises(DataError, match=message) as caught:
        Task.from_dataset(arrow, **arguments)
    assert len(str(caught.value)) < 500


def test_bad_data_sets_are_named(arrow):
    read = dict(input="text", output="label")
    with pytest.raises(DataError, match="dataset: expected a data set of rows"):
        Task.from_dataset("imdb", **read)
    with pytest.raises(DataError, match="dataset: expected examples, found no row"):
        Task.from_dataset(arrow.select([]), **read)
    with pytest.raises(DataError, match="expected a split 'train', 'test' or"):
        Task.from_dataset(DatasetDict(dev=arrow), **read)
    with pytest.raises(DataError, match="shots: expected at most 4, the rows"):
        Task.from_dataset(DatasetDict(train=arrow, test=arrow), **read)
    with pytest.raises(DataError, match="role: expected none for a dataset of splits"):
        Task.from_dataset(DatasetDict(train=arrow), **read, role="test")
    with pytest.raises(DataError, match="kind: expected 'free-form', as no example"):
        Task.from_dataset(arrow, input="text", output="text", kind="classification")
    unknown = Dataset.from_dict(ROWS | {"label": [-1, 0, 0, 0]}, FEATURES)
    with pytest.raises(DataError, match="an index of 2 options, found -1"):
        Task.from_dataset(unknown, **read)


def test_a_benchmark_as_data_sets_and_back(tmp_path):
    benchmark = load_benchmark(write_benchmark(tmp_path), "mini")
    splits = benchmark.to_datasets()
    assert {name: len(part) for name, part in splits.items()} == {
        "train": 80,
        "demonstrations": 80,
        "test": 6,
    }
    assert splits["demonstrations"].column_names[-1] == "seed"
    part = splits["train"].filter(lambda row: row["task"] == "b")
    read = dict(input="input", output="output", options="options")
    assert Task.from_dataset(part, **read).train == benchmark.train[1].train


def _failing():
    yield {"text": "a", "label": "p"}
    raise OSError("the network is gone " * 99)


ROW = {"text": "a", "label": "p"}
BAD_ROWS = {  # rows, options, message
    "a failure on the way": (
        _failing(),
        ["p", "q"],
        r"dataset\[1\]: .* OSError \('the",
    ),
    "half a letter": ([ROW | {"text": "a\ud83d"}], ["p", "q"], "half a surrogate pair"),
    "doubled labels": ([ROW], ["p", "p", "q"], "expected different strings in 'opt"),
    "a truth": (
        [ROW | {"label": True}],
        None,
        r"dataset\[0\]: expected a non-empty string in 'output', found True; pass a fu",
    ),
    "a part": ([ROW | {"label": 0.5}], ["p", "q"], "found 0.5; pass a function of the"),
    "no answer": (
        [ROW | {"label": None}],
        ["p", "q"],
        "string in 'output', found None$",
    ),
    "labels that blanks part": ([ROW], ["p", "p ", "q"], "expected different strings"),
}


@pytest.mark.parametrize(
    ("rows", "options", "message"), BAD_ROWS.values(), ids=BAD_ROWS
)
def test_bad_rows_are_named(rows, options, message):
    with pytest.raises(DataError, match=message) as found:
        Task.from_dataset(rows, input="text", output="label", options=options)
    assert len(str(found.value)) < 500


def test_a_split_with_labels_as_text_has_those_of_the_other(arrow):
    plain = Dataset.from_dict({"text": ["a cat"], "label": ["yes"]})
    splits = DatasetDict({"train": arrow, "test": plain})
    task = Task.from_dataset(splits, input="text", output="label", shots=2)
    assert task.test == (Example("a cat", "yes", ("yes", "no")),)
    assert task.kind == "classification"


def test_the_order_of_labels_does_not_make_them_others():
    rows = [ROW | {"o": ["p", "q"]}, ROW | {"o": ["q", "p"]}]
    task = Task.from_dataset(rows, input="text", output="label", options="o")
    assert task.kind == "classification"


def exported(**changes):
    about = dict(
        name="t", kind="classification", train=(Example("a", "b", ("b", "c")),)
    )
    task = Task(**about | changes)
    with pytest.warns(UserWarning, match="train: .* found t in both; leave them out"):
        benchmark = Benchmark((task,), (task,))
    return benchmark.to_datasets()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"demonstrations": {2**63: (Example("a", "b"),)}}, "of task 't': .*at most"),
        ({"demonstrations": {"100": (Example("a", "b"),)}}, "of task 't': .*'100'"),
        ({"train": (Example("a", "b", None),)}, "task 't', example 0: .*found None"),
        ({"train": (Example("a", "b", "bc"),)}, "task 't', example 0: .*found 'bc'"),
        ({"train": (Example("a", "b", ("b", 3)),)}, "example 0: .* found 3"),
        ({"train": (Example("a", "b"), Example(3, "b"))}, "example 1: .* found 3"),
        ({"train": (Example("a\ud800", "b"),)}, r"example 0: .*'a.ud800'"),
        ({"train": ("x",)}, "task 't': expected examples in a tuple, found 'x'"),
    ],
)  # fmt: skip
def test_examples_that_no_column_holds_are_named(changes, message):
    with pytest.raises(DataError, match=message):
        exported(**changes)


def test_the_largest_seed_that_a_column_holds():
    shots = {2**63 - 1: (Example("a", "b"),)}
    assert exported(demonstrations=shots)["demonstrations"]["seed"] == [2**63 - 1]


def test_splits_for_a_test_under_another_name_are_not_passed_over(arrow):
    read = dict(input="text", output="label", shots=2)
    splits = DatasetDict(train=arrow, validation_matched=arrow, test_matched=arrow)
    with pytest.raises(DataError, match="found train, validation_matched.*on 'test'"):
        Task.from_dataset(splits, **read)
    assert Task.from_dataset(splits | {"validation": arrow}, **read).test
    only = DatasetDict(train=arrow, unsupervised=arrow)
    assert len(Task.from_dataset(only, **read).train) == 4


@pytest.mark.parametrize("labels", ["train", "test"])
def test_a_split_of_text_has_the_labels_of_the_other(arrow, labels):
    words = [
        {"text": row["text"], "label": LABELS.int2str(row["label"])} for row in arrow
    ]
    other = {"train": "test", "test": "train"}[labels]
    splits = {labels: arrow, other: words}
    task = Task.from_dataset(splits, input="text", output="label", shots=2)
    assert task.train == task.test and task.kind == "classification"
    assert task.train[1] == Example("a dog", "no", ("yes", "no"))


def test_two_tasks_of_one_name_are_not_merged():
    twice = [Task("a", "classification"), Task("a", "classification")]
    for train, test in ((twice, []), ([], twice)):
        with pytest.raises(DataError, match="each name once, found a more than once"):
            Benchmark(train=train, test=test).to_datasets()
