"""Tokens and time of the evaluation on real target tasks: padded, trimmed, shared.

    python benchmarks/evaluation.py --data $METAICL_DATA --tokenizer $GPT2_BPE
    ... --tasks dream --whole dream --layers 1 --modes direct \
        --record results/evaluation-long-cpu.json

The first takes half an hour on two cores; the second has 2,040 examples of 1,024
tokens.

A model of GPT-2's shape (124M parameters, random weights), HR→LR, the demonstrations of
one seed, the first `--records` test examples of every target task, fewer where prompts
overflow.

    padded    one sequence per option, padded to 1,024 tokens, logits at every
              position (as MetaICL's code does)
    trimmed   one sequence per option, no padding, the output head at target
              positions only
    shared    this package: nothing that prompts have in common is computed twice

Tokens are exact counts of what was given to the model. The bound is T_share of protocol
8.2. A padded sequence costs the same whatever it holds, and a trimmed one what its
length costs: their times are those of `--sample` sequences of a task, spread over its
lengths, times the number of sequences. Interleaved task by task. Prints a table and a
PASS or FAIL line per bar.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import fmean, median

import torch
from measure import Memory
from report import at_least_one, machine, new_file, verdict
from torch.nn.functional import cross_entropy
from transformers import GPT2Config

from maml_en_llm import Format, PromptEncoder, load_benchmark, load_model, score_options
from maml_en_llm.prompts import collate
from maml_en_llm.provenance import write_whole

ROOT = Path(__file__).resolve().parents[1]
LENGTH = 1024
BARS = {
    "direct": 30,
    "channel": 15,
}  # times faster than padded, tasks that never overflow
ALL, TOKENS, MEMORY = 4, 1.1, 2 * 2**30


def main() -> None:
    """Measure every task in both modes, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="a folder of MetaICL-format task files"
    )
    parser.add_argument("--tokenizer", required=True, help="a folder with GPT-2's BPE")
    parser.add_argument(
        "--tasks",
        nargs="*",
        help="default: every target task of HR→LR that the folder has",
    )
    parser.add_argument("--modes", nargs="+", default=list(BARS), choices=BARS)
    parser.add_argument("--records", type=at_least_one, default=64)
    parser.add_argument(
        "--overflowing",
        type=at_least_one,
        default=4,
        help="examples of a task with cut prompts",
    )
    parser.add_argument(
        "--sample",
        type=at_least_one,
        default=2,
        help="sequences a task by which padded and trimmed are timed",
    )
    parser.add_argument(
        "--whole",
        default="hate_speech18",
        help="a task of which all records are scored once more, for the memory",
    )
    parser.add_argument(
        "--layers", type=at_least_one, default=12, help="of the model; GPT-2 has 12"
    )
    parser.add_argument(
        "--record", type=new_file, default=ROOT / "results/evaluation-cpu.json"
    )
    options = parser.parse_args()
    model, tokenizer = load_model(
        GPT2Config(n_layer=options.layers),
        tokenizer=options.tokenizer,
        attention="sdpa",
    )
    bench = load_benchmark(
        options.data, "hr_to_lr", seeds=[100], tasks=options.tasks, allow_missing=True
    )
    rows = []
    for task in bench.test:
        for mode in options.modes:
            rows.append(measure(model, tokenizer, task, mode, options))
            print(
                {
                    k: round(v, 3) if isinstance(v, float) else v
                    for k, v in rows[-1].items()
                },
                flush=True,
            )
    if options.whole in {task.name for task in bench.test}:
        options.records = options.overflowing = None
        task = next(task for task in bench.test if task.name == options.whole)
        rows += [
            measure(model, tokenizer, task, mode, options) | dict(whole=True)
            for mode in options.modes
        ]
    lines = verdicts(rows)
    print(*lines, sep="\n")
    record = dict(machine=machine("cpu"), rows=rows, bars=lines)
    write_whole(options.record, json.dumps(record, indent=1) + "\n")


def measure(model, tokenizer, task, mode: str, options) -> dict:
    """Tokens and seconds of the three ways on one task's first examples."""
    encoder, shown = PromptEncoder(tokenizer, Format(mode=mode)), task.few_shot(100, 16)
    prefix = encoder.demonstrations(shown)
    cut = {
        any(p.ids[: len(prefix)] != prefix for p in encoder.query_prompts(shown, q))
        for q in task.test
    }
    queries = task.test[: options.overflowing if True in cut else options.records]
    groups = [encoder.query_prompts(shown, query) for query in queries]
    prompts = sorted((p for group in groups for p in group), key=lambda p: len(p.ids))
    spread = [
        prompts[(2 * i + 1) * len(prompts) // (2 * options.sample)]
        for i in range(options.sample)
    ]
    counter, memory = Counter(model), Memory("cpu")
    with memory, counter:
        start = time.perf_counter()
        score_options(model, tokenizer, shown, queries, mode=mode)
        shared = time.perf_counter() - start
    times = {
        way: fmean(seconds(run, model, prompt) for prompt in spread) * len(prompts)
        for way, run in (("padded", padded), ("trimmed", trimmed))
    }
    return dict(
        task=task.name,
        mode=mode,
        all_records=len(task.test),
        records=len(queries),
        sequences=len(prompts),
        overflows=True in cut,
        tokens_padded=LENGTH * len(prompts),
        tokens_trimmed=sum(len(p.ids) for p in prompts),
        tokens_shared=counter.tokens,
        tokens_bound=bound(groups, prefix, mode),
        seconds_shared=shared,
        peak=memory.peak,
        **{f"seconds_{way}": found for way, found in times.items()},
    )


class Counter:
    """Counts the tokens of every call of a model."""

    def __init__(self, model):
        self.model, self.tokens = model, 0

    def __enter__(self):
        def count(_module, _args, inputs):
            self.tokens += inputs["input_ids"].numel()

        self.hook = self.model.register_forward_pre_hook(count, with_kwargs=True)

    def __exit__(self, *error):
        self.hook.remove()


def bound(groups, prefix: tuple[int, ...], mode: str) -> int:
    """T_share of protocol 8.2: the prefix once where nothing is cut.

    Otherwise only options of equal length share.
    """
    total, used = 0, False
    for group in groups:
        whole = all(p.ids[: len(prefix)] == prefix for p in group)
        used |= whole
        if mode == "channel":
            total += sum(len(p.ids) - whole * len(prefix) for p in group)
            continue
        contexts = {p.ids[: -p.n_target] for p in group}
        total += sum(len(context) - whole * len(prefix) for context in contexts) + sum(
            p.n_target for p in group
        )
    return total + used * len(prefix)


def seconds(run, model, prompt) -> float:
    """Time of one sequence."""
    start = time.perf_counter()
    with torch.inference_mode():
        run(model, prompt)
    return time.perf_counter() - start


def padded(model, prompt) -> float:
    """As MetaICL's code: all 1,024 positions through the head, then the mask."""
    ids = torch.zeros(1, LENGTH, dtype=torch.long)
    mask = torch.zeros(1, LENGTH, dtype=torch.long)
    ids[0, : len(prompt.ids)], mask[0, : len(prompt.ids)] = torch.tensor(prompt.ids), 1
    logits = model(input_ids=ids, attention_mask=mask).logits[0, :-1]
    nll = cross_entropy(logits, ids[0, 1:], reduction="none")
    return (
        nll[len(prompt.ids) - prompt.n_target - 1 : len(prompt.ids) - 1].mean().item()
    )


def trimmed(model, prompt) -> float:
    """The real tokens, and the head at target positions."""
    batch = collate([prompt])
    kept = torch.arange(len(prompt.ids) - prompt.n_target - 1, len(prompt.ids) - 1)
    logits = model(
        input_ids=batch.input_ids, use_cache=False, logits_to_keep=kept
    ).logits[0]
    return cross_entropy(logits, batch.input_ids[0, kept + 1]).item()


def verdicts(rows: list[dict]) -> list[str]:
    """PASS or FAIL for every bar; times are scaled to all examples of each task."""
    lines = []
    for mode, bar in BARS.items():
        here = [row for row in rows if row["mode"] == mode and "whole" not in row]
        if not here:
            continue
        fitting = [row for row in here if not row["overflows"]]
        lines += [
            verdict(
                f"{mode}, tokens over the bound",
                _total(here, "tokens_shared") / _total(here, "tokens_bound"),
                TOKENS,
                most=True,
            ),
            verdict(
                f"{mode}, times faster than padded, tasks that never overflow",
                _speed(fitting),
                bar,
            ),
            verdict(f"{mode}, times faster than padded, all tasks", _speed(here), ALL),
            verdict(
                f"{mode}, times faster than trimmed, all tasks",
                _speed(here, "trimmed"),
                None,
            ),
        ]
    whole = [
        f"{row['records']} records of {row['task']}" for row in rows if "whole" in row
    ][:1]
    each = [row["seconds_padded"] / row["sequences"] for row in rows]
    return [
        *lines,
        verdict(
            "peak memory above the model, GiB, all tasks"
            f"{' and ' + whole[0] if whole else ''}",
            max(row["peak"] for row in rows) / 2**30,
            MEMORY / 2**30,
            most=True,
        ),
        f"padded: {median(each):.2f} s per sequence",
    ]


def _total(rows, what: str) -> float:
    """Sum over tasks, each scaled to all its records."""
    return sum(row[what] * row["all_records"] / row["records"] for row in rows)


def _speed(rows, way: str = "padded") -> float | None:
    return (
        _total(rows, f"seconds_{way}") / _total(rows, "seconds_shared")
        if rows
        else None
    )


if __name__ == "__main__":
    main()
