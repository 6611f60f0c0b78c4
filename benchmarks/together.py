"""Are n inner loops faster run together or one after the other?

The rule of `PromptLoss.faster_together` comes from this table.

    python benchmarks/together.py            # ten minutes

For models from 2 × 64 to 4 × 256, one MAML-en-LLM gradient of n = 4 tasks, k = 2 steps
of Adam, by both ways, interleaved, median of the repeats, and the difference of the two
gradients in float32, beside the error of the one by one against float64: neither way
can be expected to be nearer to the other than to the truth. Prints a Markdown table and
a PASS or FAIL line per bar, and stores them as JSON.
"""

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch
from measure import RATES
from report import at_least_one, distance, machine, new_file, verdict
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from maml_en_llm import Adam, Episode, MAMLenLLM, PromptLoss, parameters
from maml_en_llm.models.loss import TOGETHER
from maml_en_llm.prompts import Prompt, collate
from maml_en_llm.provenance import write_whole

ROOT = Path(__file__).resolve().parents[1]
WORDS, TASKS, STEPS, TARGET = 400, 4, 2, 2
GRID = [
    (family, layers, width, prompts, length)
    for family in ("gpt2", "llama")
    for layers, width in ((2, 64), (2, 128), (4, 256))
    for prompts in (1, 4)
    for length in (32, 128, 512)
    if prompts * length * width <= 4 * TOGETHER
]  # beyond that there is no question
# Relative difference of the two ways, or twice what rounding does to either of them, if
# that is more.
SAME = 1e-6


def build(family: str, layers: int, width: int, attention: str):
    """A random model of ``WORDS`` words."""
    heads = width // 32
    if family == "gpt2":
        config = GPT2Config(
            vocab_size=WORDS,
            n_layer=layers,
            n_embd=width,
            n_head=heads,
            bos_token_id=0,
            eos_token_id=0,
        )
    else:
        config = LlamaConfig(
            vocab_size=WORDS,
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=heads,
            intermediate_size=2 * width,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        config, attn_implementation=attention
    ).eval()


def draw_episodes(prompts: int, length: int) -> list[Episode]:
    """Random tasks of ``STEPS`` support batches and a query batch."""
    source = torch.Generator().manual_seed(1)

    def batch():
        ids = torch.randint(WORDS, (prompts, length), generator=source).tolist()
        return collate([Prompt(tuple(row), TARGET) for row in ids])

    return [
        Episode(str(i), tuple(batch() for _ in range(STEPS)), batch())
        for i in range(TASKS)
    ]


def measure(
    family: str, layers: int, width: int, prompts: int, length: int, repeats: int
) -> dict:
    """Seconds of one gradient, and relative differences.

    Together, one by one with the same attention, and with the default attention.
    """
    episodes, found, times = draw_episodes(prompts, length), {}, {}
    ways = {
        "together": (True, "eager"),
        "eager": (False, "eager"),
        "twice": (False, "twice"),
    }
    models = {
        way: build(family, layers, width, attention)
        for way, (_, attention) in ways.items()
    }
    for _ in range(repeats + 1):  # the first warms up
        for way, (together, _) in ways.items():
            start = time.perf_counter()
            found[way] = gradient(models[way], episodes, together)
            times.setdefault(way, []).append(time.perf_counter() - start)
    exact = gradient(models["eager"].double(), episodes, together=False)
    row = dict(
        family=family, layers=layers, width=width, prompts=prompts, length=length
    )
    return (
        row
        | {way: median(t[1:]) for way, t in times.items()}
        | dict(
            difference=distance(found["together"], found["eager"]),
            rounding=distance(found["eager"], exact),
        )
    )


def gradient(model, episodes, together: bool):
    """MAML-en-LLM's gradient of one meta-batch, from Adam's fresh moments."""
    method = MAMLenLLM(
        inner=Adam(RATES["Adam"]), inner_steps=STEPS, moments="fresh", together=together
    )
    return method.gradient(PromptLoss(model), parameters(model), episodes, None).grads


def verdicts(rows) -> list[str]:
    """PASS or FAIL for the rule, in what it chooses and leaves, and for the numbers."""
    small = [
        row for row in rows if row["prompts"] * row["length"] * row["width"] <= TOGETHER
    ]
    ratios = [
        [row["together"] / row["twice"] for row in some]
        for some in (small, [r for r in rows if r not in small])
    ]
    worst = max(
        rows, key=lambda row: row["difference"] / max(SAME, 2 * row["rounding"])
    )
    return [
        verdict(
            f"together / one by one, up to {TOGETHER} numbers, median",
            median(ratios[0]),
            1,
            most=True,
        ),
        verdict("the same, worst", max(ratios[0]), None),
        verdict("together / one by one, beyond, median", median(ratios[1]), 1),
        verdict("the same, best", min(ratios[1]), None),
        verdict(
            "difference, worst, where one by one is "
            f"{worst['rounding']:.1e} off float64",
            worst["difference"],
            max(SAME, 2 * worst["rounding"]),
            most=True,
        ),
    ]


def main() -> None:
    """Measure the grid, print it, store it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=at_least_one, default=5)
    parser.add_argument(
        "--record", type=new_file, default=ROOT / "results/together-cpu.json"
    )
    options = parser.parse_args()
    print(
        "| family | layers × width | prompts × tokens | together / one by one | "
        "the same, attention twice | difference | rounding |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for case in GRID:
        row = measure(*case, options.repeats)
        rows.append(row)
        print(
            f"| {row['family']} | {row['layers']} × {row['width']} | "
            f"{row['prompts']} × {row['length']} | "
            f"{row['together'] / row['eager']:.2f} | "
            f"{row['together'] / row['twice']:.2f} | "
            f"{row['difference']:.0e} | {row['rounding']:.0e} |",
            flush=True,
        )
    lines = verdicts(rows)
    print(*lines, sep="\n")
    record = {"machine": machine("cpu"), "bars": lines, "rows": rows}
    write_whole(options.record, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
