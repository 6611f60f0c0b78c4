"""Rows of one table, or of two that are compared, were asked on the same things."""

from copy import deepcopy

import pytest
from helpers import run_record

from maml_en_llm.runs import (
    RowKind,
    compared,
    judge_cell,
    mean_interval,
    paired_difference,
    scores_of,
    table_of,
)
from maml_en_llm.runs.comparable import check_comparable
from maml_en_llm.runs.pairs import families_of

CELLS = [("hr_to_lr", "direct")]
ALIKE = dict(weights="w", data="d", inputs="i")
SEEDS = (1, 2, 3)


def rows(method: str, score: float, **more) -> list[dict]:
    return [
        run_record(method, score, seed=seed, steps=80, **more) | ALIKE for seed in SEEDS
    ]


def configured(**changes):
    return lambda row: row["run"]["config"].update(changes)


CHANGES = {  # what is other in a row, and how it is told
    "tokenizer": (configured(tokenizer="gpt2"), "tokenizer None and 'gpt2'"),
    "length": (configured(max_length=99), "max_length None and 99"),
    "separator": (configured(separator="space"), "separator None and 'space'"),
    "token at the beginning": (configured(bos=True), "bos None and True"),
    "seeds": (lambda row: row["run"].update(seeds=[100]), "seeds .* and .100."),
    "records": (lambda row: row["run"].update(max_records=4), "max_records None and 4"),
    "weights": (lambda row: row.update(weights="x"), "weights 'w' and 'x'"),
    "examples": (lambda row: row.update(data="x"), "data of hr_to_lr 'd' and 'x'"),
    "inputs": (lambda row: row.update(inputs="x"), "inputs of hr_to_lr 'i' and 'x'"),
}


@pytest.mark.parametrize(("change", "told"), CHANGES.values(), ids=CHANGES)
def test_no_table_mixes_what_was_asked(change, told):
    ours, rival = rows("MAML-en-LLM", 60), rows("MetaICL", 50)
    assert compared("", ours, rival, CELLS)
    assert paired_difference(iter(ours), iter(rival)).mean == 10
    theirs = deepcopy(rival)
    change(theirs[2])
    mixed = "expected rows of one base model, benchmark and way of asking, found "
    for table in (
        lambda: table_of(theirs, CELLS),
        lambda: scores_of(theirs),
        lambda: mean_interval(iter(theirs)),
        lambda: compared("", ours, theirs, CELLS),
        lambda: check_comparable("records", ours, theirs),
    ):
        with pytest.raises(ValueError, match=f"records: {mixed}{told}"):
            table()
    for row in theirs[:2]:
        change(row)
    assert table_of(theirs, CELLS) and scores_of(theirs)  # alike, but not as ours are
    with pytest.raises(ValueError, match=f"records: {mixed}{told}"):
        compared("", ours, theirs, CELLS)
    with pytest.raises(ValueError, match=f"a and b: {mixed}{told}"):
        paired_difference(iter(ours), iter(theirs))
    with pytest.raises(ValueError, match=f"cell hr_to_lr, direct: {mixed}{told}"):
        judge_cell([*ours, *theirs], *CELLS[0])


@pytest.mark.parametrize("change", ["model", "benchmark"])
def test_older_rows_are_compared_by_name(change):
    ours, theirs = rows("MAML-en-LLM", 60), rows("MetaICL", 50)
    configured(**{change: "/content/other"})(theirs[2])
    assert compared("", ours, theirs, CELLS)  # the same content under another name
    for row in (*ours, *theirs):
        for name in ALIKE:
            del row[name]
    with pytest.raises(ValueError, match=f"found {change} '.*' and '/content/other'"):
        compared("", ours, theirs, CELLS)


def test_rows_that_are_in_no_cell_are_not_looked_at():
    ours, rival = rows("MAML-en-LLM", 60), rows("MetaICL", 50)
    other = rows("MetaICL", 50, setting="qa_to_qa", max_records=4)
    assert compared("", ours, [*rival, *other], CELLS)


def test_another_setting_has_other_examples():
    cells = [*CELLS, ("qa_to_qa", "direct")]
    there = [r | dict(data="e", inputs="j") for r in rows("A", 50, setting="qa_to_qa")]
    assert table_of([*rows("A", 40), *there], cells)
    with pytest.raises(ValueError, match="'hr_to_lr', .*and .*'qa_to_qa'"):
        scores_of([rows("A", 40)[0], there[1]])


def test_what_a_row_does_not_say_is_not_asked_of_it():
    older = [
        {name: part for name, part in row.items() if name not in ALIKE}
        for row in rows("MetaICL", 50)
    ]
    assert compared("", rows("MAML-en-LLM", 60), older, CELLS)


def test_a_seed_may_draw_the_weights_of_a_base_model():
    drawn = deepcopy(rows("MetaICL", 50))
    for n, row in enumerate(drawn):
        row["run"]["config"]["model"] = "small.json"
        row.update(weights=f"w{n}", inputs=f"i{n}")
    ours = [row | dict(method="MAML-en-LLM") for row in drawn]
    assert compared("", ours, drawn, CELLS)
    drawn[1] = drawn[1] | dict(weights="x")
    with pytest.raises(ValueError, match="weights, seed 2 'w1' and 'x'"):
        compared("", ours, drawn, CELLS)


def test_a_row_with_random_labels_is_of_another_kind():
    (row, *_) = rows("MetaICL", 50)
    for asked in ({}, dict(k=16)):
        plain, drawn = (
            RowKind(method="MetaICL", budget="gradients", random_labels=drawn, **asked)
            for drawn in (False, True)
        )
        row["run"]["evaluate"] = dict(asked)
        assert plain.holds(row) and not drawn.holds(row)
        row["run"]["evaluate"] = dict(asked, random_labels=True)
        assert drawn.holds(row) and not plain.holds(row)


def test_families_of_names_with_blanks():
    names = ("news topic", "web topic", "nli-space")
    families = ["news topic", "web topic", "nli"]
    score = {name: 50.0 for name in names}
    table = table_of(rows("MetaICL", score), CELLS)
    assert list(families_of(table).values()) == families
    plain = {1: {str(key): x for key, x in table[1].items()}}
    assert list(families_of(plain).values()) == families
    assert list(table[1]) == [f"hr_to_lr direct {name}" for name in names]
