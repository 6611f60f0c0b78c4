"""Pre-training of `tiny-base`, the small language model that learns in context.

    python -m maml_en_llm pretrain --out FOLDER

A Llama-like model (rotary positions) of two layers on the texts of `corpus`; loss on
every token, AdamW, short sequences first. The newlines that separate a prompt's
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
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from ..checkpoint import check_finite, load_checkpoint, save_checkpoint
from ..minicrossfit.draw import Draw
from ..provenance import plain, weights_hash
from ..signals import Stopped, listening
from .corpus import MARKS, NEWLINES, PUNCTUATION, build_tokenizer, text
from .output import CHECKPOINTS, FINAL, complete_run, move_up, remove_work
from .probes import next_word_loss, probes
from .recipe import SEEDS_APART, PretrainConfig

EVERY = 250  # steps between two checkpoints and two rows of probes


def build_model(config: PretrainConfig, vocabulary_size: int):
    """The untrained model; the vocabulary is all but the newlines of the tokenizer."""
    sizes = {
        "vocab_size": vocabulary_size,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": None,
        "initializer_range": config.init,
    }
    if config.positions == "rotary":
        shape = LlamaConfig(
            num_hidden_layers=config.layers,
            hidden_size=config.width,
            num_attention_heads=config.heads,
            intermediate_size=2 * config.width,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            **sizes,
        )
    else:
        shape = GPT2Config(
            n_layer=config.layers,
            n_embd=config.width,
            n_head=config.heads,
            n_inner=2 * config.width,
            n_positions=config.context,
            resid_pdrop=0,
            embd_pdrop=0,
            attn_pdrop=0,
            **sizes,
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return AutoModelForCausalLM.from_config(shape)


def add_newlines(model, tokenizer, familiar: float):
    """A copy of a trained model that knows the newlines too; their embedding is

    μ(words) + familiar · (μ(separators) − μ(words)),   μ the mean over the rows named
    """
    grown, known = deepcopy(model), model.get_input_embeddings().weight.detach()
    separators = known[tokenizer.convert_tokens_to_ids(PUNCTUATION)].mean(0)
    words = known[len(MARKS) + 2 :].mean(0)  # padding and the unknown word are none
    grown.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    rows = grown.get_input_embeddings().weight
    with torch.no_grad():
        rows[-len(NEWLINES) :] = words + familiar * (separators - words)
    return grown.eval()


def batch(config: PretrainConfig, tokenizer, step: int) -> torch.Tensor:
    """The sequences of one step, (B, T); a function of the seed and the step alone."""
    draw, length = Draw(config.seed * SEEDS_APART + step), config.length(step)
    rows = [text(draw, length) for _ in range(config.tokens // length)]
    return torch.tensor([tokenizer.convert_tokens_to_ids(row) for row in rows])


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
        Stopped: Ctrl-C or SIGTERM, once the state is saved.
    """
    every = EVERY if every is None else every
    output = Path(output)
    complete = complete_run(output, config)
    if complete is not None:
        return complete
    tokenizer = build_tokenizer()
    model = build_model(config, len(tokenizer) - len(NEWLINES))
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=config.betas, weight_decay=config.weight_decay
    )
    done = _resume(output / CHECKPOINTS, config, model, optimizer)
    run = _Run(output, config, model, tokenizer, optimizer, done, probe)
    last = config.steps if stop is None else min(stop, config.steps)
    with listening() as listener:
        for step in range(done["step"], last):
            if step % every == 0:
                run.look(step)
                run.save(step)
            run.step(step)
            if progress is not None:
                progress(step, done["losses"][-1])
            if listener.signal is not None:
                run.save(step + 1)
                raise Stopped(run.stopped(step + 1), listener.signal)
        if last < config.steps:
            return done
        run.look(config.steps)
        return run.finish()


class _Run:
    """A run under way: what it has, and where it is kept."""

    def __init__(self, output, config, model, tokenizer, optimizer, done, probe):
        self.output, self.config, self.done = output, config, done
        self.model, self.tokenizer, self.optimizer = model, tokenizer, optimizer
        self.probe = probe
        self.start = time.perf_counter() - done["seconds"]

    def step(self, step: int) -> None:
        ids = batch(self.config, self.tokenizer, step).to(self.model.device)
        loss = _step(self.model, self.optimizer, ids, self.config, step)
        self.done["losses"].append(loss)

    def look(self, step: int) -> None:
        """Add a row of probes."""
        if any(row["step"] == step for row in self.done["probes"]):
            return
        whole = add_newlines(self.model, self.tokenizer, self.config.newlines)
        more = self.probe(whole, self.tokenizer) if self.probe else {}
        row = {"step": step, **probes(whole, self.tokenizer), **more}
        self.done["probes"].append(row)

    def save(self, step: int) -> None:
        self.done.update(step=step, seconds=time.perf_counter() - self.start)
        folder = self.output / CHECKPOINTS
        _save(folder, self.done, self.config, self.model, self.optimizer)

    def stopped(self, step: int) -> str:
        return (
            f"stopped after step {step} of {self.config.steps}, all is saved in "
            f"{self.output}; the same command goes on from there"
        )

    def finish(self) -> dict:
        self.done.update(seconds=time.perf_counter() - self.start)
        return _finish(self.output, self.config, self.model, self.tokenizer, self.done)


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


def _save(folder: Path, done: dict, config: PretrainConfig, model, optimizer) -> None:
    tensors = {}
    for name, weight in model.named_parameters():
        tensors[f"weight.{name}"] = weight
        for part, value in optimizer.state.get(weight, {}).items():
            tensors[f"{part}.{name}"] = value
    facts = {"config": asdict(config), "done": done}
    try:
        save_checkpoint(folder, done["step"], tensors, facts)
    except FloatingPointError as error:
        raise FloatingPointError(f"step {done['step']}: {error}; lower lr") from error


def _resume(folder: Path, config: PretrainConfig, model, optimizer) -> dict:
    found = load_checkpoint(folder)
    if found is None:
        return {"step": 0, "seconds": 0.0, "losses": [], "probes": []}
    _, tensors, facts = found
    if facts.get("config") != plain(asdict(config)):
        raise ValueError(
            f"output: {folder} is of another configuration; name a new folder"
        )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors.pop(f"weight.{name}"))
    for key, value in tensors.items():
        part, name = key.split(".", 1)
        optimizer.state[model.get_parameter(name)][part] = value
    return facts["done"]


def _finish(output: Path, config: PretrainConfig, model, tokenizer, done: dict) -> dict:
    """Write what the run is for, then take its checkpoints away."""
    check_finite(dict(model.named_parameters()))
    model = add_newlines(model, tokenizer, config.newlines)
    record = {
        "config": plain(asdict(config)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "words": len(tokenizer),
        "losses": [round(loss, 5) for loss in done["losses"]],
        "probes": done["probes"],
        "seconds": round(done["seconds"], 1),
        "weights": weights_hash(model),
        "device": str(model.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    shutil.rmtree(output / FINAL, ignore_errors=True)
    (output / FINAL).mkdir()
    model.save_pretrained(output / FINAL)
    tokenizer.save_pretrained(output / FINAL)
    (output / FINAL / "record.json").write_text(json.dumps(record) + "\n")
    move_up(output)
    remove_work(output)
    return record
