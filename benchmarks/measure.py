"""One measurement of a meta-gradient: time, peak memory above the model, and error.

Each is made in a process of its own.
"""

import os
import threading
import time
from dataclasses import dataclass, replace
from importlib import import_module

import torch
import transformers
from peers import METHODS, gradient
from report import distance
from transformers import GPT2Config, GPT2LMHeadModel

from maml_en_llm import PromptLoss, meta_gradient, optimizers, parameters
from maml_en_llm.meta.calculus import loss_and_grad
from maml_en_llm.models.loading import fuse_gelu
from maml_en_llm.prompts import Prompt, collate

# Adam's is the rate of the published recipe.
RATES = {
    "SGD": 1e-3,
    "Momentum": 1e-3,
    "Adam": 1e-5,
    "AdamW": 1e-5,
    "RMSprop": 1e-5,
    "Lion": 1e-5,
    "none": 0.0,
}
TARGET = 4  # target tokens of a prompt
WARM_UP = 16  # tokens of a prompt of the warm-up call; on CUDA as many as are measured
FUSED = ("finite_difference", "first_order")  # modes that differentiate once only
SAMPLING = 0.002  # s between two looks at the memory


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is computed, whoever computes it.

    ``tasks`` tasks of ``k`` steps, ``prompts`` × ``length`` tokens per step.
    """

    shape: str
    words: int
    prompts: int
    length: int
    layers: int
    width: int
    optimizer: str
    k: int
    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "twice"  # of this package's exact modes
    tasks: int = 4


def build(case: Case, method: str):
    """A GPT-2 with random weights, the same for every method.

    In the attention that ``method`` would be run with.
    """
    transformers.logging.set_verbosity_error()
    attention = case.attention
    if method in METHODS:
        attention = "eager"
    if method in FUSED:
        attention = "sdpa"
    config = GPT2Config(
        vocab_size=case.words,
        n_layer=case.layers,
        n_embd=case.width,
        n_head=case.width // 64,
        resid_pdrop=0,
        embd_pdrop=0,
        attn_pdrop=0,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    model = GPT2LMHeadModel._from_config(
        config, attn_implementation=attention, dtype=torch.float32
    )
    model = (
        model if method in METHODS else fuse_gelu(model)
    )  # as this package's `load_model` does
    return model.to(case.device, getattr(torch, case.dtype)).eval()


def draw_tasks(case: Case, k: int, length: int):
    """Tasks of random words: (k support batches, one query batch) each."""
    words = torch.Generator().manual_seed(1)

    def batch():
        ids = torch.randint(
            case.words, (case.prompts, length), generator=words
        ).tolist()
        return collate([Prompt(tuple(row), TARGET) for row in ids]).to(case.device)

    return [([batch() for _ in range(k)], batch()) for _ in range(case.tasks)]


def measure(case: Case, method: str, reference: str | None) -> dict:
    """Seconds, peak in bytes above the model, whether all is finite, and the error.

    The error is against the file ``reference``.
    """
    if method in METHODS:
        import_module(method)  # its code is not part of its peak
    model, tasks = build(case, method), draw_tasks(case, case.k, case.length)
    rate, memory = RATES[case.optimizer], Memory(case.device)
    # CUDA chooses kernels by shape, and takes its memory from the driver once
    first = (case.k, case.length) if memory.cuda else (min(case.k, 1), WARM_UP)
    gradient(method, model, draw_tasks(case, *first), case.optimizer, rate)
    with memory:
        start = time.perf_counter()
        found = gradient(method, model, tasks, case.optimizer, rate)
        _synchronize(case.device)
        seconds = time.perf_counter() - start
    finite = all(bool(g.isfinite().all()) for g in found.values())
    result = dict(
        seconds=seconds,
        peak=memory.peak,
        finite=finite,
        model_bytes=sum(p.nbytes for p in model.parameters()),
    )
    if reference and finite:
        exact = torch.load(reference, map_location="cpu")
        result["error"] = distance(found, exact)
    return result


def write_reference(case: Case, path: str) -> dict:
    """Save the float64 meta-gradient to ``path``.

    By "unrolled" and explicit attention, none of which the measured mode uses. Returns
    the share of it that first order misses.
    """
    model, tasks = (
        build(replace(case, attention="eager"), "unrolled").double(),
        draw_tasks(case, case.k, case.length),
    )
    exact = gradient("unrolled", model, tasks, case.optimizer, RATES[case.optimizer])
    torch.save(exact, path)
    first = gradient("first_order", model, tasks, case.optimizer, RATES[case.optimizer])
    return dict(second_order_share=distance(first, exact))


def rounding(case: Case, path: str) -> dict:
    """The error that float32 inner gradients alone cause: everything else is float64.

    What a cold Adam makes of a coordinate that is almost silent depends steeply on the
    last digits of its gradient. These are plain PyTorch's: of a model with explicit
    attention and nothing fused, as the peers run it.
    """
    coarse, mean = PromptLoss(build(case, "higher")), None
    fine = PromptLoss(build(replace(case, attention="eager"), "reverse").double())
    for support, query in draw_tasks(case, case.k, case.length):
        inner = _Float32Gradients(
            getattr(optimizers, case.optimizer)(RATES[case.optimizer]), coarse, support
        )
        grads = meta_gradient(fine, parameters(fine.model), support, query, inner).grads
        mean = {
            n: (0 if mean is None else mean[n]) + g / case.tasks
            for n, g in grads.items()
        }
    return dict(rounding=distance(mean, torch.load(path, map_location="cpu")))


@dataclass
class _Float32Gradients:
    """An optimizer that is given gradients of a float32 model instead of its own."""

    optimizer: optimizers.Optimizer
    loss: PromptLoss
    support: list
    slots = ()  # the trajectory then keeps every state

    def init(self, params):
        return self.optimizer.init(params)

    def update(self, grads, state, params, *, out=None):  # noqa: ARG002  # see above
        return self.optimizer.update(self._coarse(state, params), state, params)

    def pull_back_(self, grads, state, params, *adjoints):  # noqa: ARG002  # see above
        return self.optimizer.pull_back_(
            self._coarse(state, params), state, params, *adjoints
        )

    def _coarse(self, state, params):
        _, grads = loss_and_grad(
            self.loss,
            {n: p.float() for n, p in params.items()},
            self.support[state.step],
        )
        return {n: g.double() for n, g in grads.items()}


def bandwidth(device: str, size: int = 2**28) -> float:
    """Bytes per second that a copy of 256 MiB moves, read and written, best of ten."""
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target, times = torch.zeros_like(source), []
    for _ in range(10):
        _synchronize(device)
        start = time.perf_counter()
        target.copy_(source)
        _synchronize(device)
        times.append(time.perf_counter() - start)
    return 2 * size / min(times)


class Memory:
    """Peak memory, in bytes, above what was held when this was made.

    A context manager around what is measured.
    """

    def __init__(self, device: str):
        self.cuda, self.base, self.peak = device.startswith("cuda"), 0, 0
        self.base = self._held()

    def __enter__(self):
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        self._stop, self._thread = (
            threading.Event(),
            threading.Thread(target=self._sample, daemon=True),
        )
        self._thread.start()

    def __exit__(self, *error):
        self._stop.set()
        self._thread.join()
        if self.cuda:
            self.peak = torch.cuda.max_memory_allocated() - self.base

    def _sample(self):
        while not self._stop.wait(SAMPLING):
            self.peak = max(self.peak, self._held() - self.base)

    def _held(self) -> int:
        if self.cuda:
            return torch.cuda.memory_allocated()
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
