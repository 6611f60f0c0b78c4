"""Command line:  python -m maml_en_llm {tasks,pretrain} …  (``--help`` after either lists its options)."""

import argparse
import sys

from tqdm import tqdm
from transformers import HfArgumentParser

from .families import DIFFICULTIES
from .minicrossfit import write_benchmark
from .pretrain import PretrainConfig, pretrain


def tasks(arguments: list[str]) -> None:
    """Write MiniCrossFit into a new folder and print its digest."""
    parser = argparse.ArgumentParser(prog="python -m maml_en_llm tasks", description=tasks.__doc__)
    parser.add_argument("--out", required=True, help="the folder to make")
    parser.add_argument("--difficulty", default="normal", choices=DIFFICULTIES)
    options = parser.parse_args(arguments)
    print(f"{options.out}: sha256 {write_benchmark(options.out, options.difficulty)}")


def pretraining(arguments: list[str]) -> None:
    """Pre-train a base model; an interrupted run goes on when the same command is given again."""
    parser = HfArgumentParser(PretrainConfig, prog="python -m maml_en_llm pretrain", description=pretraining.__doc__)
    parser.add_argument("--out", required=True, help="folder for checkpoint, model, tokenizer and record.json")
    config, options = parser.parse_args_into_dataclasses(arguments)
    with tqdm(total=config.steps, mininterval=10) as bar:
        def progress(step, loss):
            bar.update(step + 1 - bar.n)
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)

        record = pretrain(config, options.out, progress=progress)
    print(f"{options.out}: {record['parameters']} parameters, weights sha256 {record['weights']}, {record['probes'][-1]}")


COMMANDS = {"tasks": tasks, "pretrain": pretraining}


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
