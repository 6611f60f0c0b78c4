"""Did meta-training make inner steps useful? A record for the figure of chapter 7.

    python benchmarks/inner_step.py --models base=mini-base MetaICL=runs/metaicl \
        MAML-en-LLM=runs/maml --record results/inner-step-cpu.json

Query loss of held tasks (meta-training tasks, new examples) at θ and after one step on
1, 4, 8 and 16 support prompts, by rate and moments, for each model. A model is a name
or a folder that `train` has made. Prints the best change per model, support and
moments, with twice its standard error over tasks.
"""

import argparse
import json
import time

from report import at_least_one, new_file

from maml_en_llm import load_model
from maml_en_llm.evaluation import held_set
from maml_en_llm.evaluation.inner_step import (
    STEP_QUERIES,
    STEP_RATES,
    SUPPORTS,
    WARMTH,
    StepOptions,
    inner_steps,
)
from maml_en_llm.plots import change_by_step
from maml_en_llm.provenance import describe, write_whole


def main() -> None:
    """Measure every model, print, store."""
    options = arguments()
    tasks = held_set(options.benchmark, options.setting, per_family=options.per_family)
    tasks = tasks[:: max(1, len(tasks) // options.tasks)][: options.tasks]
    some = StepOptions(
        supports=options.supports,
        rates=options.rates,
        moments=options.moments,
        queries=options.queries,
    )
    models, began = {}, time.perf_counter()
    for given in options.models:
        name, _, source = given.rpartition("=")
        model, tokenizer = load_model(source, device=options.device)
        found = inner_steps(
            model,
            tokenizer,
            tasks,
            options=some,
            mode=options.mode,
            max_length=options.max_length,
        )
        models[name or source] = found
        tell(name or source, found)
    record = {
        "benchmark": options.benchmark,
        "setting": options.setting,
        "mode": options.mode,
        "models": models,
        **describe(options.device, time.perf_counter() - began),
    }
    write_whole(options.record, json.dumps(record) + "\n")


def tell(name: str, found: dict) -> None:
    """The best rate of every support size and moments."""
    means, errors = change_by_step(found)
    for w, moments in enumerate(found["moments"]):
        for s, support in enumerate(found["supports"]):
            r = int(means[w, s].argmin())
            print(
                f"{name:14} {moments:7} {support:3} prompts: {means[w, s, r]:+.3f} ± "
                f"{errors[w, s, r]:.3f} nats at rate {found['rates'][r]:g}",
                flush=True,
            )


def arguments() -> argparse.Namespace:
    """What is measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", required=True, help="NAME=FOLDER")
    parser.add_argument("--record", type=new_file, required=True)
    parser.add_argument("--benchmark", default="minicrossfit")
    parser.add_argument("--setting", default="hr_to_lr")
    parser.add_argument("--mode", default="direct")
    parser.add_argument("--max-length", type=int, default=512, help="tokens")
    parser.add_argument("--per-family", type=int, default=2, help="tasks of a family")
    parser.add_argument("--tasks", type=at_least_one, default=24, help="at most")
    parser.add_argument("--supports", type=int, nargs="+", default=list(SUPPORTS))
    parser.add_argument("--rates", type=float, nargs="+", default=list(STEP_RATES))
    parser.add_argument("--moments", nargs="+", default=list(WARMTH), choices=WARMTH)
    parser.add_argument("--queries", type=int, default=STEP_QUERIES, help="of a task")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


if __name__ == "__main__":
    main()
