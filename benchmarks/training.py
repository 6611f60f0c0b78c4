"""Throughput of MetaICL's meta-training on real tasks, padded and by this package.

    METAICL_DATA=… GPT2_BPE=…                         # ten minutes on two cores
    python benchmarks/training.py --data $METAICL_DATA --tokenizer $GPT2_BPE

A model of GPT-2's shape (124M parameters, random weights, float32, "sdpa" attention,
fused GELU, no dropout: the same model for every way), the meta-training tasks of HR→LR
that are at hand, meta-batches of 8 prompts (16 demonstrations and a query; tasks in
proportion to their records), one gradient of each by every way in turn.

    padded    every prompt padded to 1,024 tokens, logits and cross-entropy at every
              position, then the mask (protocol 8.1)
    trimmed   no padding, logits at every position
    single    no padding, the output head at target positions only
    ours      this package: `single` with prompts of about the same length run together

The first three run one prompt at a time and add up gradients: the logits of 8 padded
prompts would be 1.6 GB, several times over (MetaICL's own batch of 8 is one prompt on
each of 8 GPUs). `padded` gets token ids for nothing, as MetaICL tokenises before
training; drawing and tokenising are counted in `ours`. The optimizer's step, the same
for all, is timed apart. `trimmed` and `single`, which tell what the gain is made of,
run on the first `--parts` meta-batches. The ceiling is the ratio of the FLOPs of
protocol 8.2 for these prompts. Prints a row per meta-batch and a PASS or FAIL line per
bar, and stores both as JSON.
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path
from statistics import fmean, median

from evaluation import Counter
from report import at_least_one, distance, machine, new_file, verdict
from torch.nn.functional import cross_entropy, pad
from transformers import GPT2Config

from maml_en_llm import (
    Adam,
    MetaICL,
    PromptLoss,
    TrainConfig,
    load_benchmark,
    load_model,
    parameters,
)
from maml_en_llm.provenance import write_whole
from maml_en_llm.training.config import TOKENS_AT_ONCE

ROOT = Path(__file__).resolve().parents[1]
LENGTH = 1024
BAR = 1.8  # times the padded reference's throughput
SAME = 1e-4  # relative difference of two gradients, float32


def main() -> None:
    """Check that all ways agree, measure every meta-batch, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="a folder of MetaICL-format task files"
    )
    parser.add_argument("--tokenizer", required=True, help="a folder with GPT-2's BPE")
    parser.add_argument("--steps", type=at_least_one, default=6, help="meta-batches")
    parser.add_argument(
        "--parts",
        type=int,
        default=2,
        help="meta-batches on which the ways in between are timed too",
    )
    parser.add_argument("--prompts", type=at_least_one, default=8, help="a meta-batch")
    parser.add_argument("--seed", type=int, default=1, help="of the meta-batches")
    parser.add_argument(
        "--record", type=new_file, default=ROOT / "results/training-cpu.json"
    )
    options = parser.parse_args()
    model, tokenizer = load_model(
        GPT2Config(), tokenizer=options.tokenizer, attention="sdpa"
    )
    tasks = load_benchmark(
        options.data, "hr_to_lr", seeds=[100], allow_missing=True
    ).train

    def sampler(prompts: int, seed: int):
        return TrainConfig(
            method="metaicl", tasks_per_step=prompts, seed=seed
        ).make_sampler(tasks, tokenizer)

    check = measure(model, sampler(2, options.seed + 1), 0, WAYS)  # warms up, too
    print(
        "before timing, relative difference from the padded gradient:",
        check["differences"],
        flush=True,
    )
    if max(check["differences"].values()) > SAME:
        raise SystemExit("the ways compute different gradients")
    source, rows = sampler(options.prompts, options.seed), []
    for step in range(options.steps):
        rows.append(
            measure(
                model,
                source,
                step,
                WAYS if step < options.parts else ("padded", "ours"),
            )
        )
        shown = ", ".join(
            f"{took:.1f} s {way}" for way, took in rows[-1]["seconds"].items()
        )
        print(
            f"{sum(rows[-1]['lengths'])} tokens in {options.prompts} prompts: {shown}",
            flush=True,
        )
    lines, update = (
        verdicts(rows, model.config),
        seconds(step_of_adam, parameters(model))[0],
    )
    lines.append(f"Adam's step, left out of all figures: {update:.2f} s a meta-batch")
    print(*lines, sep="\n")
    record = dict(
        machine=machine("cpu"),
        tasks=len(tasks),
        check=check,
        rows=rows,
        update=update,
        bars=lines,
    )
    write_whole(options.record, json.dumps(record, indent=1) + "\n")


def measure(model, sampler, step: int, ways) -> dict:
    """Seconds and tokens of one meta-batch by every way; how far gradients differ."""
    draw, episodes = seconds(sampler.sample, step)
    times, tokens, differences, expected = {}, {}, {}, None
    for way in ways:
        counter = Counter(model)
        with counter:
            times[way], grads = seconds(WAYS[way], model, episodes)
        tokens[way], expected = counter.tokens, expected or grads
        differences[way] = distance(grads, expected)
    return dict(
        lengths=[e.query.n_tokens for e in episodes],
        targets=[int(e.query.loss_mask.sum()) for e in episodes],
        tokens=tokens,
        seconds=times,
        draw=draw,
        differences=differences,
    )


def seconds(run, *inputs) -> tuple[float, object]:
    """Time of a call, and its result."""
    start = time.perf_counter()
    result = run(*inputs)
    return time.perf_counter() - start, result


def everywhere(model, episodes, least: int) -> dict:
    """As MetaICL's code: all of at least ``least`` positions, then the mask.

    The mean over prompts.
    """
    model.zero_grad()
    for episode in episodes:
        missing = max(0, least - episode.query.input_ids.shape[1])
        ids, mask, target = (
            pad(part, (0, missing)) for part in vars(episode.query).values()
        )
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[
            0, :-1
        ]
        nll = cross_entropy(logits, ids[0, 1:], reduction="none") * target[0, 1:]
        (nll.sum() / target.sum() / len(episodes)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def package(model, episodes, tokens: int) -> dict:
    """This package, with ``tokens`` at once; `train` has `TOKENS_AT_ONCE`."""
    return (
        MetaICL(tokens_at_once=tokens)
        .gradient(PromptLoss(model), parameters(model), episodes, ())
        .grads
    )


WAYS = dict(
    padded=partial(everywhere, least=LENGTH),
    trimmed=partial(everywhere, least=0),
    single=partial(package, tokens=0),
    ours=partial(package, tokens=TOKENS_AT_ONCE),
)


def step_of_adam(params) -> None:
    """One step of the outer optimizer; what the gradients are changes no time."""
    optimizer = Adam(1e-5)
    optimizer.update(params, optimizer.init(params), params)


def flops(config, length: int, head: int) -> int:
    """Of one forward pass of ``length`` tokens with ``head`` positions of logits.

    Protocol 8.2; a gradient takes three.
    """
    n, d = config.n_layer, config.n_embd
    return (
        24 * length * n * d**2
        + 4 * n * length**2 * d
        + 2 * head * d * config.vocab_size
    )


def verdicts(rows: list[dict], config) -> list[str]:
    """Prompts per second relative to padded, what they are made of, with the bars."""
    prompts = [
        (n, t)
        for row in rows
        for n, t in zip(row["lengths"], row["targets"], strict=True)
    ]
    ceiling = (
        len(prompts)
        * flops(config, LENGTH, LENGTH)
        / sum(flops(config, n, t) for n, t in prompts)
    )
    total = _total(rows, "padded") / _total(rows, "ours")
    lines = [
        verdict("prompts a second, ours / padded, all meta-batches", total, BAR),
        verdict(
            "the same, median over meta-batches",
            median(_total([r], "padded") / _total([r], "ours") for r in rows),
            BAR,
        ),
        verdict(
            "relative difference of the gradients",
            max(row["differences"]["ours"] for row in rows),
            SAME,
            most=True,
        ),
        f"ceiling by FLOPs of these prompts: {ceiling:.3g}, of which reached: "
        f"{total / ceiling:.0%}",
        f"tokens: {sum(n for n, _ in prompts)} real, "
        + ", ".join(
            f"{sum(row['tokens'][way] for row in rows)} {way}"
            for way in ("padded", "ours")
        ),
        f"mean prompt: {fmean(n for n, _ in prompts):.0f} tokens, "
        f"{fmean(t for _, t in prompts):.1f} of them targets",
        "seconds a prompt: "
        + ", ".join(
            f"{_total(rows, way) / len(prompts):.2f} {way}"
            for way in ("padded", "ours")
        )
        + f", of which drawing {sum(row['draw'] for row in rows) / len(prompts):.4f}",
    ]
    both = [row for row in rows if len(row["seconds"]) == len(WAYS)]
    steps = (
        zip(
            ("no padding", "head at targets", "together"),
            WAYS,
            list(WAYS)[1:],
            strict=False,
        )
        if both
        else ()
    )
    return lines + [
        f"{what}, {a} / {b}: {_total(both, a) / _total(both, b):.3g}"
        for what, a, b in steps
    ]


def _total(rows, way: str) -> float:
    """Seconds; drawing is counted where the package does it."""
    return sum(
        row["seconds"][way] + (row["draw"] if way == "ours" else 0) for row in rows
    )


if __name__ == "__main__":
    main()
