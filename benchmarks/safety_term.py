"""Which safety term should Adam have under its root?

    python benchmarks/safety_term.py            # some minutes on one core

`eps_root` makes a step smaller where √eps_root is not small beside √v̂, and makes the
step's derivative at silent coordinates less steep, 1 / √eps_root. For several values,
absolute and relative to the mean of v̂, for fresh moments and for warm ones, this
measures the two sides of it:

- step: ‖Δθ‖ of the first inner step, over that without the term;
- error: of the float32 meta-gradient, ‖f32 − f64‖ / ‖f64‖;
- spread: the largest distance between float32 meta-gradients that differ in the order
  of summation only (whole batches, one prompt at a time, prompts permuted);
- second order: the share of the meta-gradient that first order misses, in float64.

The models are GPT-2's small shape with two layers and random weights, the loss scaled
so that the typical gradient entry is 5.3e-5, as GPT-2 medium's at norm 1; and
tiny-base on its own prompts, as it is. Prints a table and stores it as JSON, row by
row; a run that was interrupted goes on where it stopped.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from report import distance, new_file
from transformers import GPT2Config, GPT2LMHeadModel

from maml_en_llm import Adam, PromptLoss, load_benchmark, load_model, meta_gradient
from maml_en_llm.meta import loss_and_grad
from maml_en_llm.methods import EpisodeSampler
from maml_en_llm.models import parameters
from maml_en_llm.optimizers import State
from maml_en_llm.prompts import Batch, Format, Prompt, PromptEncoder, collate
from maml_en_llm.provenance import describe, write_whole
from maml_en_llm.tensors import Tensors, joint_norm

ROOT = Path(__file__).resolve().parents[1]
RATE = 1e-5  # the published recipe's
K, PROMPTS = 2, 4  # inner steps; prompts per batch of tiny-base
WORDS, WIDE_PROMPTS, LENGTH, TARGET = 8192, 2, 32, 4  # of GPT-2's shape
WARM = 8  # steps whose gradients the warm moments hold
ENTRY = 5.3e-5  # 1 / √(355 million)
ABSOLUTE = (1e-8, 1e-12, 1e-10, 1e-14)  # those to choose from first
RELATIVE = (1e-1, 1e-2, 1e-4)  # of the mean of v̂


@dataclass(frozen=True)
class Case:
    """A loss in float32 and in float64, batches for it, and what to scale it by."""

    name: str
    coarse: torch.nn.Module
    fine: torch.nn.Module
    support: list[Batch]  # WARM + K
    query: Batch
    scale: float = 1.0

    def loss(self, model, prompts_at_once: int | None = None) -> Callable:
        """The model's loss times ``scale``."""
        return Scaled(PromptLoss(model, prompts_at_once), self.scale)


@dataclass(frozen=True)
class Scaled:
    """A loss times a number."""

    loss: PromptLoss
    by: float

    def __call__(self, params, batch):
        """by · L(θ, batch)"""
        return self.by * self.loss(params, batch)

    def check(self, derivative: str) -> None:
        """As the loss's."""
        self.loss.check(derivative)

    def split(self, batch):
        """As the loss's."""
        return self.loss.split(batch)


def small_shape() -> Case:
    """Two layers of GPT-2 small's width with random weights, on random words."""
    config = GPT2Config(vocab_size=WORDS, n_layer=2, n_positions=LENGTH)
    config.update(dict(attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0))
    config.update(dict(bos_token_id=0, eos_token_id=0))
    torch.manual_seed(0)
    coarse = GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval()
    words = torch.Generator().manual_seed(1)

    def batch() -> Batch:
        rows = torch.randint(WORDS, (WIDE_PROMPTS, LENGTH), generator=words).tolist()
        return collate([Prompt(tuple(row), TARGET) for row in rows])

    fine = GPT2LMHeadModel._from_config(config, attn_implementation="eager").eval()
    fine.load_state_dict(coarse.state_dict())
    batches = [batch() for _ in range(WARM + K)]
    case = Case("gpt2-small-2-layers", coarse, fine.double(), batches, batch())
    _, grads = loss_and_grad(case.loss(coarse), parameters(coarse), batches[0])
    count = sum(g.numel() for g in grads.values())
    entry = joint_norm(grads).item() / count**0.5
    return replace(case, scale=ENTRY / entry)


def tiny_base() -> Case:
    """The shipped model on prompts of the embedded benchmark."""
    coarse, tokenizer = load_model("tiny-base", attention="eager")
    fine, _ = load_model("tiny-base", attention="eager", dtype=torch.float64)
    tasks = load_benchmark("minicrossfit", "hr_to_lr").train
    encoder = PromptEncoder(tokenizer, Format(max_length=256))
    sampler = EpisodeSampler(
        tasks, encoder, 1, inner_steps=K, prompts=PROMPTS, demonstrations=4
    )
    episodes = [sampler.sample(step)[0] for step in range(WARM + 1)]
    warm = [episode.query for episode in episodes[1:]]
    support = [*warm, *episodes[0].support]
    return Case("tiny-base", coarse, fine, support, episodes[0].query)


def warm_state(case: Case) -> State:
    """Moments after `WARM` steps of gradients at one θ, as of a long run (in f64)."""
    params = parameters(case.fine)
    state = Adam(RATE).init(params)
    for batch in case.support[:WARM]:
        _, grads = loss_and_grad(case.loss(case.fine), params, batch)
        _, state = Adam(RATE).update(grads, state, params)
    return state


def mean_square(case: Case, state: State | None) -> float:
    """The mean of v̂ over all coordinates, before the first inner step or after it."""
    params = parameters(case.fine)
    state = Adam(RATE).init(params) if state is None else state
    if not state.step:
        _, grads = loss_and_grad(case.loss(case.fine), params, case.support[WARM])
        _, state = Adam(RATE).update(grads, state, params)
    variance = state.moments[1]
    total = sum(v.sum().item() for v in variance.values())
    count = sum(v.numel() for v in variance.values())
    return total / count / (1 - Adam(RATE).betas[1] ** state.step)


def measure(case: Case, state: State | None, eps_root: float) -> dict:
    """Step, error, spread and second order of one value of the term."""
    adam, params = Adam(RATE, eps_root=eps_root), parameters(case.fine)
    support, query = case.support[WARM:], case.query
    loss = case.loss(case.fine)
    exact, first = (
        meta_gradient(loss, params, support, query, adam, mode=mode, state=state).grads
        for mode in ("reverse", "first_order")
    )
    found = [_coarse(case, adam, state, order) for order in range(3)]
    spread = [distance(found[i], found[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    return dict(
        step=step_ratio(case, adam, state),
        error=max(distance(one, exact) for one in found),
        spread=max(spread),
        second_order=distance(first, exact),
        largest=max(g.abs().max().item() for g in exact.values()),
    )


def _coarse(case: Case, adam: Adam, state: State | None, order: int) -> Tensors:
    """The float32 meta-gradient in one of three orders of summation."""
    loss = case.loss(case.coarse, 1 if order == 1 else None)
    support, query = case.support[WARM:], case.query
    if order == 2:
        support, query = [turned(batch) for batch in support], turned(query)
    if state is not None:
        moments = tuple({n: t.float() for n, t in m.items()} for m in state.moments)
        state = State(moments, state.step)
    params = parameters(case.coarse)
    return meta_gradient(loss, params, support, query, adam, state=state).grads


def turned(batch: Batch) -> Batch:
    """The same prompts, last first."""
    ids, attention, targets = (
        tensor.flip(0)
        for tensor in (batch.input_ids, batch.attention_mask, batch.loss_mask)
    )
    return replace(batch, input_ids=ids, attention_mask=attention, loss_mask=targets)


def step_ratio(case: Case, adam: Adam, state: State | None) -> float:
    """‖Δθ‖ of the first step over that without the term, in float64."""
    params = parameters(case.fine)
    _, grads = loss_and_grad(case.loss(case.fine), params, case.support[WARM])
    state = adam.init(params) if state is None else state
    sizes = []
    for optimizer in (adam, replace(adam, eps_root=0.0)):
        moved, _ = optimizer.update(grads, state, params)
        sizes.append(joint_norm({n: moved[n] - p for n, p in params.items()}).item())
    return sizes[0] / sizes[1]


def run(case: Case, done: list[dict]) -> Iterator[dict]:
    """All values, for fresh and for warm moments, but those of ``done``; each printed
    as it is found.
    """
    known = {(row["model"], row["moments"], row["term"]) for row in done}
    states = {"fresh": None, "warm": warm_state(case)}
    sizes = {moments: mean_square(case, state) for moments, state in states.items()}
    for value, relative in [(v, False) for v in ABSOLUTE] + [
        (v, True) for v in RELATIVE
    ]:
        for moments, state in states.items():
            name = f"{value:g} · mean v̂" if relative else f"{value:g}"
            if (case.name, moments, name) in known:
                continue
            eps_root = value * sizes[moments] if relative else value
            row = dict(model=case.name, moments=moments, term=name, eps_root=eps_root)
            row |= measure(case, state, eps_root) | dict(mean_square=sizes[moments])
            figures = (row[key] for key in ("step", "error", "spread", "second_order"))
            shown = " | ".join(f"{figure:.3g}" for figure in figures)
            print(f"| {case.name} | {moments} | {name} | {shown} |", flush=True)
            yield row


def main() -> None:
    """Measure, print a Markdown table, store it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    record = ROOT / "results/safety_term-cpu.json"
    parser.add_argument("--record", type=new_file, default=record)
    options = parser.parse_args()
    start = time.monotonic()
    print("| model | moments | eps_root | step | error | spread | second order |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    if options.record.exists():
        rows = json.loads(options.record.read_text())["rows"]
    for build in (tiny_base, small_shape):
        for row in run(build(), list(rows)):
            rows.append(row)
            about = describe(seconds=time.monotonic() - start)
            content = json.dumps({"provenance": about, "rows": rows}, indent=1)
            write_whole(options.record, content + "\n")


if __name__ == "__main__":
    main()
