"""Pre-training of `tiny-base` and `mini-base`, small models that learn in context.

    python -m maml_en_llm pretrain --recipe mini-base --output FOLDER

A Llama-like model (rotary positions) on the texts of `mixtures`; loss on every token,
AdamW, short sequences first. The newlines that separate a prompt's
examples are new to it: `add_newlines` gives them to the trained model, so that there is
something for meta-training to learn. Every `EVERY` steps a row of probes is computed
and a checkpoint written: an interrupted run goes on where it stopped, and ends with the
same weights.
"""

import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from ..checkpoint import check_finite, file_hashes
from ..errors import check_callable, check_integer, shown
from ..prompts.device import as_device
from ..provenance import describe, disk_errors, plain, weights_hash
from ..signals import Interrupted, Signals, code_of
from ..sittings import computed_by, other_sittings
from ..tensors import check_memory
from .corpus import NEWLINES, build_tokenizer
from .mixtures import GUESSES
from .model import add_newlines, batch, build_model, count_parameters
from .output import (
    CHECKPOINTS,
    FINAL,
    alone,
    as_output,
    complete_run,
    move_up,
    remove_work,
)
from .probes import next_word_loss, probes
from .recipe import PretrainConfig
from .saved import load_state, save_state

WEIGHTS = 4  # numbers per weight: itself, its gradient, two moments of Adam
EVERY = 250  # steps between two checkpoints and two rows of probes


def pretrain(
    config: PretrainConfig,
    output: str | Path,
    *,
    probe: Callable | None = None,
    progress: Callable | None = None,
    stop: int | None = None,
    every: int | None = None,
) -> dict:
    """Pre-train, leave model, tokenizer and ``record.json`` in ``output``.

    A run of the same configuration that lies there goes on; one that is complete is
    not computed again. Returns the record.

    Args:
        probe: ``probe(model, tokenizer)`` adds figures to the rows of probes.
        progress: ``progress(step, loss)`` is called every step, loss in nats per token.
        stop: ends the run before this step, to be resumed.
        every: steps between two checkpoints; `EVERY` by default.

    Raises:
        ValueError: ``output`` holds anything else, or cannot be written.
        FloatingPointError: a loss, gradient or weight that is not finite.
        Interrupted: Ctrl-C or SIGTERM, once the state is saved.
    """
    if not isinstance(config, PretrainConfig):
        raise ValueError(f"config: expected a PretrainConfig, found {shown(config)}")
    as_device(config.device)  # refuses one that is not there
    every = check_integer("every", EVERY if every is None else every, 1)
    stop = config.steps if stop is None else check_integer("stop", stop)
    output = as_output(output)
    for name, given in (("probe", probe), ("progress", progress)):
        if given is not None:
            check_callable(name, given)
    signals = Signals()
    run = None
    with signals.caught():
        try:
            complete = complete_run(output, config)
            if complete is not None:
                return complete
            with alone(output):
                run = _Run(output, config, probe, signals)
                return run.go(min(stop, config.steps), every, progress)
        except KeyboardInterrupt as error:
            step, told = (0, _BEGINS_AGAIN) if run is None else run.stopped()
            raise Interrupted(told, step, code_of(error)) from None


_BEGINS_AGAIN = "stopped before the first step; the same command begins again"


class _Run:
    """A run under way: what it has, and where it is kept."""

    def __init__(self, output, config, probe, signals):
        self.output, self.config, self.probe = output, config, probe
        self.signals = signals
        self.tokenizer = build_tokenizer()
        vocabulary = len(self.tokenizer) - len(NEWLINES)
        _check_memory(config, vocabulary)
        model = build_model(config, vocabulary)
        self.model = model.to(config.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            betas=config.betas,
            weight_decay=config.weight_decay,
        )
        kept = output / CHECKPOINTS
        self.done, made = load_state(kept, config, self.model, self.optimizer)
        self.saved = self.done["step"]
        self.here = computed_by(self.model.device)
        where = f"the checkpoint of step {self.saved} in {kept}"
        self.made = other_sittings(made, self.here, where)
        self.whole = True  # whether the weights are those of the last step
        self.complete = False
        self.start = time.perf_counter() - self.done["seconds"]

    def go(self, last: int, every: int, progress: Callable | None) -> dict:
        """Make the steps before ``last``; the record, or what there is before it."""
        try:
            for step in range(self.done["step"], last):
                with self.signals.held():
                    if step % every == 0:
                        self.look(step)
                        self.save()
                    self.step(step)
                if progress is not None:
                    progress(step, self.done["losses"][-1])
            if last < self.config.steps:
                return self.done
            self.look(self.config.steps)
            with self.signals.held():
                return self.finish()
        except BaseException as error:
            self.put_down(error)
            raise

    def step(self, step: int) -> None:
        self.whole = False
        ids = batch(self.config, self.tokenizer, step).to(self.model.device)
        loss = _step(self.model, self.optimizer, ids, self.config, step)
        self.done["losses"].append(loss)
        self.whole = True

    def look(self, step: int) -> None:
        """Add a row of probes."""
        if any(row["step"] == step for row in self.done["probes"]):
            return
        whole = add_newlines(self.model, self.tokenizer, self.config.newlines)
        more = self.probe(whole, self.tokenizer) if self.probe else {}
        found = probes(whole, self.tokenizer, kinds=self.config.kinds)
        row = {"step": step, **found, **more}
        self.done["probes"].append(row)

    def save(self) -> None:
        step = len(self.done["losses"])
        self.done.update(step=step, seconds=time.perf_counter() - self.start)
        folder = self.output / CHECKPOINTS
        made = [*self.made, self.here]
        with self.signals.held():
            save_state(folder, self.done, made, self.config, self.model, self.optimizer)
            self.saved = step

    def put_down(self, error: BaseException) -> None:
        """Save what there is, whatever has stopped the run."""
        step = len(self.done["losses"])
        if not self.whole or self.complete or step in (0, self.saved):
            return
        try:
            self.save()
        except (OSError, FloatingPointError) as second:
            error.add_note(f"no checkpoint of step {step}: {second}")

    def stopped(self) -> tuple[int, str]:
        """Steps done, and how to go on."""
        step = len(self.done["losses"])
        if self.complete:
            return step, f"stopped; {self.output} is complete"
        if not self.saved:
            return step, _BEGINS_AGAIN
        return step, (
            f"stopped after step {step} of {self.config.steps}, all up to step "
            f"{self.saved} is saved in {self.output}; the same command goes on from "
            "there"
        )

    def finish(self) -> dict:
        self.done.update(seconds=time.perf_counter() - self.start)
        done = (self.model, self.tokenizer, self.done)
        record = _finish(self.output, self.config, *done, self.made)
        self.complete = True
        return record


def _check_memory(config: PretrainConfig, vocabulary: int) -> None:
    """`ValueError` where a run needs more memory than there is, before it is taken.

    At least: the weights, on a CPU their gradient and two moments, too, and the logits
    of a step.
    """
    numbers = count_parameters(config, vocabulary)
    if config.device == "cpu":
        numbers = WEIGHTS * numbers + config.tokens * vocabulary
    check_memory(
        f"width {config.width}, layers {config.layers}, tokens {config.tokens}",
        4 * numbers,
        "lower them",
    )


def _step(model, optimizer, ids, config: PretrainConfig, step: int) -> float:
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    loss = next_word_loss(model, ids)
    optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
        raise FloatingPointError(
            f"step {step}: expected a finite loss and gradient, found loss "
            f"{loss.item()} and gradient norm {norm.item()}; lower lr"
        )
    optimizer.step()
    return loss.item()


def _finish(
    output: Path, config: PretrainConfig, model, tokenizer, done: dict, made: list[dict]
) -> dict:
    """Write what the run is for, then take its checkpoints away."""
    check_finite(dict(model.named_parameters()))
    model = add_newlines(model, tokenizer, config.newlines)
    record = {
        "config": plain(asdict(config)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "words": len(tokenizer),
        "losses": [round(loss, 5) for loss in done["losses"]],
        "probes": done["probes"],
        "guesses": {k: round(GUESSES[k], 4) for k in config.kinds if k in GUESSES},
        "weights": weights_hash(model),
        **describe(model.device, done["seconds"]),
    }
    if made:
        record["earlier_sittings"] = made  # by other means
    shutil.rmtree(output / FINAL, ignore_errors=True)
    (output / FINAL).mkdir()
    with disk_errors(output):
        model.save_pretrained(output / FINAL)
        tokenizer.save_pretrained(output / FINAL)
        record["files"] = file_hashes(output / FINAL)
        (output / FINAL / "record.json").write_text(json.dumps(record) + "\n")
    move_up(output)
    remove_work(output)
    return record
