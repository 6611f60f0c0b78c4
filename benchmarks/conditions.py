"""Is the paper's question alive on MiniCrossFit with tiny-base?

    python benchmarks/conditions.py            # about ten minutes on two cores

Measures what has to hold before methods are compared. HR→LR, direct, mean over targets,
three training seeds: zero-shot, raw in-context, MetaICL at the `cpu` preset, MetaICL
after 4 gradient steps on the demonstrations (at the rate that is best on meta-training
tasks), MAML-en-LLM at the same preset, and the oracle. Prints a line per condition and
stores all scores in results/conditions-cpu.json.
"""

import argparse
import json
import time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from report import machine, verdict

from maml_en_llm import (
    Adam,
    Adaptation,
    evaluate,
    load_benchmark,
    load_model,
    meta_train,
)
from maml_en_llm.evaluation import choose_rate, oracle
from maml_en_llm.runs import resolve

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Train, evaluate, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--difficulty", default="normal")
    parser.add_argument(
        "--records",
        type=int,
        default=64,
        help="test records a target and demonstration seed",
    )
    parser.add_argument(
        "--maml", type=int, default=1, help="seeds for which MAML-en-LLM is trained too"
    )
    parser.add_argument(
        "--record", type=Path, default=ROOT / "results/conditions-cpu.json"
    )
    options = parser.parse_args()
    source = f"minicrossfit:{options.difficulty}"
    preset = resolve("cpu", benchmark=source, test_records=options.records)
    config = preset.train_config()
    how = preset.evaluation()
    rule = {name: how[name] for name in ("seeds", "max_records")}
    bench = load_benchmark(source, config.setting, seeds=how["seeds"])
    model, words = load_model(preset.model)
    found = {
        "zero-shot": [score(evaluate(model, words, bench, **how | {"k": 0}))],
        "raw in-context": [score(evaluate(model, words, bench, **how))],
        "oracle": [score(oracle(bench, **rule))],
    }
    report(found)
    for seed in range(1, options.seeds + 1):
        trained, seconds = run(
            model,
            words,
            bench,
            replace(
                config,
                method="metaicl",
                seed=seed,
                tasks_per_step=config.tasks_per_step * config.inner_steps,
            ),
        )
        add(
            found,
            "MetaICL",
            score(evaluate(trained, words, bench, **how)) | dict(seconds=seconds),
        )
        rate = choose_rate(
            trained,
            words,
            bench.train,
            steps=preset.adaptation,
            seed=seed,
            max_length=preset.tokens,
        )
        adapt = Adaptation(steps=preset.adaptation, optimizer=Adam(rate))
        add(
            found,
            "MetaICL, adapted",
            score(evaluate(trained, words, bench, adapt=adapt, **how))
            | dict(rate=rate),
        )
        if seed <= options.maml:
            trained, seconds = run(
                model, words, bench, replace(config, method="maml-en-llm", seed=seed)
            )
            add(
                found,
                "MAML-en-LLM",
                score(evaluate(trained, words, bench, **how)) | dict(seconds=seconds),
            )
            add(
                found,
                "MAML-en-LLM, adapted",
                score(evaluate(trained, words, bench, adapt=adapt, **how)),
            )
        report(found)
    lines = verdicts(
        {
            name: {
                key: fmean(row[key] for row in rows)
                for key in rows[0]
                if key != "tasks"
            }
            for name, rows in found.items()
        }
    )
    print(*lines, sep="\n")
    options.record.write_text(
        json.dumps(
            dict(machine=machine("cpu"), scores=found, conditions=lines), indent=1
        )
        + "\n"
    )


def run(model, words, bench, config):
    """A trained copy of the model, and the seconds it took."""
    trained, start = deepcopy(model), time.perf_counter()
    meta_train(trained, words, bench.train, config)
    return trained, time.perf_counter() - start


def score(record: dict) -> dict:
    """Means over all, over seen-domain and over unseen-domain targets, in points."""
    rows = record["tasks"].values()
    return dict(
        all=record["mean"],
        seen=fmean(r["mean"] for r in rows if not r["unseen"]),
        unseen=record["unseen_mean"],
        tasks={name: r["mean"] for name, r in record["tasks"].items()},
    )


def add(found: dict, name: str, row: dict) -> None:
    """One more seed of a method."""
    found.setdefault(name, []).append(row)


def report(found: dict) -> None:
    """The last row of each method."""
    for name, rows in found.items():
        print(
            f"{name:22}",
            {
                k: round(v, 5 if k == "rate" else 1)
                for k, v in rows[-1].items()
                if k != "tasks"
            },
            flush=True,
        )
    print(flush=True)


def verdicts(mean: dict) -> list[str]:
    """PASS or FAIL for every condition, with the figure."""
    zero, raw, meta, adapted = (
        mean[n] for n in ("zero-shot", "raw in-context", "MetaICL", "MetaICL, adapted")
    )
    lines = [
        verdict("raw in-context over zero-shot, points", raw["all"] - zero["all"], 5),
        verdict("MetaICL over raw in-context, points", meta["all"] - raw["all"], 10),
        verdict("MetaICL, points", meta["all"], 90, most=True),
        verdict("oracle over MetaICL, points", mean["oracle"]["all"] - meta["all"], 0),
        verdict(
            "seen over unseen domains, MetaICL, points",
            meta["seen"] - meta["unseen"],
            5,
        ),
        verdict(
            "what 4 steps of adaptation move, points",
            abs(adapted["all"] - meta["all"]),
            3,
        ),
        verdict("meta-training by MetaICL, s", meta["seconds"], 30, most=True),
    ]
    if "MAML-en-LLM" in mean:
        lines.append(
            verdict(
                "meta-training by MAML-en-LLM, s",
                mean["MAML-en-LLM"]["seconds"],
                180,
                most=True,
            )
        )
    return lines


if __name__ == "__main__":
    main()
