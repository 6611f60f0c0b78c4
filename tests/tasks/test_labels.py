"""One form of a label, to the kind of a task, to what is refused and to the metric."""

import pytest
from helpers import record, write_benchmark, write_lines

from maml_en_llm import Benchmark, DataError, Example, Task, evaluate_by, load_benchmark
from maml_en_llm.evaluation import majority, score_predictions
from maml_en_llm.tasks import read_examples
from maml_en_llm.tasks.labels import kind_of, label_of

COMPOSED, APART = "caf\xe9", "cafe\u0301"
SAME = {  # the same label, written otherwise
    "a blank at an end": ("yes", "yes "),
    "an accent of its own": (COMPOSED, APART),
    "a sign without a width": ("yes", "ye\u200bs"),
    "a mark of byte order": ("yes", "\ufeffyes"),
    "a soft hyphen": ("yes", "y\u00ades"),
    "a blank behind a sign without a width": ("yes", "yes \u200b"),
}
ENGLAND, SCOTLAND = (
    "".join(map(chr, [0x1F3F4, *(0xE0000 + ord(x) for x in name), 0xE007F]))
    for name in ("gbeng", "gbsct")
)


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_texts_that_look_the_same_are_one_label(tmp_path, one, other):
    assert label_of(one) == label_of(other)
    rows = [Example("t", one, (one, "no")), Example("t", other, ("no", other))]
    assert kind_of(rows) == "classification"
    path = write_lines(tmp_path / "t.jsonl", [record("t", "x", one, [one, other])] * 3)
    with pytest.raises(DataError, match=":1: expected different strings in 'options'"):
        read_examples(path)


def test_half_of_a_files_lines_share_no_list_of_labels(tmp_path):
    own = record("t", "x", "a", ["a", "a", "b"])
    other = record("t", "y", "c", ["c", "d"])
    path = write_lines(tmp_path / "t.jsonl", [own, other])
    assert [example.options for example in read_examples(path)] == [
        ("a", "a", "b"),
        ("c", "d"),
    ]
    write_lines(path, [own, other, own])
    with pytest.raises(DataError, match=":1: expected different strings in 'options'"):
        read_examples(path)


@pytest.mark.parametrize(
    ("one", "other"),
    [("yes", "Yes"), ("a b", "ab"), ("e", "\xe9"), (ENGLAND, SCOTLAND)],
)
def test_texts_that_differ_are_two_labels(one, other):
    assert label_of(one) != label_of(other)


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_one_record_does_not_change_the_metric(tmp_path, one, other):
    def tables(*rows):
        folder = write_benchmark(tmp_path)
        write_lines(folder / "c" / "c_16_100_test.jsonl", list(rows))
        return load_benchmark(folder, "mini").test[0]

    rows = [record("c", f"t{i}", one, [one, "no"]) for i in range(19)]
    clean = tables(*rows, record("c", "t", "no", [one, "no"]))
    odd = tables(*rows, record("c", "t", "no", [other, "no"]))
    assert clean.kind == odd.kind == "classification"
    assert odd.test[19].options == (other, "no")  # a prompt has what the data has
    for task in (clean, odd):
        score = score_predictions(task.kind, task.test, [[0.0, 1.0]] * 20)
        assert score == pytest.approx(100 * (38 / 39 + 0) / 2)


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_an_answer_is_right_in_either_spelling(one, other):
    queries = (Example("t", one, (other, "no")), Example("u", "no", (one, "no")))
    assert score_predictions("classification", queries, [[0, 1], [1, 0]]) == 100
    shown = Example("s", other, (other, "no"))
    task = Task(
        "t", "classification", demonstrations={0: (shown,) * 16}, test=queries[:1]
    )
    found = majority(Benchmark((), (task,)), seeds=(0,))
    assert found["mean"] == 100


@pytest.mark.filterwarnings("ignore:task 'x' is left out")
@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_options_made_by_hand_are_two_labels(one, other):
    queries = tuple(Example(f"t{i}", one, (one, other)) for i in range(8))
    task = Task("x", "classification", demonstrations={0: queries}, test=queries)
    with pytest.raises(DataError, match="expected two options or more to choose from"):
        evaluate_by(lambda *_: [[1.0, 0.0]] * 8, Benchmark((), (task,)), seeds=[0])
