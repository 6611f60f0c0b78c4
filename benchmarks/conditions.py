"""Which settings of MiniCrossFit are alive with a base model: what a comparison needs.

    python benchmarks/conditions.py --model mini-base --jobs 2

For each setting and mode: the base model zero-shot and in context, the answers by rule,
and MetaICL trained with three seeds, asked with and without demonstrations: the
experiment "cells". `runs.alive` judges the cells from these rows alone. Rows are kept
in a log as they are made: stopped at any moment, it goes on from there; rows that
`python -m maml_en_llm reproduce cells` has made count too. Prints a line per cell and
one per bar, and stores rows and verdicts in results/conditions-<model>.json.
"""

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean

from report import at_least_one, machine, new_file, verdict
from transformers.utils import logging

from maml_en_llm import load_model
from maml_en_llm.evaluation import (
    family_of,
    held_out,
    held_set,
    overall,
    random_guess,
)
from maml_en_llm.evaluation.held import HELD_EXAMPLES
from maml_en_llm.prompts import MODES
from maml_en_llm.protocol import SEEDS
from maml_en_llm.provenance import write_whole
from maml_en_llm.runs import Preset, Run, get_experiment, get_preset
from maml_en_llm.runs.alive import Cell, judge_cell, solved
from maml_en_llm.runs.log import records, trained_by
from maml_en_llm.runs.store import Store
from maml_en_llm.runs.workers import How, compute
from maml_en_llm.tasks import Benchmark, load_settings

ROOT = Path(__file__).resolve().parents[1]
BUILT = ROOT / "_build"
MAIN = "hr_to_lr"
# to reach: cells alive in direct mode and in channel mode, and these among the latter
DIRECT, CHANNEL = 7, 4
IN_CHANNEL = (MAIN, "class_to_class")
SOLVED = 90  # percent of the targets of HR→LR
FAMILY = 20  # points of each family's held tasks, best model − guessing
COLUMNS = ("guess", "majority", "zero_shot", "in_context", "trained", "without", "rule")


def main() -> None:
    """Compute or read the rows, judge, print, store."""
    options = arguments()
    logging.disable_progress_bar()
    options.log.parent.mkdir(parents=True, exist_ok=True)
    run = family_run(options) if options.families else None
    rows = computed(options)
    cells, failed = judged(rows, options)
    share = solved_share(rows)
    families, scored = {}, {}
    if run is not None:
        families = families_of(run)
        scored = dict(method=run.name, steps=run.config.steps, seed=run.config.seed)
    print(table(cells), *failed, sep="\n")
    bars = bars_of(cells, share, families) if not failed else []
    print(*bars, sep="\n")
    found = dict(
        machine=machine(options.device),
        model=options.model,
        cells=[cell.as_row() for cell in cells],
        not_judged=failed,
        solved=share,
        families=families,
        families_of=scored,
        conditions=bars,
        rows=rows,
    )
    write_whole(options.out, json.dumps(found, indent=1) + "\n")


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="mini-base", help="tiny-base, mini-base, or a folder")
    add("--benchmark", default="minicrossfit")
    add("--settings", nargs="+", default=None, help="default: all seven")
    add("--modes", nargs="+", default=list(MODES), choices=MODES)
    add("--seeds", type=int, default=3, help="training seeds")
    add("--demonstration-seeds", type=at_least_one, default=len(SEEDS))
    add(
        "--max-records",
        type=at_least_one,
        default=None,
        help="per target; default: all",
    )
    add("--steps", type=at_least_one, default=320, help="outer steps")
    add("--lr", type=float, default=None, help="outer rate; default: the preset's")
    add("--device", default="cpu")
    add("--jobs", type=at_least_one, default=1, help="processes")
    add("--minutes", type=float, default=None, help="begin no run that ends later")
    add(
        "--families",
        nargs="?",
        const="MetaICL",
        metavar="METHOD",
        help="score a training of this row of E1 by family (MetaICL)",
    )
    add("--family-steps", type=at_least_one, help="its outer steps (--steps)")
    add("--log", type=Path, default=None)
    add("--out", type=new_file)
    add("--judge-only", action="store_true", help="the log as it is")
    options = parser.parse_args(given)
    name = Path(options.model).name
    logs = {"mini-base": ROOT / "results/cells.jsonl"}
    options.log = options.log or logs.get(name, BUILT / f"cells-{name}.jsonl")
    options.out = options.out or ROOT / f"results/conditions-{name}.json"
    return options


def preset_of(options: argparse.Namespace) -> Preset:
    """Sizes, with the command's model, benchmark, device and rate."""
    changes = dict(
        model=options.model, benchmark=options.benchmark, device=options.device
    )
    if options.lr is not None:
        changes["lr"] = options.lr
    return replace(get_preset("mini"), **changes)


def runs_of(options: argparse.Namespace) -> list[Run]:
    """All runs: base and rules of all cells, then seed by seed."""
    settings = options.settings or list(load_settings(options.benchmark))
    cells = [f"{setting}:{mode}" for mode, setting in product(options.modes, settings)]
    return get_experiment("cells").runs(
        preset_of(options),
        cells=cells,
        seeds=tuple(range(1, options.seeds + 1)),
        steps=options.steps,
        draws=options.demonstration_seeds,
        max_records=options.max_records,
    )


def computed(options: argparse.Namespace) -> list[dict]:
    """The rows of all runs that are in the log, or could be computed now."""
    runs = runs_of(options)
    if options.judge_only:
        return records(runs, options.log, old=True)
    how = How(
        jobs=options.jobs, minutes=options.minutes, store=Store(BUILT / "trained")
    )
    found = compute(runs, options.log, how, _say)
    for message in found.failed:
        print(f"failed: {message}", flush=True)
    return found.rows


def _say(row: dict, done: float, whole: float) -> None:
    about = [row["setting"], row["mode"], row["method"], f"seed {row['seed']}"]
    share = 100 * done / whole if whole else 100
    print(f"{share:3.0f}%  {', '.join(about)}: {row['mean']:.1f}", flush=True)


def judged(rows, options) -> tuple[list[Cell], list[str]]:
    """Cells, and what kept others from being judged."""
    cells, failed = [], []
    settings = dict.fromkeys(row["setting"] for row in rows)
    for setting in settings:
        for mode in options.modes:
            try:
                cells.append(judge_cell(rows, setting, mode))
            except ValueError as error:
                failed.append(f"not judged: {error}")
    return cells, failed


def solved_share(rows: list[dict]) -> dict[str, float]:
    """Percent of HR→LR's targets that some model solves, by mode."""
    found = {}
    for mode in MODES:
        try:
            targets = solved(rows, MAIN, mode)
        except ValueError:  # its rows were not asked for
            continue
        found[mode] = 100 * fmean(targets.values())
    return found


def family_run(options: argparse.Namespace) -> Run:
    """A row of E1 in HR→LR, direct: the first training seed, at equal steps.

    Its rates are those that the search has found for it.
    """
    runs = get_experiment("E1").runs(
        preset_of(options),
        cells=[f"{MAIN}:{MODES[0]}"],
        names=[options.families],
        seeds=[1],
        steps=[options.family_steps or options.steps],
        budgets=["steps"],
    )
    trained = [run for run in runs if run.training is not None]
    if not trained:
        raise ValueError(
            f"--families: expected a row that trains, found {options.families}; "
            "for example MetaICL"
        )
    return trained[0]


def families_of(run: Run) -> dict[str, dict]:
    """Held scores by family in HR→LR, direct: guessing, the base, a trained model."""
    config = run.config
    model, tokenizer = load_model(config.model, device=config.device)
    held = held_set(config.benchmark, MAIN)
    how = dict(vars(config.format), demonstrations=config.demonstrations)
    how["max_records"] = HELD_EXAMPLES
    before = held_out(model, tokenizer, held, **how)
    trained = trained_by(run, Store(BUILT / "trained")).model
    after = held_out(trained, tokenizer, held, **how)
    guess: dict[str, list[float]] = {}
    guesses = random_guess(Benchmark((), held), max_records=HELD_EXAMPLES)
    for name, row in guesses["tasks"].items():
        guess.setdefault(family_of(name), []).append(row["mean"])
    found = {
        family: dict(
            guess=fmean(guess[family]),
            base=before[family].score,
            trained=after[family].score,
            nll=after[family].nll,
            n_tasks=after[family].n_tasks,
        )
        for family in after
    }
    print(f"held NLL: base {overall(before).nll:.3f}, trained {overall(after).nll:.3f}")
    for name, row in found.items():
        print(f"{name:14}", {n: round(x, 1) for n, x in row.items()})
    return found


def table(cells: list[Cell]) -> str:
    """One line per cell, with the reason of a grey one."""
    head = ["setting", "mode", *(name.replace("_", "-") for name in COLUMNS), "verdict"]
    lines = [head, ["---"] * len(head)]
    for cell in cells:
        figures = [_shown(cell.figures[name]) for name in COLUMNS]
        words = "; ".join([cell.verdict, *cell.reasons])
        if cell.missing:
            words += f" (lacks: {', '.join(cell.missing[:2])}, …)"
        lines.append([cell.setting, cell.mode, *figures, words])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def bars_of(cells: list[Cell], share: dict, families: dict) -> list[str]:
    """PASS or FAIL for what the world has to reach."""
    alive = {(c.setting, c.mode) for c in cells if c.alive}
    by_mode = {mode: sum(m == mode for _, m in alive) for mode in MODES}
    named = sum((setting, "channel") in alive for setting in IN_CHANNEL)
    lines = [
        verdict("alive cells, direct", by_mode["direct"], DIRECT),
        verdict("alive cells, channel", by_mode["channel"], CHANNEL),
        verdict("HR→LR and Class→Class among them", named, len(IN_CHANNEL)),
        verdict("targets of HR→LR solved, percent", share.get("direct"), SOLVED),
    ]
    gains = {  # of the better of two models
        name: max(row["base"], row["trained"]) - row["guess"]
        for name, row in families.items()
    }
    worst = min(gains, key=gains.__getitem__, default=None)
    least = None if worst is None else gains[worst]
    lines.append(
        verdict(f"least family ({worst}), best model − guessing", least, FAMILY)
    )
    if not all(cell.final for cell in cells):
        lines.append("preliminary: not on all seeds and records that the rule asks for")
    return lines


if __name__ == "__main__":
    main()
