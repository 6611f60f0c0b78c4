"""The fields of tasks and benchmarks, looked at when one is made."""

from dataclasses import replace
from typing import Any

import pytest
from datasets import Dataset
from pandas import DataFrame

from maml_en_llm import Benchmark, DataError, Example, Task
from maml_en_llm.tasks import limit

ONE = Example("a", "yes", ("yes", "no"))
A = Task("a", "classification", test=(ONE,))
Cases = dict[str, tuple[dict[str, Any], str]]
TABLE = r"expected a list of Example as .*, found a table \({}\); Task.from_dataset"
TASKS: Cases = {  # fields, message
    "no name": (dict(name=None), "name: expected that of a task, found None"),
    "instruction": (
        dict(instruction=5),
        "task 'a': expected a text as instruction, or",
    ),
    "domain": (dict(domain=5), "task 'a': expected a text as domain, or None, found 5"),
    "train": (dict(train=None), "expected a list of Example as train, found None"),
    "text": (dict(train="abc"), "expected a list of Example as train, found 'abc'"),
    "one": (dict(test=ONE), "expected a list of Example as test, found Example"),
    "no order": (dict(test={ONE}), "expected a list of Example as test, found {Exam"),
    "shots none": (dict(demonstrations=None), "examples by seed of task 'a', found No"),
    "shots listed": (dict(demonstrations=[ONE]), "expected examples by seed of task"),
    "of a seed": (dict(demonstrations={100: None}), "as demonstrations.100., found No"),
    "kind": (
        dict(kind="classify"),
        "task 'a': kind: expected one of classification, .* 'classify'; nearest: class",
    ),
    "no kind": (dict(kind=None), "task 'a': kind: expected one of .*, found None"),
    "a table": (dict(train=DataFrame([{"input": "a"}])), TABLE.format("DataFrame")),
    "a data set": (dict(test=Dataset.from_list([{"a": 1}])), TABLE.format("Dataset")),
    "a table as shots": (
        dict(demonstrations={0: DataFrame([{"input": "a"}])}),
        TABLE.format("DataFrame"),
    ),
    "one of a seed": (dict(demonstrations={100: ONE}), "as demonstrations.100., found"),
}
BENCHMARKS: Cases = {
    "train none": (dict(train=None), "train: expected a list of Task, found None"),
    "test one": (dict(test=A), "test: expected a list of Task, found Task"),
    "numbers": (dict(train=(A, 5)), r"train\[1\]: expected a Task, found 5"),
    "text": (
        dict(unseen="abc-1"),
        "unseen: expected names of tasks in .*found 'abc-1'",
    ),
    "unseen none": (
        dict(unseen=None),
        "unseen: expected names of tasks in .*found None",
    ),
    "no names": (
        dict(unseen=[A]),
        "unseen: expected names of tasks in a list or a set",
    ),
    "unseen misspelt": (
        dict(test=(A,), unseen={"aa"}),
        "unseen: expected names of targets, found 'aa'; nearest: a$",
    ),
    "unseen without targets": (
        dict(unseen={"a"}),
        "unseen: expected names of targets, found 'a'$",
    ),
    "missing": (dict(missing="a"), "missing: expected names of tasks in a list or a s"),
}


@pytest.mark.parametrize(("fields", "message"), TASKS.values(), ids=TASKS)
def test_a_field_of_a_task_that_is_none(fields, message):
    with pytest.raises(DataError, match=message) as caught:
        Task(**{"name": "a", "kind": "classification", **fields})
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(("fields", "message"), BENCHMARKS.values(), ids=BENCHMARKS)
def test_a_field_of_a_benchmark_that_is_none(fields, message):
    with pytest.raises(DataError, match=message) as caught:
        Benchmark(**{"train": (), "test": (), **fields})
    assert len(str(caught.value)) < 200


def test_lists_and_generators_are_kept_in_tuples():
    listed: Any = Example("a", "yes", ["yes", "no"])
    assert listed == ONE and hash(listed) == hash(ONE)
    shots: Any = {100: iter([ONE])}
    given: Any = dict(train=[listed], test=iter([ONE]), demonstrations=shots)
    task = Task("a", "classification", **given)
    plain: Any = dict(train=(ONE,), test=(ONE,), demonstrations={100: (ONE,)})
    assert task == Task("a", "classification", **plain)
    tasks: Any = iter([task])
    names: Any = ["a"]
    bench = Benchmark((), tasks, unseen=names, missing=names)
    assert bench.test == (task,)
    assert (bench.unseen, bench.missing) == (frozenset("a"), ("a",))


def test_a_task_that_is_trained_on_and_a_target_is_said_once(recwarn):
    with pytest.warns(UserWarning, match="train: .*no targets, found a in both; ") as w:
        Benchmark((A,), (A,))
    assert len(w) == 1 and w[0].filename == __file__
    Benchmark((A,), (replace(A, name="b"),))
    Benchmark((A,), (A,), source="a source")  # as load_benchmark(faithful=True)
    assert not recwarn


def test_a_part_of_a_benchmark_that_was_read_may_name_other_targets():
    whole = Benchmark((), (A,), source="a source", unseen=frozenset("a"))
    assert replace(whole, test=()).unseen == frozenset("a")


def test_a_benchmark_in_words():
    assert str(Benchmark((A,), ())) == "1 meta-training tasks, 0 target tasks"
    assert str(Benchmark((), (A,), "mini")).startswith("mini: 0 meta-training tasks")


def test_a_share_of_tasks_from_a_generator():
    tasks = [Task(f"t{i}", "free-form") for i in range(4)]
    half = limit(tasks, task_share=0.5)
    assert limit((task for task in tasks), task_share=0.5) == half
    with pytest.raises(DataError, match="tasks: expected a list of Task, found"):
        limit(3)
    with pytest.raises(DataError, match=r"tasks\[0\]: expected a Task, found 1"):
        limit([1])
