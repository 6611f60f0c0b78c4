"""Command line:  python -m maml_en_llm COMMAND …

tasks      write the tasks of MiniCrossFit as files
pretrain   pre-train a base model of that world; resumable
train      meta-train a model and save it; resumable
evaluate   score a model on the target tasks of a setting
reproduce  compute the records of an experiment; resumable
plan       what an outer step will need: memory, gradients, seconds

COMMAND --help lists its options.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from .endings import end, run_command, speak_anywhere
from .errors import check_integer, check_number, listed, nearest, shown
from .options import Bar, Parser, add_fields, given, quiet
from .provenance import check_file, check_output, describe, plain, write_whole
from .reproduction import reproduce_command
from .signals import Signals


def tasks(arguments: list[str]) -> None:
    """Write MiniCrossFit into a new folder and print its digest."""
    from .minicrossfit import DIFFICULTIES, write_benchmark

    parser = Parser("tasks", tasks.__doc__)
    parser.add_argument("--out", required=True, help="the folder to make")
    parser.add_argument("--difficulty", default="normal", choices=list(DIFFICULTIES))
    options = parser.parse_args(arguments)
    out = check_output(options.out, "--out")
    print(f"{out}: written, sha256 {write_benchmark(out, options.difficulty)}")


def pretrain(arguments: list[str]) -> None:
    """Pre-train a base model. The same command goes on with an interrupted run."""
    from .base import RECIPES, PretrainConfig
    from .base import pretrain as run
    from .evaluation.in_context import in_context

    parser = Parser("pretrain", pretrain.__doc__)
    parser.add_argument(
        "--output",
        "--out",
        dest="out",
        required=True,
        help="folder of the model and record",
    )
    parser.add_argument(
        "--recipe",
        default="tiny-base",
        choices=list(RECIPES),
        help="where the other options start from (tiny-base)",
    )
    names = [field.name for field in fields(PretrainConfig) if field.name != "stages"]
    add_fields(parser, PretrainConfig, names)
    options = parser.parse_args(arguments)
    config = replace(RECIPES[options.recipe], **given(options, names))
    with Bar(config.steps) as bar:
        record = run(config, options.out, probe=in_context, progress=bar.step)
    print(
        f"{options.out}: model, tokenizer and record.json; {record['parameters']} "
        f"parameters, weights sha256 {record['weights']}, {record['probes'][-1]}"
    )


def train(arguments: list[str]) -> None:
    """Meta-train. The same command goes on with an interrupted run."""
    from .training import CHECKPOINT_EVERY, TrainConfig, in_words, is_first
    from .training import train as run
    from .training.config import CHOICES

    parser = Parser("train", train.__doc__)
    parser.add_argument("--output", required=True, help="folder of model and record")
    parser.add_argument(
        "--checkpoint-every",
        type=int,
        default=CHECKPOINT_EVERY,
        help=f"outer steps between two checkpoints ({CHECKPOINT_EVERY})",
    )
    add_fields(parser, TrainConfig, choices=CHOICES)
    options = parser.parse_args(arguments)
    config = TrainConfig(**given(options, TrainConfig))
    first = is_first()
    with Bar(config.steps, drawn=first) as bar:
        record = run(
            config,
            output=options.output,
            checkpoint_every=options.checkpoint_every,
            progress=lambda step, row: bar.step(step, row["loss"]),
        )
    losses = [loss for loss in record["losses"] if loss is not None]
    told = "every one skipped"
    if losses:
        told = f"loss {losses[0]:.3f} → {losses[-1]:.3f} nats per target token"
    if first:
        if in_words(record):
            print(in_words(record))
        print(
            f"{options.output}: model, tokenizer and record.json; {config.steps} outer "
            f"steps, {told}"
        )


def evaluate(arguments: list[str]) -> None:
    """Score a model on the target tasks of a setting, in points (0–100)."""
    from .evaluation import evaluate as run
    from .models import load_model
    from .protocol import SEEDS
    from .tasks import load_benchmark
    from .training import TrainConfig
    from .training.config import CHOICES

    parser = Parser("evaluate", evaluate.__doc__)
    parser.add_argument("--output", help="file of the record, JSON")
    parser.add_argument(
        "--demonstration-seeds",
        type=int,
        nargs="+",
        default=SEEDS,
        help=f"draws of demonstrations that are asked ({listed(SEEDS)})",
    )
    parser.add_argument("--max-records", type=int, help="test examples per task (all)")
    parser.add_argument(
        "--instructions", action="store_true", help="a task's own first"
    )
    parser.add_argument(
        "--pmi", action="store_true", help="less the score without a text"
    )
    parser.add_argument(
        "--adaptation-steps",
        type=int,
        default=0,
        help="gradient steps on a task's demonstrations, at inner_lr (0)",
    )
    add_fields(parser, TrainConfig, EVALUATED, CHOICES)
    options = parser.parse_args(arguments)
    config = TrainConfig(**given(options, TrainConfig))
    adapt = _adaptation(options.adaptation_steps, config)
    _check_before(options.max_records, options.output)
    seeds = options.demonstration_seeds
    where = [config.benchmark, config.setting]
    leaks = {"allow_missing": config.allow_missing, "faithful": config.faithful}
    benchmark = load_benchmark(*where, seeds=seeds, **leaks)
    quiet()
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
            adapt=adapt,
            progress=lambda task, _, score: bar.count(f"{task} {score:.1f}"),
            **vars(config.format),
        )
    _report(record, config, model.device, options.output)


def _check_before(max_records: int | None, output: str | None) -> None:
    if max_records is not None:
        check_integer("--max-records", max_records, 1)
    if output is not None and os.path.lexists(check_file(output, "--output")):
        raise FileExistsError(f"--output: {output} is there already; name a new file")


def _adaptation(steps: int, config):
    from .evaluation import Adaptation

    if not steps:
        return None
    return Adaptation(steps=steps, optimizer=config.make_inner_optimizer())


def _report(record: dict, config, device, output: str | None) -> None:
    record["config"] = {name: plain(getattr(config, name)) for name in EVALUATED}
    record["provenance"] = describe(device)
    for name, row in record["tasks"].items():
        print(f"{row['mean']:6.2f}  {row['metric']:<9} {name}")
    if output is not None:
        _write_new(output, json.dumps(record, indent=1) + "\n")
    said = f"{output}: record of" if output is not None else "nothing written;"
    failed = f"; left out: {listed(record['failed'])}" if record["failed"] else ""
    mean = f"mean {record['mean']:.2f} points"
    print(f"{said} {len(record['tasks'])} tasks, {mean}{failed}")


def _write_new(output: str, text: str) -> None:
    """Write a record; beside what has come to its place since the command began."""
    try:
        write_whole(output, text, new=True)
    except FileExistsError:
        beside = os.path.join(os.path.dirname(output), f"record-{os.getpid()}.json")
        write_whole(beside, text, new=True)
        raise FileExistsError(
            f"--output: {output} is there already, since this command began; what it "
            f"would have been is {beside}"
        ) from None


EVALUATED = (
    *("model", "tokenizer", "benchmark", "setting", "allow_missing", "faithful"),
    *("demonstrations", "mode", "separator", "max_length", "max_example_length"),
    *("bos", "optimizer", "inner_optimizer", "inner_lr", "betas", "eps_root"),
    *("seed", "device", "dtype"),
)


def plan(arguments: list[str]) -> None:
    """Predict memory, gradients and seconds of an outer step, and what makes it fit."""
    from .models import load_model, positions_of
    from .runs import plan as planned
    from .training.run import adapted

    parser = Parser("plan", plan.__doc__)
    parser.add_argument("--model", required=True, help="as of load_model")
    parser.add_argument("--method", default="maml-en-llm", choices=planned.PLANNED)
    parser.add_argument("--length", type=int, help="tokens of a prompt (1024)")
    parser.add_argument("--n", type=int, default=4, help="tasks of a meta-batch")
    parser.add_argument("--k", type=int, default=1, help="inner steps")
    parser.add_argument("--prompts", type=int, default=4, help="of a batch")
    parser.add_argument("--at-once", type=int, help="prompts differentiated together")
    parser.add_argument("--lora", type=int, default=0, help="rank of adapters (none)")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", type=float, metavar="GIB", help="what there is")
    parser.add_argument("--no-measure", action="store_true", help="no gradient is run")
    options = parser.parse_args(arguments)
    shape = ("method", "n", "k", "prompts", "length", "at_once")
    asked = {name: getattr(options, name) for name in shape}
    step = planned.Step(**{n: value for n, value in asked.items() if value is not None})
    quiet()
    how = {"dtype": options.dtype, "device": options.device}
    model, _ = load_model(options.model, **how)
    if options.length is None:
        most = positions_of(model) or step.length
        step = replace(step, length=min(step.length, most))
    planned.check_length(model, step)
    if options.lora:
        model = adapted(model, options.lora)
    seconds = None
    if not options.no_measure:
        seconds = planned.seconds_per_gradient(model, step)
    memory = None
    if options.memory is not None:
        memory = check_number("--memory", options.memory, above=True) * planned.GIB
    print(planned.in_lines(planned.sizes_of(model), step, memory, seconds))


COMMANDS: Mapping[str, Callable[[list[str]], None]] = {
    "tasks": tasks,
    "pretrain": pretrain,
    "train": train,
    "evaluate": evaluate,
    "reproduce": reproduce_command,
    "plan": plan,
}
# said where Ctrl-C or SIGTERM came and the command itself had nothing to say
STOPPED = {
    "tasks": "stopped; nothing is written",
    "evaluate": "stopped; nothing is written",
    "reproduce": "stopped; the same command goes on from its log",
}


def main() -> None:
    """Run the command named first."""
    speak_anywhere()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        run_command("help", lambda: print(__doc__), "stopped")
        return
    if name not in COMMANDS:
        end(2, f"expected a command, found {shown(name)}{nearest(name, COMMANDS)}")
    warnings.formatwarning = lambda message, *_: f"{name}: {message}\n"

    def command():
        with Signals().caught():
            COMMANDS[name](arguments)

    run_command(
        name, command, STOPPED.get(name, "stopped; the same command begins again")
    )


if __name__ == "__main__":
    main()
