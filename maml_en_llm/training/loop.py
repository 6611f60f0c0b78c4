"""Meta-training: the loop that draws meta-batches, asks a method for the gradient, and steps."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from ..methods.budget import Budget
from ..models.attention import TWICE
from ..models.loading import load_model
from ..models.loss import PromptLoss, parameters, write_back
from ..tasks.benchmark import Task, load_benchmark
from ..tensors import clip_by_norm
from .config import TrainConfig


def train(
    config: TrainConfig,
    *,
    output: str | Path | None = None,
    progress: Callable | None = None,
) -> dict:
    """Load benchmark and model as ``config`` says, meta-train, and return the run's record.

    With ``output``, the model, its tokenizer and ``record.json`` are saved there; the folder must not exist, and
    appears only when it is complete.
    """
    if output is not None and Path(output).exists():
        raise FileExistsError(f"output: {output} is there already; name a new folder")
    benchmark = load_benchmark(
        config.benchmark,
        config.setting,
        allow_missing=config.allow_missing,
        faithful=config.faithful,
    )
    attention = TWICE if config.second_order else "sdpa"
    model, tokenizer = load_model(
        config.model, tokenizer=config.tokenizer, attention=attention, seed=config.seed
    )
    record = meta_train(model, tokenizer, benchmark.train, config, progress=progress)
    record["missing_tasks"] = list(benchmark.missing)
    record["revision"], record["checksums"] = (
        benchmark.revision,
        dict(benchmark.checksums),
    )  # of a hub source
    if output is not None:
        _save(Path(output), model, tokenizer, record)
    return record


def meta_train(
    model,
    tokenizer,
    tasks: Sequence[Task],
    config: TrainConfig,
    *,
    progress: Callable[[int, dict], None] | None = None,
) -> dict:
    """Meta-train ``model`` in place on ``tasks`` and return the record.

    ``progress(step, row)`` is called after every outer step with that step's row of the record: the outer rate, the
    mean query loss (nats a target token, at the adapted parameters), the inner losses of every task, the gradient's
    norm before clipping. The same configuration and seed give the same losses, to the bit, on the same CPU; on a GPU only
    with ``torch.use_deterministic_algorithms(True)``.

    Raises:
        FloatingPointError: a loss or gradient that is not finite, with its step and tasks.
    """
    loss, method = PromptLoss(model), config.make_method()
    loss.check("first_order")
    sampler, budget = config.make_sampler(tasks, tokenizer), Budget()
    params, rows, start = parameters(model), [], time.perf_counter()
    state = config.make_outer_optimizer(config.lr).init(params)
    for step in range(config.steps):
        episodes = sampler.sample()
        budget.add(method, episodes)
        episodes = [_to(episode, model.device) for episode in episodes]
        outer = method.gradient(loss, params, episodes, state)
        grads, norm = clip_by_norm(outer.grads, config.clip)
        _check_finite(outer.loss, norm, step, [episode.task for episode in episodes])
        rate = config.lr * (1 - step / config.steps)
        params, state = config.make_outer_optimizer(rate).update(
            grads, outer.state, params
        )
        rows.append(
            dict(lr=rate, loss=outer.loss, inner_losses=outer.inner_losses, norm=norm)
        )
        if progress is not None:
            progress(step, rows[-1])
    write_back(model, params)
    return _record(config, rows, budget, time.perf_counter() - start, model)


def _to(episode, device):
    return replace(
        episode,
        support=tuple(b.to(device) for b in episode.support),
        query=episode.query.to(device),
    )


def _check_finite(loss: float, norm: float, step: int, tasks: list[str]) -> None:
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise FloatingPointError(
            f"step {step}: expected a finite loss and gradient, found loss {loss} and gradient norm {norm} "
            f"on tasks {', '.join(tasks)}; lower lr or inner_lr"
        )


def _record(
    config: TrainConfig, rows: list[dict], budget: Budget, seconds: float, model
) -> dict:
    return {
        "config": asdict(config),
        "hash": config.hash,
        "losses": [row["loss"] for row in rows],
        "inner_losses": [row["inner_losses"] for row in rows],
        "norms": [row["norm"] for row in rows],
        "budget": asdict(budget),
        "seconds": seconds,
        "device": str(model.device),
        "torch": torch.__version__,
    }


def _save(output: Path, model, tokenizer, record: dict) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output.parent) as folder:
        partial = Path(folder) / output.name
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / "record.json").write_text(
            json.dumps(record, indent=1), encoding="utf-8"
        )
        partial.rename(output)
