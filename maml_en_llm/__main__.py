"""Command line:  python -m maml_en_llm COMMAND …"""

import os
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, replace

from .assessment import evaluate_command
from .bar import Bar
from .endings import as_options, end, run_command, speak_anywhere
from .errors import check_number, nearest, shown
from .options import Parser, add_fields, given, quiet, spelled
from .provenance import check_output
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
    with parser.reading(arguments) as options:
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
    with parser.reading(arguments) as options:
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


# of a step: a field of `TrainConfig`, its name in a plan, default and help
STEP: Mapping[str, tuple[str, int | None, str]] = {
    "tasks_per_step": ("n", 4, "tasks of a meta-batch (4)"),
    "inner_steps": ("k", 1, "of a method that has them (1)"),
    "prompts": ("prompts", 4, "of a batch (4)"),
    "max_length": ("length", None, "tokens of a prompt (1024)"),
    "prompts_at_once": ("at_once", None, "of a batch, differentiated together (all)"),
}


def plan(arguments: list[str]) -> None:
    """Predict memory, gradients and seconds of an outer step, and what makes it fit."""
    from .methods.inner import MOMENTS
    from .models import load_model, positions_of
    from .runs import plan as planned
    from .training.start import adapted

    parser = Parser("plan", plan.__doc__)
    parser.add_argument("--model", required=True, help="as of load_model")
    parser.add_argument("--method", default="maml-en-llm", choices=planned.PLANNED)
    parser.add_argument("--moments", default="shared", choices=MOMENTS)
    for field, (name, default, about) in STEP.items():
        flags = spelled(field, name)
        parser.add_argument(*flags, dest=name, type=int, default=default, help=about)
    parser.add_argument("--lora", type=int, default=0, help="rank of adapters (none)")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--memory", type=float, metavar="GIB", help="what there is")
    parser.add_argument("--no-measure", action="store_true", help="no gradient is run")
    with parser.reading(arguments) as options:
        shape = ("method", "moments", *(name for name, *_ in STEP.values()))
        asked = {name: getattr(options, name) for name in shape}
        step = planned.Step(
            **{n: value for n, value in asked.items() if value is not None}
        )
        if step.second_order and options.dtype in ("bfloat16", "float16"):
            raise ValueError(
                "--dtype: expected float32 or float64 for a gradient of second order, "
                f"found {options.dtype!r}; or choose --method fomaml"
            )
        memory = None
        if options.memory is not None:
            memory = check_number("--memory", options.memory, above=True) * planned.GIB
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
        told = planned.in_lines(planned.sizes_of(model), step, memory, seconds)
        print(as_options(told, parser.flags))


# no docstring, of which `python -OO` leaves nothing
HELP = """Command line:  python -m maml_en_llm COMMAND …

tasks      write the tasks of MiniCrossFit as files
pretrain   pre-train a base model of that world; resumable
train      meta-train a model and save it; resumable
evaluate   score a model on the target tasks of a setting
reproduce  compute the records of an experiment; resumable
plan       what an outer step will need: memory, gradients, seconds

COMMAND --help lists its options.
"""
COMMANDS: Mapping[str, Callable[[list[str]], None]] = {
    "tasks": tasks,
    "pretrain": pretrain,
    "train": train,
    "evaluate": evaluate_command,
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
        run_command("help", lambda: print(HELP), "stopped")
        return
    try:
        os.getcwd()
    except FileNotFoundError:  # libraries end the process over it
        end(2, "expected a working folder, found one that was removed; cd to another")
    if name not in COMMANDS:
        end(2, f"expected a command, found {shown(name)}{nearest(name, COMMANDS)}")
    if sys.flags.optimize > 1:
        end(
            2, "expected docstrings, which transformers reads, found python -OO; use -O"
        )
    warnings.formatwarning = lambda message, *_: f"{name}: {message}\n"

    def command():
        with Signals().caught():
            COMMANDS[name](arguments)

    run_command(
        name, command, STOPPED.get(name, "stopped; the same command begins again")
    )


if __name__ == "__main__":
    main()
