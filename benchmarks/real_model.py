"""What a step costs with a real language model: seconds and GiB.

    python benchmarks/real_model.py                    # SmolLM2's shape, this CPU
    python benchmarks/real_model.py --device cuda --models smollm2 gpt2-medium
    python benchmarks/real_model.py --exact            # needs `make smollm2`

Cost does not depend on what the weights are: they are random, of the model's shape. A
row is one gradient of one prompt, or one outer step of n = 4 tasks with one prompt per
batch: MetaICL, or MAML-en-LLM (exact, k inner steps), with all parameters or adapters
(LoRA, rank 8), float32 throughout. ``--exact`` compares the two exact ways to the
meta-gradient, on SmolLM2's own weights. Lines are appended to ``--out`` as they come.
"""

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from report import at_least_one, distance, new_file
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig
from transformers.utils import logging

from maml_en_llm import (
    Adam,
    Episode,
    PromptLoss,
    TrainConfig,
    load_model,
    meta_gradient,
    parameters,
)
from maml_en_llm.meta.calculus import loss_and_grad
from maml_en_llm.models import TWICE
from maml_en_llm.models.loading import fuse_gelu
from maml_en_llm.prompts import Prompt, collate
from maml_en_llm.provenance import describe
from maml_en_llm.training.loop import Loop
from maml_en_llm.training.ranks import Ranks

TARGET, TASKS = 8, 4  # target tokens of a prompt, tasks of a meta-batch
GIB = 2**30
NO_DROPOUT = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
SHAPES = {
    "smollm2": lambda: LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    ),
    "gpt2": lambda: GPT2Config(**NO_DROPOUT),
    "gpt2-medium": lambda: GPT2Config(n_embd=1024, n_layer=24, n_head=16, **NO_DROPOUT),
    "tiny": lambda: LlamaConfig(
        vocab_size=500,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=128,
        tie_word_embeddings=True,
    ),
}
STEPS = {  # name → method, inner steps
    "gradient": (None, 0),
    "metaicl": ("metaicl", 0),
    "maml k=1": ("maml-en-llm", 1),
    "maml k=4": ("maml-en-llm", 4),
}


def build(shape: str, device: str, rank: int = 0):
    """A model with random weights; with ``rank`` only adapters can move."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(
            SHAPES[shape](), attn_implementation="eager", dtype=torch.float32
        )
    model.set_attn_implementation(TWICE)
    model = fuse_gelu(model)
    insert_adapters(model, rank)
    return model.to(device).eval()


def insert_adapters(model, rank: int) -> None:
    """Put adapters of ``rank`` into the model, which alone can move; none of rank 0."""
    if rank:
        from peft import LoraConfig, inject_adapter_in_model

        fan = model.config.model_type == "gpt2"
        config = LoraConfig(r=rank, target_modules="all-linear", fan_in_fan_out=fan)
        inject_adapter_in_model(config, model)


class Fixed:
    """Stands for the sampler: prompts of one length, of random words."""

    left_out = {}

    def __init__(self, k: int, length: int, words: int):
        self.k, self.length, self.words = k, length, words

    def episode(self, step: int, index: int) -> Episode:
        """One task's batches."""
        source = torch.Generator().manual_seed(1000 * step + index)

        def batch():
            ids = torch.randint(self.words, (self.length,), generator=source)
            return collate([Prompt(tuple(ids.tolist()), TARGET)])

        return Episode("random", tuple(batch() for _ in range(self.k)), batch())


def stepper(model, step: str, length: int):
    """A function that makes the next step."""
    method, k = STEPS[step]
    words = model.config.vocab_size
    if method is None:
        loss, params = PromptLoss(model), parameters(model)
        batch = Fixed(0, length, words).episode(0, 0).query.to(model.device)
        return lambda: loss_and_grad(loss, params, batch)
    config = TrainConfig(
        benchmark="none",
        method=method,
        steps=1000,
        tasks_per_step=TASKS,
        inner_steps=max(k, 1),
        moments="fresh",
        max_length=length,
        looks=0,
    )
    loop = Loop(
        config,
        model,
        PromptLoss(model),
        config.make_method(),
        Fixed(k, length, words),  # type: ignore[arg-type]  # stands for a sampler
        config.make_outer_optimizer(),
        Ranks(),
    )
    state = loop.start()

    def make() -> None:
        nonlocal state
        state = loop.step(state)

    return make


def measure(case: dict) -> dict:
    """Median seconds of a step, of processor and clock, and the peak in GiB."""
    device, cuda = case["device"], case["device"] == "cuda"
    model = build(case["model"], device, case["rank"])
    size = sum(p.numel() for p in model.parameters())
    moving = sum(p.numel() for p in parameters(model).values())
    make = stepper(model, case["step"], case["length"])

    def timed() -> tuple[float, float]:
        start = time.perf_counter(), time.process_time()
        make()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start[0], time.process_time() - start[1]

    if cuda:  # a second step has moments and parameters of its own
        timed()
        timed()
    rows = [timed()]
    while len(rows) < case["repeats"] and sum(r[0] for r in rows) < case["seconds"]:
        rows.append(timed())
    if cuda:
        peak = torch.cuda.max_memory_allocated()
    else:
        if len(rows) == 1 and case["step"] != "gradient" and case["settle"]:
            timed()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, processor = (statistics.median(column) for column in zip(*rows, strict=True))
    return case | dict(
        parameters=size,
        moving=moving,
        wall_s=round(wall, 4),
        processor_s=round(processor, 4),
        peak_gib=round(peak / GIB, 3),
        repeats=len(rows),
    )


def exactness(device: str, length: int = 64) -> list[dict]:
    """‖reverse − unrolled‖ / ‖unrolled‖ on SmolLM2, whole and two layers of it."""
    rows = []
    for dtype, layers, k in (("float32", 30, 1), ("float32", 30, 2), ("float64", 2, 2)):
        model, _ = load_model("smollm2-135m", device=device, dtype=dtype)
        model = copy.deepcopy(model)
        model.model.layers = model.model.layers[:layers]
        batches = Fixed(k, length, 49152).episode(0, 0)
        support = [batch.to(model.device) for batch in batches.support]
        query = batches.query.to(model.device)
        found = [
            meta_gradient(
                PromptLoss(model),
                parameters(model),
                support,
                query,
                Adam(1e-5),
                mode=mode,
            ).grads
            for mode in ("reverse", "unrolled", "first_order")
        ]
        reverse, unrolled, first = found
        row = dict(dtype=dtype, layers=layers, k=k, length=length, device=device)
        row["difference"] = distance(reverse, unrolled)
        row["second_order_share"] = distance(first, unrolled)
        rows.append({"exact": row})
    return rows


def cases(options) -> list[dict]:
    """The cases that are measured, the cheapest first."""
    found = [
        dict(
            model=model,
            rank=rank,
            step=step,
            length=length,
            device=options.device,
            repeats=options.repeats,
            seconds=options.seconds,
            settle=options.settle,
        )
        for model in options.models
        for length in options.lengths
        for rank in (0, 8)
        for step in options.steps
    ]
    return sorted(found, key=lambda c: (list(STEPS).index(c["step"]), c["length"]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=["smollm2"], choices=SHAPES)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=at_least_one, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="per case")
    parser.add_argument("--total", type=float, default=1e9, help="start no case after")
    parser.add_argument("--settle", action="store_true", help="two steps at least")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--out", type=new_file, default="_build/real_model.jsonl")
    parser.add_argument("--case")
    options = parser.parse_args()
    logging.set_verbosity_error()
    out = options.out

    def note(row: dict) -> None:
        print(json.dumps(row), flush=True)
        with out.open("a") as file:
            file.write(json.dumps(row) + "\n")

    if options.case:
        note(measure(json.loads(options.case)))
        return
    note({"machine": describe(options.device)})
    if options.exact:
        for row in exactness(options.device):
            note(row)
        return
    start = time.time()
    for case in cases(options):
        if time.time() - start > options.total:
            break
        if options.device == "cuda":  # its peak can be reset
            attempt(note, case)
            continue
        command = [sys.executable, __file__, "--out", options.out]
        command += ["--case", json.dumps(case)]
        code = subprocess.run(command, check=False).returncode
        if code:
            note(case | {"failed": f"exit {code}"})


def attempt(note, case: dict) -> None:
    """One case; what stops it is a row too."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        note(measure(case))
    except Exception as error:
        note(case | {"failed": f"{type(error).__name__}: {error}"[:300]})


if __name__ == "__main__":
    main()
