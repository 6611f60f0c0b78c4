"""python -m maml_en_llm evaluate: score a model on the targets of a setting."""

import json
import os
import warnings
from dataclasses import fields
from pathlib import Path

from .bar import Bar
from .errors import check_integer, listed
from .options import Parser, add_fields, given, quiet
from .protocol import SEEDS, SHOTS
from .provenance import check_file, describe, digest, plain, write_whole

# fields of `TrainConfig` that only an adaptation reads
ADAPTING = ("optimizer", "inner_optimizer", "inner_lr", "betas", "eps_root")
# fields of `TrainConfig` that are options of an evaluation
EVALUATED = (
    *("model", "tokenizer", "benchmark", "setting", "allow_missing", "faithful"),
    *("demonstrations", "mode", "separator", "max_length", "max_example_length"),
    *("bos", *ADAPTING, "seed", "device", "dtype"),
)


def evaluate_command(arguments: list[str]) -> None:
    """Score a model on the target tasks of a setting, in points (0–100)."""
    from .training import TrainConfig

    with _asked().reading(arguments) as options:
        # nothing is differentiated twice here: weights may have any type; no moments
        # are shared: the optimizers need not have the same
        own: dict = dict(gradient="first_order", moments="fresh")
        config = TrainConfig(**given(options, TrainConfig), **own)
        _warn_of_other_prompts(config)
        adapt = _adaptation(options.adaptation_steps, config)
        _check_before(options, config)
        _score(options, config, adapt)


def _warn_of_other_prompts(config) -> None:
    """Say where a model that `train` wrote is asked in another form than in training.

    That may be meant, as with fewer demonstrations, and is no error.
    """
    from .prompts import Format

    form = ("demonstrations", *(field.name for field in fields(Format)))
    try:
        record = json.loads((Path(str(config.model)) / "record.json").read_text())
        trained = {name: record["config"].get(name) for name in form}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return  # not a folder of `train`, or damaged: `load_model` says so
    other = [
        f"--{name.replace('_', '-')} {value}"
        for name, value in trained.items()
        if value is not None and value != getattr(config, name)
    ]
    if other:
        warnings.warn(
            f"--model: trained with {listed(other)}, and asked otherwise", stacklevel=2
        )


def _score(options, config, adapt) -> None:
    from .evaluation import evaluate
    from .tasks import load_benchmark
    from .training.start import loaded

    seeds = options.demonstration_seeds
    where = [config.benchmark, config.setting]
    leaks = {"allow_missing": config.allow_missing, "faithful": config.faithful}
    benchmark = load_benchmark(*where, seeds=seeds, **leaks)
    quiet()
    model, tokenizer = loaded(config, config.device)
    with Bar(len(benchmark.test) * len(seeds)) as bar:
        record = evaluate(
            model,
            tokenizer,
            benchmark,
            k=config.demonstrations,
            seeds=seeds,
            max_records=options.max_records,
            instructions=options.instructions,
            pmi=options.pmi,
            random_labels=options.random_labels,
            adapt=adapt,
            progress=lambda task, _, score: bar.count(f"{task} {score:.1f}"),
            **vars(config.format),
        )
    read = _read(options.adaptation_steps, config)
    record["config"] = {name: plain(getattr(config, name)) for name in read}
    record |= _origin(benchmark, model)
    _report(record, options.output)


def _asked() -> Parser:
    """The options of `evaluate`."""
    from .training import TrainConfig
    from .training.config import CHOICES

    parser = Parser("evaluate", evaluate_command.__doc__)
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
        "--random-labels",
        action="store_true",
        help="demonstrations with answers drawn at random, a control",
    )
    parser.add_argument(
        "--adaptation-steps",
        type=int,
        default=0,
        help="gradient steps on a task's demonstrations, at inner_lr (0)",
    )
    add_fields(parser, TrainConfig, EVALUATED, CHOICES)
    return parser


def _check_before(options, config) -> None:
    """Refuse now what would be refused once all is loaded."""
    output = options.output
    _refuse_unread(options, config)
    check_integer("--demonstrations", config.demonstrations, most=SHOTS)
    if options.pmi and config.mode != "direct":
        raise ValueError(
            "--pmi: expected --mode direct, the only one it is defined for, found "
            f"{config.mode!r}"
        )
    if options.random_labels and not (
        config.demonstrations or options.adaptation_steps
    ):
        raise ValueError(
            "--random-labels: expected --demonstrations of at least 1, whose labels "
            "are drawn, found 0"
        )
    if options.max_records is not None:
        check_integer("--max-records", options.max_records, 1)
    if output is not None and os.path.lexists(check_file(output, "--output")):
        raise FileExistsError(f"--output: {output} is there already; name a new file")


def _read(steps: int, config) -> list[str]:
    """Fields of the configuration that an evaluation of so many steps reads."""
    from .optimizers.registry import fields_of

    unread = set(ADAPTING)
    if steps:
        name = config.inner_optimizer or config.optimizer
        used = "inner_optimizer" if config.inner_optimizer else "optimizer"
        unread -= {used, "inner_lr", *fields_of(name)}
    return [name for name in EVALUATED if name not in unread]


def _refuse_unread(options, config) -> None:
    """Refuse options that say nothing about this evaluation."""
    steps = options.adaptation_steps
    unread = given(options, set(ADAPTING) - set(_read(steps, config)))
    if unread:
        rule = config.inner_optimizer or config.optimizer
        why = "nothing without --adaptation-steps reads them"
        if steps:
            why = f"{rule!r}, which adapts, does not read them"
        flags = listed(f"--{name.replace('_', '-')}" for name in unread)
        raise ValueError(
            f"{flags}: expected options that this evaluation reads, found others: "
            f"{why}; leave them out"
        )


def _adaptation(steps: int, config):
    from .evaluation import Adaptation

    if not steps:
        return None
    return Adaptation(steps=steps, optimizer=config.make_inner_optimizer())


def _origin(benchmark, model) -> dict:
    """What was scored on what, as the record of a training says it."""
    from .models import source_of

    source = source_of(model)
    return {
        "model": {name: source[name] for name in ("name", "revision")},
        "weights": source["weights"],
        "targets": digest(repr(benchmark.test)),  # with the demonstrations
        "missing_tasks": list(benchmark.missing),
        "revision": benchmark.revision,  # of a hub source
        "checksums": dict(benchmark.checksums),
        "provenance": describe(model.device),
    }


def _report(record: dict, output: str | None) -> None:
    for name, row in record["tasks"].items():
        print(f"{row['mean']:6.2f}  {row['metric']:<9} {name}")
    if output is not None:
        _write_new(output, json.dumps(record, indent=1) + "\n")
    said = f"{output}: record of" if output is not None else "nothing written;"
    failed = f"; left out: {listed(record['failed'])}" if record["failed"] else ""
    lacking = record["missing_tasks"]
    missing = f"; missing: {listed(lacking)}" if lacking else ""
    form = f"{record['protocol']['mode']} mode, k = {record['protocol']['k']}"
    mean = f"{form}, mean {record['mean']:.2f} points"
    print(f"{said} {len(record['tasks'])} tasks, {mean}{failed}{missing}")


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
