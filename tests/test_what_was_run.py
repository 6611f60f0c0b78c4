"""The table of what was run, on the page on comparison, says what the records hold."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from maml_en_llm.runs import CONTROL, RowKind, published_rows

PAGE = Path(__file__).parents[1] / "book" / "comparison.md"
SECOND_BASE = "./_build/mini-base-1"
FOUR = ("hr_to_lr", "class_to_class", "qa_to_qa", "non_qa_to_qa")
TWO, ONE = FOUR[:2], FOUR[:1]
RELATIONS = ("non_nli_to_nli", "non_paraphrase_to_paraphrase")
SETTINGS = (*FOUR, "non_class_to_class", *RELATIONS)
THREE = ("MetaICL", "MAML-en-LLM", CONTROL)
ALL = (*THREE, "FOMAML")
PROMPTS, GRADIENTS = dict(budget="prompts"), dict(budget="gradients")
ADAPTED, LONG = dict(adapted=4), dict(train=dict(inner_steps=4))
N_20 = dict(train=dict(tasks_per_step=20))
MOMENTS = (
    {},
    *(dict(moments=name) for name in ("fresh", "second", "shared-frozen")),
    dict(moments="shared", clip_support=False),
    dict(moments="shared", join="mean-gradient"),
)
INNER = [
    dict(moments="fresh", inner_optimizer=name) for name in ("sgd", "momentum", "adamw")
]


def some(methods, settings=ONE, seeds=3, mode="direct", lr=None, inner_lr=None, **kind):
    """What a line of the table promises: these rows in these cells, with this many
    training seeds each; ``lr``, ``inner_lr``: at these rates."""
    return dict(
        methods=[methods] if isinstance(methods, str) else methods,
        cells=[(setting, mode) for setting in settings],
        seeds=seeds,
        rates=(lr, inner_lr),
        kind=kind,
    )


# records, outer steps, what the page says → what has to be there
WAS_RUN: Mapping[tuple[str, str, str], list[dict]] = {
    ("cells", "160", "the base model and MetaICL"): [
        some("MetaICL", SETTINGS),
        some("MetaICL", (*TWO, "non_class_to_class", *RELATIONS), mode="channel"),
    ],
    ("E1", "160", "the three rows and FOMAML in the four cells (5)"): [
        some(ALL, FOUR, 5)
    ],
    ("E1", "160", "the three rows in non-NLI→NLI"): [some(THREE, RELATIONS)],
    ("E1", "160", "channel mode: the three rows and FOMAML in four settings (3)"): [
        some(ALL, (*TWO, *RELATIONS), mode="channel")
    ],
    ("E1", "160", "Reptile, MetaICT and multi-task training in HR→LR (5)"): [
        some(("Reptile", "MetaICT", "multi-task zero-shot"), ONE, 5),
        some(("Reptile", "MetaICT", "multi-task zero-shot"), FOUR[1:2], 3),
    ],
    ("E1", "160", "MetaICL at equal prompts in HR→LR (5) and Class→Class (3)"): [
        some("MetaICL", ONE, 5, **PROMPTS),
        some("MetaICL", FOUR[1:2], **PROMPTS),
        some("MetaICL", TWO, **GRADIENTS),
    ],
    ("E1-more-seeds", "160", "the three rows, FOMAML and MetaICL at equal"): [
        some(ALL, FOUR, 5),
        some("MetaICL", FOUR, 5, **PROMPTS),
    ],
    ("E1-longer", "320", "the three rows, FOMAML and MetaICL at equal prompts"): [
        some(ALL, FOUR, steps=320),
        some("MetaICL", FOUR, steps=320, **PROMPTS),
    ],
    ("E1-longer", "320", "MetaICL in non-Class→Class (3)"): [
        some("MetaICL", ("non_class_to_class",), steps=320)
    ],
    ("E1-longer", "640", "HR→LR: the three rows, MetaICL at equal prompts"): [
        some("MetaICL", lr=0.002, steps=640),
        some(("MAML-en-LLM", CONTROL), lr=0.004, steps=640),
        some("MetaICL", steps=640, **PROMPTS),
        some("MetaICL", lr=0.001, steps=640),
        some(CONTROL, lr=0.002, steps=640),
        some("FOMAML", ONE, 2, steps=640),
    ],
    ("E1-longer", "1,280", "HR→LR: the three rows, MetaICL at equal prompts"): [
        some("MetaICL", lr=0.002, steps=1280),
        some(("MAML-en-LLM", CONTROL), steps=1280),
        some("MetaICL", steps=1280, **PROMPTS),
        some("MetaICL", lr=0.001, steps=1280),
    ],
    ("E2", "160", "HR→LR: the three rows after $j$ = 0 and 4 steps"): [
        some(THREE, ONE, 5, **ADAPTED),
        some(THREE, ONE, 5, adapted=0),
        some("MetaICL", ONE, 5, **ADAPTED, **PROMPTS),
    ],
    ("E2-steps", "160", "HR→LR: the three rows, FOMAML and the base model"): [
        *(some(ALL, adapted=j) for j in (0, 1, 2, 4, 8)),
        *(some(ALL, adapted=j, k=0) for j in (0, 1, 2, 4, 8, 16)),
    ],
    ("E3", "80", "HR→LR: the three rows and FOMAML with 5, 10, 25, 50 and 100%"): [
        some(ALL, train=share)
        for share in (
            *(dict(task_share=x) for x in (0.05, 0.1, 0.25, 0.5, 1.0)),
            *(dict(record_share=x) for x in (0.25, 0.5)),
        )
    ],
    ("E4", "80", "HR→LR: MAML-en-LLM by its moments and by its inner optimizer"): [
        *(some("MAML-en-LLM", lr=0.004, train=change) for change in MOMENTS),
        *(some("MAML-en-LLM", lr=0.004, train=change) for change in INNER),
        some("MetaICL", lr=0.004),
    ],
    ("E4", "80", "HR→LR: FOMAML and the control by their moments (3)"): [
        *(some("FOMAML", lr=0.002, train=change) for change in MOMENTS),
        *(some(CONTROL, lr=0.004, train=change) for change in MOMENTS),
    ],
    ("E4", "80", "HR→LR: each of the three at four outer rates"): [
        some(name, lr=rate * times, train=change)
        for change in ({}, dict(moments="fresh"))
        for name, rate in (("MAML-en-LLM", 0.004), ("FOMAML", 0.002), (CONTROL, 0.004))
        for times in (0.5, 1, 2, 4)
    ],
    ("E4", "80", "HR→LR: MAML-en-LLM at 0, a quarter and four times"): [
        some("MAML-en-LLM", lr=0.004, inner_lr=0.0004 * times, train=change)
        for change in ({}, dict(moments="fresh"))
        for times in (0, 0.25, 4)
    ],
    ("E4", "80", "HR→LR: MAML-en-LLM with two other safety terms"): [
        some("MAML-en-LLM", train=dict(eps_root=r)) for r in (1e-10, 1e-6)
    ],
    ("E5", "80", "HR→LR: $n$ = 1, 2, 4, 8 and 16"): [
        some(ALL, train=dict(tasks_per_step=n)) for n in (1, 2, 4, 8, 16)
    ],
    ("E5", "80", "the same four by the kind of tasks"): [
        some(ALL, FOUR[1:2], train=dict(task_share=0.644444444)),
        some(ALL, ("non_class_to_class",), train=dict(task_share=1.0)),
    ],
    ("E5", "80", "HR→LR: $k$ = 1, 2 and 4"): [
        *(some(ALL[1:], train=dict(inner_steps=k)) for k in (1, 2, 4)),
        some(ALL[1:], train=dict(inner_steps=1), **ADAPTED),
        some(ALL[1:], ONE, 5, **LONG, **ADAPTED),
    ],
    ("E5", "80", "HR→LR: 1 and 8 prompts per batch"): [
        some(THREE, train=dict(prompts=prompts)) for prompts in (1, 8)
    ],
    ("E5", "80", "HR→LR: 0 to 16 demonstrations at test"): [
        some(THREE, k=k) for k in (0, 1, 2, 4, 8, 16)
    ],
    ("E5-labels", "80", "HR→LR: right and random labels"): [
        some(THREE, k=16, random_labels=drawn) for drawn in (False, True)
    ],
    ("E6", "160", "HR→LR: MetaICL at 1.4 times and at twice its rate"): [
        some("MetaICL", ONE, 5, lr=lr) for lr in (0.0028, 0.004)
    ],
    ("E6", "160", "Class→Class: MetaICL and FOMAML at twice their rates"): [
        some(("MetaICL", "FOMAML"), FOUR[1:2], lr=0.004)
    ],
    ("E6", "160", "non-QA→QA: the control at half its rate"): [
        some(CONTROL, FOUR[3:], 5, lr=0.002)
    ],
    ("draws", "160", "HR→LR, task and example drawn apart"): [
        some(THREE[:2], train=dict(independent_draws=True))
    ],
    ("E5-longer", "160", "HR→LR, $k = 4$, adapted"): [
        some(("MAML-en-LLM", CONTROL), ONE, 5, **LONG, **ADAPTED),
        some("FOMAML", ONE, 5, lr=0.004, **LONG, **ADAPTED),
        some("MetaICL", ONE, 5, **N_20, **ADAPTED),
        some(("MAML-en-LLM", CONTROL), ONE, 5, **LONG),
        some("MetaICL", ONE, 5),
    ],
    ("E1-second-base", "160", "another base model: the three rows in the four"): [
        some(THREE, FOUR[1:]),
        some(THREE, ONE, 5),
        some("MetaICL", ONE, 5, **PROMPTS),
    ],
    ("E2-second-base", "160", "another base model, HR→LR, after adaptation"): [
        some(THREE, **ADAPTED),
        some("MetaICL", **ADAPTED, **PROMPTS),
    ],
    ("E5-second-base", "160", "another base model, HR→LR, $k = 4$, adapted"): [
        some(("MAML-en-LLM", CONTROL), **LONG, **ADAPTED),
        some("MetaICL", **N_20, **ADAPTED),
    ],
}


@cache
def records(name: str) -> list[dict]:
    more = dict(model=SECOND_BASE) if name.endswith("second-base") else {}
    return published_rows(name, **more)


def told() -> Iterator[tuple[str, str, str]]:
    """The lines of the table; an empty cell stands for the one above."""
    text = PAGE.read_text(encoding="utf-8").split("| records | outer steps |")[1]
    name = steps = ""
    for line in text.split("\n\n")[0].splitlines()[2:]:
        first, second, what = (cell.strip(" `") for cell in line.split("|")[1:-1])
        name, steps = first or name, second or steps
        yield name, steps, what


@pytest.mark.parametrize("line", list(told()), ids=" ".join)
def test_a_line_says_what_the_records_hold(line):
    name, steps, what = line
    (promised,) = [
        rows
        for (*where, words), rows in WAS_RUN.items()
        if where == [name, steps] and what.startswith(words)
    ]
    counts = set(re.findall(r"\((?:\d; in HR→LR )?(\d)\)", what))
    assert counts <= {str(each["seeds"]) for each in promised}
    for each in promised:
        for method in each["methods"]:
            kind = RowKind(method=method, **dict(steps=_number(steps)) | each["kind"])
            for cell in each["cells"]:
                found = {
                    row["seed"]
                    for row in filter(kind.holds, records(name))
                    if (row["setting"], row["mode"]) == cell and _at(each["rates"], row)
                }
                assert len(found) == each["seeds"], (method, cell, sorted(found))


def _at(rates, row) -> bool:
    own = row["lr"], row["inner_lr"]
    return all(rate in (None, x) for rate, x in zip(rates, own, strict=True))


def _number(text: str) -> int:
    return int(text.replace(",", ""))


# --- what changed since: questions, and the dated entries that they name ---

SINCE = PAGE.read_text(encoding="utf-8").split("## Changed since")[1]
FINDER, FOLDED = SINCE.split("```{admonition} The entries")
ENTRIES = re.split(r"(?m)^(\d+)\. ", FOLDED)
ENTRY = dict(zip(map(int, ENTRIES[1::2]), ENTRIES[2::2], strict=True))
NUMBER = r"[+−]?\d+\.\d+(?: ± \d+\.\d+)?"


def named(text: str) -> set[int]:
    """The entries that a text names: "Entry 2", "Entries 24 and 26", "(entry 9)"."""
    lists = re.findall(r"[Ee]ntr(?:y|ies) (\d+(?:(?:, | and )\d+)*)", text)
    return {int(number) for some in lists for number in re.findall(r"\d+", some)}


def test_entries_are_numbered_and_each_is_found_by_a_question():
    assert list(ENTRY) == list(range(1, len(ENTRY) + 1))
    assert named(FINDER) == set(ENTRY)


QUESTIONS = re.findall(r"(?m)^(.+\?)\n: (.+)\\\n  (.+)$", FINDER)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda found: found[0][:60])
def test_an_answer_has_no_number_that_its_entries_lack(question):
    _, answer, where = question
    assert named(where)
    told = " ".join(ENTRY[number] for number in named(where))
    for number in re.findall(NUMBER, answer):
        assert number in told


def test_all_numbers_of_the_finder_stand_in_answers():
    answers = " ".join(answer for _, answer, _ in QUESTIONS)
    assert re.findall(NUMBER, FINDER) == re.findall(NUMBER, answers)


def test_which_cells_have_five_seeds_was_settled_after_three():
    """In the order of the records: HR→LR first; then seeds 1 to 3, then 4 and 5."""
    place = {
        (row["setting"], row["method"], row["budget_kind"], row["seed"]): line
        for line, row in enumerate(records("E1"))
        if row.get("budget_kind") and row["mode"] == "direct"
    }

    def lines(setting: str, seeds, budget: str = "steps", methods=THREE) -> list[int]:
        return [place[setting, m, budget, seed] for m in methods for seed in seeds]

    first = lines("hr_to_lr", range(1, 6))
    for setting in FOUR[1:]:
        three, more = lines(setting, (1, 2, 3)), lines(setting, (4, 5))
        assert max(first) < min(three) and max(three) < min(more)
        if setting == "class_to_class":
            for budget in ("prompts", "gradients"):
                between = lines(setting, (1, 2, 3), budget, ["MetaICL"])
                assert max(three) < min(between) and max(between) < min(more)
