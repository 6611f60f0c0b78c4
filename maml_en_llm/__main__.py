"""Command line:  python -m maml_en_llm COMMAND …

tasks      write the tasks of MiniCrossFit as files
pretrain   pre-train a base model of that world; resumable
train      meta-train a model and save it; resumable
evaluate   score a model on the target tasks of a setting
reproduce  compute the records of an experiment; resumable

COMMAND --help lists its options.
"""

import argparse
import json
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext

from .errors import nearest, shown
from .options import Bar, add_fields, add_parameters, given
from .signals import sigterm_as_exception

PROGRAM = "python -m maml_en_llm"


def tasks(arguments: list[str]) -> None:
    """Write MiniCrossFit into a new folder and print its digest."""
    from .minicrossfit import DIFFICULTIES, write_benchmark
    from .provenance import check_output

    parser = _parser("tasks", tasks)
    parser.add_argument("--out", required=True, help="the folder to make")
    parser.add_argument("--difficulty", default="normal", choices=list(DIFFICULTIES))
    options = parser.parse_args(arguments)
    out = check_output(options.out, "--out")
    print(f"{out}: written, sha256 {write_benchmark(out, options.difficulty)}")


def pretrain(arguments: list[str]) -> None:
    """Pre-train a base model. The same command goes on with an interrupted run."""
    from .base import PretrainConfig
    from .base import pretrain as run
    from .evaluation.in_context import in_context

    parser = _parser("pretrain", pretrain)
    parser.add_argument("--out", required=True, help="folder of the model and record")
    add_fields(parser, PretrainConfig)
    options = parser.parse_args(arguments)
    config = PretrainConfig(**given(options, PretrainConfig))
    with Bar(config.steps) as bar:
        record = run(config, options.out, probe=in_context, progress=bar.step)
    print(
        f"{options.out}: model, tokenizer and record.json; {record['parameters']} "
        f"parameters, weights sha256 {record['weights']}, {record['probes'][-1]}"
    )


def train(arguments: list[str]) -> None:
    """Meta-train. The same command goes on with an interrupted run."""
    from .training import CHECKPOINT_EVERY, TrainConfig
    from .training import train as run

    parser = _parser("train", train)
    parser.add_argument("--output", required=True, help="folder of model and record")
    parser.add_argument(
        "--checkpoint-every",
        type=int,
        default=CHECKPOINT_EVERY,
        help=f"outer steps between two checkpoints ({CHECKPOINT_EVERY})",
    )
    add_fields(parser, TrainConfig)
    options = parser.parse_args(arguments)
    config = TrainConfig(**given(options, TrainConfig))
    with Bar(config.steps) as bar:
        record = run(
            config,
            output=options.output,
            checkpoint_every=options.checkpoint_every,
            progress=lambda step, row: bar.step(step, row["loss"]),
        )
    if os.environ.get("RANK", "0") == "0":
        losses = [loss for loss in record["losses"] if loss is not None]
        print(
            f"{options.output}: model, tokenizer and record.json; {config.steps} outer "
            f"steps, loss {losses[0]:.3f} → {losses[-1]:.3f} nats per target token"
        )


def evaluate(arguments: list[str]) -> None:
    """Score a model on the target tasks of a setting, in points (0–100)."""
    from .evaluation import evaluate as run
    from .models import load_model
    from .protocol import SEEDS
    from .provenance import check_output
    from .tasks import load_benchmark
    from .training import TrainConfig

    parser = _parser("evaluate", evaluate)
    parser.add_argument("--output", help="file of the record, JSON")
    parser.add_argument("--demonstration-seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--max-records", type=int, help="test examples per task (all)")
    parser.add_argument("--instructions", action="store_true", help="as MetaICT")
    parser.add_argument("--pmi", action="store_true", help="score by `score_pmi`")
    parser.add_argument(
        "--adaptation-steps", type=int, default=0, help="on the demonstrations (0)"
    )
    add_fields(parser, TrainConfig, only=EVALUATED)
    options = parser.parse_args(arguments)
    config = TrainConfig(**given(options, TrainConfig))
    if options.output and os.path.lexists(check_output(options.output, "--output")):
        raise FileExistsError(
            f"--output: {options.output} is there already; name a new file"
        )
    where = [config.benchmark, config.setting]
    leaks = {"allow_missing": config.allow_missing, "faithful": config.faithful}
    seeds = options.demonstration_seeds
    benchmark = load_benchmark(*where, seeds=seeds, **leaks)
    how = ("tokenizer", "dtype", "device", "seed")
    model, tokenizer = load_model(
        config.model, **{name: getattr(config, name) for name in how}
    )
    with Bar(len(benchmark.test) * len(seeds)) as bar:
        record = run(
            model,
            tokenizer,
            benchmark,
            k=config.demonstrations,
            seeds=seeds,
            max_records=options.max_records,
            instructions=options.instructions,
            pmi=options.pmi,
            adapt=_adaptation(options.adaptation_steps, config),
            progress=lambda task, _, score: bar.count(f"{task} {score:.1f}"),
            **vars(config.format),
        )
    _report(record, config, model.device, options.output)


def _adaptation(steps: int, config):
    from .evaluation import Adaptation

    if not steps:
        return None
    return Adaptation(steps=steps, optimizer=config.make_inner_optimizer())


def _report(record: dict, config, device, output: str | None) -> None:
    from .provenance import describe, plain, write_whole

    record["config"] = {name: plain(getattr(config, name)) for name in EVALUATED}
    record["provenance"] = describe(device)
    for name, row in record["tasks"].items():
        print(f"{row['mean']:6.2f}  {row['metric']:<9} {name}")
    if output:
        write_whole(output, json.dumps(record, indent=1) + "\n")
    said = f"{output}: record of" if output else "nothing written;"
    print(f"{said} {len(record['tasks'])} tasks, mean {record['mean']:.2f} points")


EVALUATED = (
    *("model", "tokenizer", "benchmark", "setting", "allow_missing", "faithful"),
    *("demonstrations", "mode", "separator", "max_length", "max_example_length"),
    *("optimizer", "inner_optimizer", "inner_lr", "betas", "eps_root"),
    *("seed", "device", "dtype"),
)


def reproduce(arguments: list[str]) -> None:
    """Compute the records of an experiment. The same command goes on from its log."""
    from dataclasses import replace

    from .provenance import check_output, describe, write_whole
    from .runs import EXPERIMENTS, PRESETS, compare, get_experiment, get_preset
    from .runs import reproduce as run

    named = arguments[:1] if arguments and not arguments[0].startswith("-") else []
    experiment = get_experiment(named[0] if named else "baselines")
    name = named[0] if named else "baselines"
    parser = _parser("reproduce", reproduce)
    parser.add_argument("experiment", nargs="?", help=", ".join(EXPERIMENTS))
    parser.add_argument("--preset", default=experiment.preset, choices=list(PRESETS))
    parser.add_argument("--benchmark", help="another than the preset's")
    parser.add_argument("--log", default=f"_build/{name}.jsonl")
    parser.add_argument("--out", default=f"results/{name}.json")
    parser.add_argument("--compare", type=float, metavar="POINTS", help=COMPARE)
    choices = add_parameters(parser, experiment.make, {"max_records": ["--records"]})
    options = parser.parse_args(arguments)
    preset = get_preset(options.preset)
    if options.benchmark:
        preset = replace(preset, benchmark=options.benchmark)
    out = check_output(options.out, "--out")
    if os.path.isdir(options.log):
        raise ValueError(f"--log: expected a file, found a folder, {options.log}")
    runs = experiment.runs(preset, **given(options, choices))
    with Bar(len(runs)) as bar:
        rows = run(runs, options.log, progress=lambda row: bar.count(row["method"]))
    if options.compare is not None:
        stored = json.loads(out.read_bytes())["rows"]
        found = compare(stored, rows, options.compare)
        if found:
            raise ValueError("; ".join(map(str, found[:5])))
        print(f"{out}: {len(rows)} records agree within {options.compare} points")
        return
    sizes = {"preset": options.preset, **given(options, choices)}
    content = {"machine": describe(), "sizes": sizes, "rows": rows}
    write_whole(out, json.dumps(content) + "\n")
    print(f"{out}: {len(rows)} records of {name}, also in {options.log}")


COMPARE = "write nothing: fail where a total of the records in --out differs by more"
COMMANDS: Mapping[str, Callable[[list[str]], None]] = {
    "tasks": tasks,
    "pretrain": pretrain,
    "train": train,
    "evaluate": evaluate,
    "reproduce": reproduce,
}
# said where Ctrl-C or SIGTERM came and the command itself had nothing to say
STOPPED = {
    "tasks": "stopped; nothing is written",
    "evaluate": "stopped; nothing is written",
    "reproduce": "stopped; the same command goes on from its log",
}


def main() -> None:
    """Run the command named first; whatever the user got wrong is said in one line."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(__doc__)
        return
    if name not in COMMANDS:
        _end(2, f"expected a command, found {shown(name)}{nearest(name, COMMANDS)}")
    warnings.formatwarning = lambda message, *_: f"{name}: {message}\n"
    # `train` hears signals itself, and only where nobody else does
    terminable = nullcontext() if name == "train" else sigterm_as_exception()
    try:
        with terminable:
            COMMANDS[name](arguments)
    except KeyboardInterrupt as error:
        default = STOPPED.get(name, "stopped; the same command begins again")
        code = getattr(error, "code", 128 + signal.SIGINT)
        _end(code, f"{name}: {str(error) or default}")
    except Exception as error:
        if not _is_the_users(error):
            raise
        _end(1, f"{name}: {_line(error)}")


def _is_the_users(error: Exception) -> bool:
    """Whether the message helps; anything else is a fault of this package."""
    if isinstance(error, ImportError):
        return not (error.name or "").startswith(__package__ or "maml_en_llm")
    kinds = (ValueError, OSError, ArithmeticError, MemoryError)
    return isinstance(error, kinds) or type(error).__name__ in (
        "OutOfMemoryError",
        "RankLost",
        "SafetensorError",
    )


def _line(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    return " ".join([text, *getattr(error, "__notes__", [])])


def _end(code: int, message: str) -> None:
    print(" ".join(message.split()), file=sys.stderr)
    sys.exit(code)


def _parser(name: str, command: Callable) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog=f"{PROGRAM} {name}", description=command.__doc__, allow_abbrev=False
    )


if __name__ == "__main__":
    main()
