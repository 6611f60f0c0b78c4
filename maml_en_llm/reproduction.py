"""python -m maml_en_llm reproduce: compute, compare or check records of experiments."""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

from .bar import Bar
from .errors import check_integer, check_number, listed, shown
from .options import Parser, add_parameters, given, quiet
from .provenance import check_file, describe, write_whole

RESULTS = "results"
DEFAULT = "baselines"  # experiment
IN_ONE_FILE = ("baselines", "tuning")  # written as one file once they are complete
COMPARE = "write nothing: fail where a total of the records in --out differs by more"
CHECK = "compute N published records again, others every day, and compare"
MINUTES = "begin no run that would not end within them, and give up what then goes on"
FRESH = "compute records of older code again"
ALIASES = {"max_records": ["--records"]}
READ_BY_CHECK = ("experiment", "named", "device", "check")


def reproduce_command(arguments: list[str]) -> None:
    """Compute the records of an experiment. The same command goes on from its log."""
    from .runs import EXPERIMENTS, PRESETS, get_experiment

    named = _named(arguments)
    name = DEFAULT if named is None else named
    experiment = get_experiment(name)
    parser = Parser("reproduce", reproduce_command.__doc__)
    parser.add_argument(
        "experiment", nargs="?", help=f"{', '.join(EXPERIMENTS)} ({DEFAULT})"
    )
    parser.add_argument("--experiment", dest="named", help="the same")
    parser.add_argument("--preset", default=experiment.preset, choices=list(PRESETS))
    parser.add_argument("--benchmark", help="another than the preset's")
    parser.add_argument("--model", help="another base model than the preset's")
    parser.add_argument("--device", help="cpu, cuda or auto (the preset's)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (1)")
    parser.add_argument("--minutes", type=float, help=MINUTES)
    parser.add_argument("--fresh", action="store_true", help=FRESH)
    parser.add_argument("--log", help="of one record per line")
    parser.add_argument("--out", help="file of the whole table, where there is one")
    parser.add_argument("--compare", type=float, metavar="POINTS", help=COMPARE)
    parser.add_argument("--check", type=int, metavar="N", help=CHECK)
    choices = add_parameters(parser, experiment.make, ALIASES)
    with parser.reading(arguments) as options:
        if options.experiment not in (None, named):
            parser.error(f"experiment: {shown(options.experiment)} has to come first")
        quiet()
        if options.check is not None:
            _refuse_unread(parser, options)
            _check(options, named)
            return
        _fill_in(options, name)
        runs = experiment.runs(_preset(options), **given(options, choices))
        sizes = {"preset": options.preset, **given(options, choices)}
        _compute(options, name, runs, sizes)


def _named(arguments: list[str]) -> str | None:
    """The experiment, which decides what further options there are."""
    for i, word in enumerate(arguments):
        if word.startswith("--experiment="):
            return word.partition("=")[2]
        if word == "--experiment" and i + 1 < len(arguments):
            return arguments[i + 1]
    return arguments[0] if arguments and not arguments[0].startswith("-") else None


def _refuse_unread(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse options that a check does not read."""
    unread = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(options).items()
        if name not in READ_BY_CHECK and value != parser.get_default(name)
    ]
    if unread:
        raise ValueError(
            "--check: expected no other option than --device and --experiment, found "
            f"{listed(unread)}; leave out what a check does not read"
        )


def _fill_in(options: argparse.Namespace, name: str) -> None:
    """Where the records go: a log among the results, or beside the book's build."""
    built = f"_build/{name}.jsonl"
    if options.log is None:
        options.log = built if name == "baselines" else f"{RESULTS}/{name}.jsonl"
    if options.out is None and name in IN_ONE_FILE:
        options.out = f"{RESULTS}/{name}.json"
    check_file(options.log, "--log")


def _preset(options: argparse.Namespace):
    from .runs import get_preset

    changes = {
        name: getattr(options, name)
        for name in ("benchmark", "model", "device")
        if getattr(options, name) is not None
    }
    return replace(get_preset(options.preset), **changes)


def _compute(options, name: str, runs: list, sizes: dict) -> None:
    from .runs.store import Store
    from .runs.workers import How, compute

    stored = _stored(options, name)
    if options.compare is None:
        _refuse_loss(stored, runs, options.out)
    old = not options.fresh and name != "baselines"
    how = How(
        jobs=options.jobs,
        minutes=options.minutes,
        store=Store("_build/trained"),
        old=old,
    )
    with Bar(0) as bar:
        found = compute(runs, options.log, how, bar.work)
    where = f"{options.log}: {len(found.rows)} of {len(runs)} records of {name}"
    if found.failed:
        first = f"; {len(found.failed)} failed: {found.failed[0]}"
        raise ValueError(f"{where}{first}; the same command tries them again")
    if options.compare is not None:
        _compare(stored, found.rows, options)
        return
    if name == "tuning" and not (found.left and stored):
        _write_rates(options.out, found.rows)
    elif name != "tuning" and options.out is not None and not found.left:
        content = {"machine": describe(), "sizes": sizes, "rows": found.rows}
        write_whole(options.out, json.dumps(content) + "\n")
        where = f"{options.out}: {len(found.rows)} records of {name}, also in "
        where += options.log
    print(f"{where}{_left(found)}")


def _left(found) -> str:
    """What there still is to do, and what was begun for nothing."""
    if not found.left:
        return ""
    lost = ""
    if found.given_up:
        lost = (
            f", {found.given_up} of them begun and given up as --minutes were over, "
            "which begin anew"
        )
    return f"; {found.left} are left{lost}, the same command goes on"


def _write_rates(out, rows: list[dict]) -> None:
    from .runs.rates import best_rates

    found = best_rates(rows)
    write_whole(out, json.dumps(found) + "\n")
    for name, rates in found["rates"].items():
        inner = f", inner {rates['inner_lr']:g}" if "inner_lr" in rates else ""
        print(f"{name:22} {rates['lr']:g}{inner}  held NLL {rates['nll']:.3f}")


def _check(options: argparse.Namespace, name: str | None) -> None:
    """Exit with 1 where a record is not what the code computes."""
    from .runs.again import compute_again, stored_records
    from .runs.published import record_folder

    check_integer("--check", options.check, 1)
    # one's own, where there are any; else those that come with the package
    found: list = []
    for folder in dict.fromkeys([Path(RESULTS), record_folder()]):
        there = stored_records(folder) if folder.is_dir() else []
        found = [row for path, row in there if name is None or path.stem == name]
        if found:
            break
    if not found:
        raise ValueError(
            f"--check: expected records in {folder}, found none; compute some first"
        )
    device = "cpu" if options.device is None else options.device
    done = compute_again(found, options.check, device=device)
    for row in done.checked:
        held = row.get("held") or {}
        told = f"mean {row['mean']}" if row["mean"] is not None else f"held {held}"
        print(f"{row['method']}, {row['setting']}, {row['mode']}: {told}")
    if done.differences:
        raise ValueError("; ".join(map(str, done.differences[:5])))
    if not done.checked:
        raise ValueError(
            f"--check: expected a record of the base weights and examples that are "
            f"here, found {done.of_others} of others; compute them again"
        )
    others = (
        f"; {done.of_others} of other weights or examples" if done.of_others else ""
    )
    print(
        f"{len(done.checked)} of {len(found)} records in {folder} computed again, all "
        f"within the tolerance{others}"
    )


def _stored(options, name: str) -> list[dict]:
    """The records in --out, which may be replaced only if it holds such records.

    Only those of "tuning" are without scores of targets, and come with the rates that
    they chose.
    """
    out, compare = options.out, options.compare
    tuned = name == "tuning"
    if compare is not None:
        check_number("--compare", compare)
        if out is None or tuned:
            raise ValueError(
                "--compare: expected --out, a file of records with the scores of "
                f"targets, found {'the record of a search' if tuned else 'none'}; "
                "name the file, or leave --compare out"
            )
    if out is None:
        return []
    check_file(out, "--out")
    if os.path.realpath(out) == os.path.realpath(options.log):
        raise ValueError(f"--out: expected another file than --log, found {out}")
    if compare is None and not os.path.exists(out):
        return []
    try:
        found = json.loads(Path(out).read_bytes())
        rows = found["rows"]
        whole = all(isinstance(row["hash"], str) for row in rows)
        if tuned and isinstance(found["rates"], dict) and whole:
            return rows
        if not tuned and all(row["tasks"] for row in rows) and whole:
            return rows
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        pass  # said below
    raise ValueError(
        f"--out: expected a file of records as this command writes them"
        f"{', to compare with' if compare is not None else ', or none yet'}, found "
        f"something else at {shown(out)}; name another file"
    )


def _refuse_loss(stored: list[dict], runs: list, out: str) -> None:
    """Refuse to replace records by those of other sizes or inputs, or by fewer."""
    asked = {run.hash for run in runs}
    lost = [row for row in stored if row["hash"] not in asked]
    if lost:
        made_by = lost[0].get("provenance", {}).get("command", "not said")
        raise ValueError(
            f"--out: expected runs that include all of {out}, which they replace, "
            f"found none for {len(lost)} of its {len(stored)} records, made by "
            f"{shown(made_by)}; give the options that made them, or name another file"
        )


def _compare(stored: list[dict], rows: list[dict], options) -> None:
    from .runs import compare

    try:
        found = compare(stored, rows, options.compare)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"--out: {options.out} holds a damaged record ({shown(error)})"
        ) from error
    if found:
        raise ValueError("; ".join(map(str, found[:5])))
    if not rows:
        raise ValueError("--compare: expected records, found none; raise --minutes")
    print(f"{options.out}: {len(rows)} records agree within {options.compare} points")
