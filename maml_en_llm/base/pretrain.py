"""Pre-training of `tiny-base`, the small language model that learns in context.

    python -m maml_en_llm pretrain --out FOLDER

A Llama-like model (rotary positions) of two layers on the texts of `corpus`; loss on every token, AdamW, short sequences
first. The newlines that separate a prompt's examples are new to it: they are given to the trained model by `add_newlines`, so
that there is something for meta-training to learn. Every `EVERY` steps a checkpoint and a row of probes are written: an
interrupted run goes on where it stopped, and ends with the same weights.
"""

import json
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from ..errors import check_choice
from ..minicrossfit.draw import Draw
from ..provenance import weights_hash
from .corpus import (
    MARKS,
    NEWLINES,
    SEPARATORS,
    build_tokenizer,
    categories,
    glossary,
    repeats,
    separated,
    text,
)

EVERY = 250  # steps between two checkpoints and two rows of probes


HELD_OUT = 10**9  # seed of the texts that are never trained on


POSITIONS = ("rotary", "learned")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """The recipe. Lengths in tokens."""

    positions: str = "rotary"  # "rotary" is Llama's, "learned" GPT-2's
    layers: int = 2
    width: int = 128
    heads: int = 4
    init: float = 0.05  # standard deviation of the initial weights
    steps: int = 6000
    tokens: int = 3072  # a step
    lengths: tuple[int, ...] = (
        64,
        64,
        128,
        256,
    )  # of the sequences, in as many equal parts of the run
    context: int = 512  # positions that the model has
    lr: float = 3e-3
    warmup: int = 100  # steps
    cooldown: float = (
        0.3  # last share of the run, in which the rate falls linearly to 0
    )
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    newlines: float = 0.85  # what a newline is to the trained model: from any word (0) to a separator (1)
    seed: int = 0

    def __post_init__(self):
        check_choice("positions", self.positions, POSITIONS)

    def length(self, step: int) -> int:
        """Tokens of a sequence at this step."""
        return self.lengths[
            min(step * len(self.lengths) // self.steps, len(self.lengths) - 1)
        ]

    def rate(self, step: int) -> float:
        """Learning rate at this step."""
        left = (self.steps - step) / max(self.cooldown * self.steps, 1)
        return self.lr * min((step + 1) / self.warmup, left, 1.0)


def build_model(config: PretrainConfig, words: int):
    """The untrained model, for ``words`` words, which are all but the newlines of the tokenizer."""
    sizes = dict(
        vocab_size=words,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        initializer_range=config.init,
    )
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
    """A copy of a trained model that knows the newlines too; their embedding is, with μ the mean over words or separators,

    μ(words) + familiar · (μ(separators) − μ(words))
    """
    grown, known = deepcopy(model), model.get_input_embeddings().weight.detach()
    separators = known[tokenizer.convert_tokens_to_ids(SEPARATORS)].mean(0)
    words = known[len(MARKS) + 2 :].mean(0)  # padding and the unknown word are none
    grown.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        grown.get_input_embeddings().weight[-len(NEWLINES) :] = words + familiar * (
            separators - words
        )
    return grown.eval()


def batch(config: PretrainConfig, tokenizer, step: int) -> torch.Tensor:
    """The sequences of one step, (B, T); a function of the seed and the step alone."""
    draw, length = Draw(config.seed * 10**6 + step), config.length(step)
    rows = [text(draw, length) for _ in range(config.tokens // length)]
    return torch.tensor([tokenizer.convert_tokens_to_ids(row) for row in rows])


def pretrain(
    config: PretrainConfig,
    output: str | Path,
    *,
    probe: Callable | None = None,
    progress: Callable | None = None,
    stop: int | None = None,
) -> dict:
    """Pre-train, leave model, tokenizer and ``record.json`` in ``output``, and return the record.

    ``probe(model, tokenizer)`` adds figures to the rows of probes; ``progress(step, loss)`` is called every step; ``stop``
    ends the run early, to be resumed.

    Raises:
        ValueError: ``output`` holds a run of another configuration.
    """
    output, tokenizer = Path(output), build_tokenizer()
    output.mkdir(parents=True, exist_ok=True)
    model = build_model(config, len(tokenizer) - len(NEWLINES))
    optimizer = torch.optim.AdamW(
        model.parameters(), betas=config.betas, weight_decay=config.weight_decay
    )
    done = _resume(output / "checkpoint.pt", config, model, optimizer)
    start = time.perf_counter() - done["seconds"]
    for step in range(done["step"], config.steps if stop is None else stop):
        if step % EVERY == 0:
            _probe(done, step, config, model, tokenizer, probe)
            _save(
                output / "checkpoint.pt",
                done | dict(step=step, seconds=time.perf_counter() - start),
                config,
                model,
                optimizer,
            )
        loss = _step(
            model,
            optimizer,
            batch(config, tokenizer, step).to(model.device),
            config,
            step,
        )
        done["losses"].append(loss)
        if progress is not None:
            progress(step, loss)
    if stop is not None and stop < config.steps:
        return done
    _probe(done, config.steps, config, model, tokenizer, probe)
    return _finish(
        output,
        config,
        add_newlines(model, tokenizer, config.newlines),
        tokenizer,
        done,
        time.perf_counter() - start,
    )


def probes(model, tokenizer, *, length: int = 192, rows: int = 32) -> dict[str, float]:
    """What the model can do with texts it has not seen: loss in nats a token, and shares of right answers.

    "repeats" and "separated": the next word of a row seen before; "recall": the value of a key seen before.
    """
    found = {"loss": held_out_loss(model, tokenizer, length=length, rows=rows)}
    for name, kind in dict(
        repeats=repeats, separated=separated, recall=glossary, categories=categories
    ).items():
        draw = Draw(HELD_OUT + 1)
        words = [kind(draw, length) for _ in range(rows)]
        ids = torch.tensor(
            [tokenizer.convert_tokens_to_ids(row) for row in words], device=model.device
        )
        hits = _predictions(model, ids) == ids[:, 1:]
        asked = torch.tensor([_asked(name, row) for row in words], device=model.device)[
            :, 1:
        ]
        found[name] = (hits & asked).sum().item() / asked.sum().item()
    return found


def held_out_loss(model, tokenizer, *, length: int = 192, rows: int = 32) -> float:
    """Mean loss, in nats a token, on a fixed text that training never draws."""
    draw = Draw(HELD_OUT)
    words = [text(draw, length) for _ in range(rows)]
    ids = torch.tensor(
        [tokenizer.convert_tokens_to_ids(row) for row in words], device=model.device
    )
    with torch.no_grad():
        return _loss(model, ids).item()


def _asked(kind: str, row: list[str]) -> list[bool]:
    """Which words of a row can be known from what precedes them."""
    if kind == "repeats":
        period = next(p for p in range(1, len(row)) if row[p:] == row[: len(row) - p])
        return [i >= period + 1 for i in range(len(row))]
    if kind == "separated":
        period = next(p for p in range(1, len(row)) if row[p:] == row[: len(row) - p])
        return [i >= period + 1 and i % 2 == 0 for i in range(len(row))]
    return _values_seen_before(row)


def _values_seen_before(row: list[str]) -> list[bool]:
    between_or_after = {*SEPARATORS, *MARKS}
    asked, key, seen, expects_value = [], [], {}, False
    for word in row:
        asked.append(expects_value and seen.get(tuple(key)) == word)
        if expects_value:
            seen[tuple(key)] = word
            key, expects_value = [], False
        elif word not in between_or_after:
            key.append(word)
        elif key:
            expects_value = True
    return asked


@torch.no_grad()
def _predictions(model, ids: torch.Tensor) -> torch.Tensor:
    return model(input_ids=ids[:, :-1], use_cache=False).logits.argmax(-1)


def _loss(model, ids: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def _step(model, optimizer, ids, config: PretrainConfig, step: int) -> float:
    for group in optimizer.param_groups:
        group["lr"] = config.rate(step)
    loss = _loss(model, ids)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    optimizer.step()
    if not math.isfinite(loss.item()):
        raise FloatingPointError(
            f"step {step}: expected a finite loss, found {loss.item()}; lower lr"
        )
    return loss.item()


def _probe(
    done: dict, step: int, config: PretrainConfig, model, tokenizer, probe
) -> None:
    if any(row["step"] == step for row in done["probes"]):
        return
    whole = add_newlines(model, tokenizer, config.newlines)
    done["probes"].append(
        dict(
            step=step,
            **probes(whole, tokenizer),
            **(probe(whole, tokenizer) if probe else {}),
        )
    )


def _save(path: Path, done: dict, config: PretrainConfig, model, optimizer) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        dict(
            done=done,
            config=asdict(config),
            model=model.state_dict(),
            optimizer=optimizer.state_dict(),
        ),
        partial,
    )
    partial.replace(path)


def _resume(path: Path, config: PretrainConfig, model, optimizer) -> dict:
    if not path.is_file():
        return dict(step=0, seconds=0.0, losses=[], probes=[])
    saved = torch.load(path, map_location="cpu")
    if saved["config"] != asdict(config):
        raise ValueError(
            f"output: {path} is of another configuration; name a new folder"
        )
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["done"]


def _finish(
    output: Path, config: PretrainConfig, model, tokenizer, done: dict, seconds: float
) -> dict:
    record = dict(
        config=asdict(config),
        parameters=sum(p.numel() for p in model.parameters()),
        words=len(tokenizer),
        losses=[round(loss, 5) for loss in done["losses"]],
        probes=done["probes"],
        seconds=round(seconds, 1),
        weights=weights_hash(model),
        device=str(model.device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    (output / "record.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    (output / "checkpoint.pt").unlink(missing_ok=True)
    return record
