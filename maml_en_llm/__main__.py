"""Command line:  python -m maml_en_llm {tasks,pretrain,reproduce} …  (``--help`` after either lists its options)."""

import argparse
import json
import platform
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import HfArgumentParser

from maml_en_llm.errors import check_choice
from maml_en_llm.minicrossfit import DIFFICULTIES
from maml_en_llm.evaluation.metrics import predict
from maml_en_llm.minicrossfit import write_benchmark
from maml_en_llm.runs import get_preset
from maml_en_llm.base import PretrainConfig
from maml_en_llm.base import pretrain
from maml_en_llm.prompts import MODES
from maml_en_llm.runs import baselines
from maml_en_llm.runs import reproduce
from maml_en_llm import score_options
from maml_en_llm.protocol import SEEDS
from maml_en_llm import load_benchmark
from maml_en_llm.tasks import load_settings as settings
from maml_en_llm import TrainConfig

PROBED = ["topic-market", "colour-travel", "size-sea", "state-food", "action-sport"]


def tasks(arguments: list[str]) -> None:
    """Write MiniCrossFit into a new folder and print its digest."""
    parser = argparse.ArgumentParser(
        prog="python -m maml_en_llm tasks", description=tasks.__doc__
    )
    parser.add_argument("--out", required=True, help="the folder to make")
    parser.add_argument("--difficulty", default="normal", choices=DIFFICULTIES)
    options = parser.parse_args(arguments)
    print(f"{options.out}: sha256 {write_benchmark(options.out, options.difficulty)}")


def pretraining(arguments: list[str]) -> None:
    """Pre-train a base model; an interrupted run goes on when the same command is given again."""
    parser = HfArgumentParser(
        PretrainConfig,
        prog="python -m maml_en_llm pretrain",
        description=pretraining.__doc__,
    )
    parser.add_argument(
        "--out",
        required=True,
        help="folder for checkpoint, model, tokenizer and record.json",
    )
    config, options = parser.parse_args_into_dataclasses(arguments)
    with tqdm(total=config.steps, mininterval=10) as bar:

        def progress(step, loss):
            bar.update(step + 1 - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        record = pretrain(config, options.out, probe=in_context, progress=progress)
    print(
        f"{options.out}: {record['parameters']} parameters, weights sha256 {record['weights']}, {record['probes'][-1]}"
    )


def in_context(model, tokenizer) -> dict[str, float]:
    """Share of right answers, with 0, 4, 8 and 16 demonstrations, on five two-label tasks of MiniCrossFit's easiest kind."""
    benchmark = load_benchmark(
        "minicrossfit:easy", "class_to_class", seeds=SEEDS[:2], tasks=PROBED
    )
    found = {}
    for k in (0, 4, 8, 16):
        hits = []
        for task in benchmark.test:
            for seed in SEEDS[:2]:
                queries = task.test[:32]
                scores = score_options(
                    model, tokenizer, task.few_shot(seed, k), queries, max_length=512
                )
                hits += [
                    query.options[predict(row)] == query.output
                    for query, row in zip(queries, scores)
                ]
        found[f"in context, {k}"] = sum(hits) / len(hits)
    return found


def reproduction(arguments: list[str]) -> None:
    """Compute the table of chapter 4: all methods at an equal budget. An interrupted run goes on from its log."""
    parser = argparse.ArgumentParser(
        prog="python -m maml_en_llm reproduce", description=reproduction.__doc__
    )
    parser.add_argument("--benchmark", default="minicrossfit")
    parser.add_argument(
        "--settings", nargs="+", help="default: all that the benchmark has"
    )
    parser.add_argument("--modes", nargs="+", default=MODES, choices=MODES)
    parser.add_argument(
        "--seeds", nargs="+", type=int, default=[1, 2, 3], help="of the training"
    )
    parser.add_argument(
        "--close",
        nargs="+",
        default=["hr_to_lr"],
        help="settings with all seeds; others have the first",
    )
    parser.add_argument("--steps", type=int, default=160, help="outer steps")
    parser.add_argument(
        "--records",
        type=int,
        default=32,
        help="test records a target task and demonstration seed",
    )
    parser.add_argument("--log", default="_build/baselines.jsonl")
    parser.add_argument("--out", default="results/baselines.json")
    options = parser.parse_args(arguments)
    for name in options.close:
        check_choice("--close", name, settings(options.benchmark))
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    preset = get_preset("cpu")
    base = TrainConfig(
        benchmark=options.benchmark,
        model=preset.model,
        steps=options.steps,
        lr=preset.lr,
        inner_lr=preset.lr / 5,
        sampling="uniform",
        max_length=preset.tokens,
    )
    runs = [
        run
        for name in options.settings or settings(options.benchmark)
        for run in baselines(
            replace(base, setting=name),
            modes=options.modes,
            seeds=options.seeds if name in options.close else options.seeds[:1],
            demonstration_seeds=SEEDS[: preset.eval_seeds],
            max_records=options.records,
        )
    ]
    with tqdm(total=len(runs), mininterval=10) as bar:
        rows = reproduce(runs, options.log, progress=lambda row: bar.update())
    about = dict(
        device="cpu",
        cores=torch.get_num_threads(),
        python=platform.python_version(),
        torch=torch.__version__,
        date=date.today().isoformat(),
        command=" ".join(["python -m maml_en_llm reproduce", *arguments]),
    )
    Path(options.out).write_text(
        json.dumps(
            dict(
                machine=about,
                sizes=dict(
                    steps=options.steps,
                    records=options.records,
                    demonstration_seeds=preset.eval_seeds,
                ),
                rows=rows,
            )
        )
        + "\n",
        encoding="utf-8",
    )


COMMANDS = {"tasks": tasks, "pretrain": pretraining, "reproduce": reproduction}


def main() -> None:
    """Run the command named first."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name not in COMMANDS:
        print(__doc__, file=sys.stderr if name not in ("-h", "--help") else sys.stdout)
        sys.exit(0 if name in ("-h", "--help") else 2)
    try:
        COMMANDS[name](arguments)
    except (ValueError, FileExistsError) as error:
        sys.exit(f"{name}: {error}")


if __name__ == "__main__":
    main()
