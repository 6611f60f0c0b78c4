"""The alive rule: each condition on both sides of its bar, and what it refuses."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import run_record

from maml_en_llm.runs import alive as room
from maml_en_llm.runs.alive import cell_of, failing, judge, judge_cell, solved

GOOD = dict(guess=40, majority=35, zero=42, base=55, trained=65, alone=45, rule=85)
BEST = "MetaICL, equal gradients"


def rows(seeds=(1, 2, 3), twin: bool = True, more: dict | None = None, **changes):
    """All rows of a cell by `GOOD` with ``changes``; ``more``: of every record."""
    score, more = {**GOOD, **changes}, more or {}
    found = [
        run_record("random guess", score["guess"], **more),
        run_record("majority", score["majority"], **more),
        run_record("oracle", score["rule"], **more),
        run_record("zero-shot", score["zero"], **more),
        run_record("in-context", score["base"], **more),
    ]
    for seed in seeds:
        same = dict(seed=seed, steps=320) | more
        found.append(run_record("MetaICL", score["trained"], **same))
        if twin:
            alone = run_record("MetaICL", score["alone"], evaluate={"k": 0}, **same)
            found.append(alone)
    return found


def verdict(**changes):
    (cell,) = judge(rows(**changes))
    return cell


def test_a_cell_that_is_alive():
    cell = verdict()
    assert (cell.verdict, cell.reasons, cell.missing) == ("alive", (), ())
    assert (cell.best, cell.best_trained, cell.n_targets) == (BEST, BEST, 6)
    named = ("guess", "majority", "zero_shot", "in_context", "trained", "without")
    assert [cell.figures[name] for name in named] == [40, 35, 42, 55, 65, 45]
    assert cell.figures["rule"] == 85


# condition: scores at the bar, scores just on the other side, the reason
BARS = {
    "1 rule over guess": (
        dict(guess=40, rule=60, base=50, trained=56),
        dict(guess=40, rule=59.99, base=50, trained=56),
        "demonstrations tell 19.99 points over guessing, < 20",
    ),
    "2 over guess": (
        dict(base=40, trained=50),
        dict(base=40, trained=49.99, alone=44.9),
        "+9.99 points from the better of guessing and majority, < 10",
    ),
    "2 over majority": (
        dict(majority=55, trained=65),
        dict(majority=55.01, trained=65),
        "+9.99 points from the better of guessing and majority, < 10",
    ),
    "2 by the base": (
        dict(base=60, trained=50),
        dict(base=60, trained=50, majority=50.01),
        "+9.99 points from the better of guessing and majority, < 10",
    ),
    "3 by the base": (
        dict(zero=50, alone=65),
        dict(zero=50.01, alone=65),
        "matter by 4.99 points to the base and 0.00 to the best trained model, < 5",
    ),
    "3 by a trained model": (
        dict(zero=55, alone=60),
        dict(zero=55, alone=60.01),
        "matter by 0.00 points to the base and 4.99 to the best trained model, < 5",
    ),
    "4 ceiling": (
        dict(trained=92, rule=99),
        dict(trained=92.01, rule=99),
        "the best model has 92.01, > 92",
    ),
    "4 head-room": (
        dict(trained=82),
        dict(trained=82.01),
        "the best model is 2.99 points below the rule, < 3",
    ),
    "5 above": (
        dict(base=62, trained=65),
        dict(base=62.01, trained=65),
        "the best trained model is +2.99 points from the base in context",
    ),
    "5 below": (
        dict(base=60, trained=57),
        dict(base=60, trained=57.01),
        "the best trained model is -2.99 points from the base in context",
    ),
}


@pytest.mark.parametrize(("holds", "fails", "reason"), BARS.values(), ids=BARS)
def test_both_sides_of_a_bar(holds, fails, reason):
    assert verdict(**holds).reasons == ()
    cell = verdict(**fails)
    assert len(cell.reasons) == 1 and reason in cell.reasons[0]
    assert not cell.alive and cell.final and cell.verdict == "grey"


def test_sums_of_decimal_fractions_reach_a_bar_that_they_equal():
    assert verdict(
        guess=30.3, majority=0, rule=50.3, base=35.3, trained=40.3, zero=0
    ).alive
    assert 50.3 - 30.3 < 20  # what would decide without rounding


def test_every_reason_at_once():
    cell = verdict(guess=90, rule=91, base=93, zero=93, trained=93, alone=93)
    assert len(cell.reasons) == 6  # condition 4 has two


def test_the_best_trained_model_has_seeds_enough():
    lucky = run_record("Reptile", 84, steps=320)
    (cell,) = judge([*rows(), lucky])
    assert cell.best_trained == BEST and cell.final
    more = [run_record("Reptile", 70, seed=s, steps=320) for s in (1, 2, 3)]
    (cell,) = judge([*rows(), *more])
    assert cell.best_trained == "Reptile, equal gradients"
    assert cell.figures["trained"] == 70
    assert (cell.figures["compared"], cell.figures["without"]) == (65, 45)


def test_a_mean_over_seeds_decides():
    found = [r for r in rows(base=60, seeds=(1,)) if "budget" not in r]
    for seed, score in ((1, 60), (2, 63), (3, 66)):
        found.append(run_record("MetaICL", score, seed=seed, steps=320))
    assert judge(found)[0].alive and judge(found)[0].figures["trained"] == 63


def test_models_differ_by_training_not_by_device_or_evaluation():
    found = rows()
    found[5]["run"]["config"]["device"] = "cuda"
    found += [
        run_record("MetaICL", 84, seed=s, steps=320, evaluate={"adapt": {"steps": 4}})
        for s in (1, 2, 3)
    ]
    assert judge(found)[0].figures["trained"] == 65
    found += [
        run_record("MetaICL", 70, seed=s, steps=640, train={"steps": 640})
        for s in (1, 2, 3)
    ]
    assert judge(found)[0].best_trained == f"{BEST}, steps 640"


LESS = {
    "training seeds": (dict(seeds=(1, 2)), f"{BEST}: 2 of 3 training seeds"),
    "demonstration seeds": (
        dict(more={"seeds": [100, 13]}),
        "majority: 2 of 5 demonstration seeds",
    ),
    "test records": (
        dict(more={"max_records": 32}),
        "random guess: only 32 test examples per target",
    ),
}


@pytest.mark.parametrize(("changes", "what"), LESS.values(), ids=LESS)
def test_less_than_the_rule_asks_for_is_preliminary(changes, what):
    for more, word in (({}, "alive"), ({"trained": 56}, "grey")):
        cell = verdict(**changes, **more)
        assert what in cell.missing and not cell.final
        assert cell.verdict == f"preliminary: {word}"


def test_two_seeds_without_demonstrations_only_matter_where_they_decide():
    found = [r for r in rows() if not (r["seed"] == 3 and "evaluate" in r["run"])]
    assert judge(found)[0].final
    found = [
        r for r in rows(zero=54) if not (r["seed"] == 3 and "evaluate" in r["run"])
    ]
    assert judge(found)[0].missing == (f"{BEST}: 2 of 3 training seeds",)


def test_rules_serve_both_modes():
    channel = [r for r in rows(more={"mode": "channel"}) if "oracle" not in r["method"]]
    found = [*rows(), *channel]
    assert [c.mode for c in judge(found)] == ["direct", "channel"]


NEEDED = ("random guess", "majority", "oracle", "zero-shot", "in-context")


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_row(name):
    found = [row for row in rows() if row["method"] != name]
    with pytest.raises(ValueError, match=f"hr_to_lr, direct: .* found none of {name}"):
        judge_cell(found, "hr_to_lr", "direct")


def test_no_trained_model():
    with pytest.raises(ValueError, match="found none of a trained model"):
        judge_cell(rows(seeds=()), "hr_to_lr", "direct")


def test_no_trained_model_without_demonstrations():
    assert verdict(twin=False).alive  # the base's own gain is enough
    with pytest.raises(ValueError, match="expected a trained model also without demon"):
        verdict(twin=False, zero=54)


def refused(change) -> str:
    found = rows()
    change(found)
    with pytest.raises(ValueError) as caught:
        judge(found)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def test_rows_that_do_not_belong_together():
    def other_model(found):
        found[6]["run"]["config"]["model"] = "tiny-base"

    def other_targets(found):
        found[5]["tasks"] = {"size-a": 50.0}

    def failed(found):
        found[5]["failed"] = {"size-a": "too long"}

    assert "one base model" in refused(other_model)
    assert "others in MetaICL, seed 1" in refused(other_targets)
    assert "failed: size-a" in refused(failed)
    assert "found two of MetaICL, seed 1" in refused(lambda f: f.append(dict(f[5])))
    twice = run_record("in-context", 12)
    assert "found two that differ" in refused(lambda f: f.append(twice))


def test_a_record_that_is_there_twice_counts_once():
    found = [row | dict(hash=f"h{n}") for n, row in enumerate(rows())]
    assert judge(found * 2) == judge(found)
    other = found[6] | dict(tasks=dict(found[6]["tasks"], **{"nli-a": 1.0}))
    with pytest.raises(ValueError, match="found two of MetaICL"):
        judge([*found, other])


def test_targets_that_some_model_solves():
    names = ("nli-a", "size-a", "topic-a")

    def of(method, *scores, **more):
        return run_record(method, dict(zip(names, scores, strict=True)), **more)

    found = [
        of("random guess", 30, 40, 50),
        of("majority", 30, 40, 90),
        of("oracle", 90, 90, 90),
        of("zero-shot", 99, 0, 0),
        of("in-context", 39.99, 50, 0),
        *(of("MetaICL", 30, 0, 55 + s, seed=s, steps=9) for s in (4, 5, 6)),
    ]
    expected = {"nli-a": False, "size-a": True, "topic-a": True}
    assert solved(found, "hr_to_lr", "direct") == expected


def test_a_cell_comes_back_from_its_row_and_no_other():
    for cell in (verdict(), verdict(trained=56), verdict(seeds=(1,))):
        assert cell_of(cell.as_row()) == cell
    row = verdict(trained=56).as_row()
    for change in (
        {"verdict": "alive"},
        {"reasons": []},
        {"figures": row["figures"] | {"trained": 65.0}},
    ):
        with pytest.raises(ValueError, match="judge it anew"):
            cell_of(row | change)
    with pytest.raises(ValueError, match="found no missing"):
        cell_of({name: x for name, x in row.items() if name != "missing"})


def test_the_rule_names_no_method():
    for name in ("alive.py", "cell_rows.py"):
        source = Path(room.__file__).with_name(name).read_text().lower()
        ast.parse(source)
        for method in ("maml", "metaicl", "reptile", "metaict", "multi-task"):
            assert method not in source.replace("maml_en_llm", "")


def test_figures_alone_decide():
    cell = verdict()
    worse = replace(cell, figures=dict(cell.figures, rule=66.0))
    assert failing(worse.figures)
