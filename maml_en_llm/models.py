"""Causal language models from `transformers`, and their loss as a pure function of the parameters."""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2TokenizerFast,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.activations import NewGELUActivation

from . import guards
from .attention import TWICE
from .embedding import built_once
from .optimizers import Tensors
from .prompts import Batch

SHIPPED = {"tiny-base": Path(__file__).parent / "tiny_base"}
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")


def load_model(
    name: str | Path | PretrainedConfig,
    *,
    tokenizer: str | Path | None = None,
    attention: str = TWICE,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
):
    """Load a causal LM and its tokenizer; returns ``(model, tokenizer)``, the model in evaluation mode (no dropout).

    Args:
        name: ``"tiny-base"``, the model that comes with this package (`pretrain`), a hub name, a folder in
            `transformers` layout, a configuration file, or a configuration. Without
            weights (a configuration, or a folder that holds only one) the model is initialised at random.
        tokenizer: hub name or folder. Default: the model's own; a configuration has none of its own and is given
            GPT-2's byte-level BPE, from the folder ``$GPT2_BPE`` if that is set, else from the hub.
        attention: ``"twice"`` (`maml_en_llm.attention`) and ``"eager"`` can be differentiated twice, ``"sdpa"`` once.
        dtype: floating-point type of the weights.
        seed: of the random initialisation, and of nothing else.

    Raises:
        ValueError: nothing to load under that name, a tokenizer with more words than the model, or an attention that the
            model does not have.
    """
    name = SHIPPED.get(name, name) if isinstance(name, str) else name
    config = _configuration(name)
    built = "eager" if attention == TWICE else attention  # every model has it; only some take another function later
    if config is None:
        model = _pretrained(name, built, dtype)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = AutoModelForCausalLM.from_config(config, attn_implementation=built, dtype=dtype)
    if attention == TWICE:
        if not model._supports_attention_backend:  # it would run without its own mask, and see the future
            raise ValueError(
                f"attention: {type(model).__name__} takes no attention but its own, found {TWICE!r}; "
                "load_model(..., attention='eager')"
            )
        model.set_attn_implementation(TWICE)
    words = load_tokenizer(tokenizer or _tokenizer_of(name))
    if len(words) > model.config.vocab_size:
        raise ValueError(
            f"tokenizer: expected at most {model.config.vocab_size} words, the model's vocabulary, found {len(words)}; "
            "name the tokenizer that belongs to the model"
        )
    return fuse_gelu(model).eval(), words


def load_tokenizer(name: str | Path):
    """Load a tokenizer by hub name or folder; a folder may hold GPT-2's bare ``vocab.json`` and ``merges.txt``."""
    folder = Path(SHIPPED.get(str(name), name))
    if (folder / "merges.txt").is_file() and not (folder / "tokenizer.json").is_file():
        return GPT2TokenizerFast.from_pretrained(folder)
    try:
        return AutoTokenizer.from_pretrained(folder if folder.is_dir() else name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"tokenizer: expected a folder or a name on the hub, found {str(name)!r} ({error}); "
            "the environment variable GPT2_BPE may name a folder with GPT-2's vocab.json and merges.txt"
        ) from error


def fuse_gelu(model: PreTrainedModel) -> PreTrainedModel:
    """Replace GPT-2's tanh-GELU, written as eight passes over memory, by the fused kernel of the same function."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
    return model


def parameters(model: PreTrainedModel) -> Tensors:
    """The model's parameters by name, detached, each tied tensor once (GPT-2's head is ``transformer.wte.weight``)."""
    return {name: p.detach() for name, p in model.named_parameters()}


@torch.no_grad()
def write_back(model: PreTrainedModel, params: Tensors) -> None:
    """Make ``params`` the model's own weights; the inverse of `parameters`."""
    for name, parameter in model.named_parameters():
        parameter.copy_(params[name])


@dataclass(frozen=True)
class PromptLoss:
    """The loss of a prompt batch as a function of the parameters, ready for `meta_gradient`.

        L(θ, batch) = mean over prompts of the mean over target tokens of −log p_θ(token | what precedes it)

    in nats a target token (protocol 3.1). The output head runs at target positions only. With ``prompts_at_once`` a batch
    is differentiated in parts of that many prompts: the same gradient in the memory of one part.
    """

    model: PreTrainedModel
    prompts_at_once: int | None = None

    def split(self, batch: Batch) -> list[tuple[float, Batch]]:
        """Parts of ``prompts_at_once`` prompts and their shares, since the loss is a mean over prompts."""
        total = len(batch.input_ids)
        size = self.prompts_at_once or total
        if batch.input_ids.dim() == 3 or size >= total:
            return [(1.0, batch)]
        parts = [batch.rows(start, start + size) for start in range(0, total, size)]
        return [(len(part.input_ids) / total, part) for part in parts]

    def __call__(self, params: Tensors, batch: Batch) -> torch.Tensor:
        """Loss of ``batch`` at ``params``, a scalar; weights that ``params`` leaves out are the module's, which never change.

        With a stack of batches and of parameters, one a task (n, …), the n losses, computed together.
        """
        positions, valid = target_positions(batch.loss_mask)
        labels = batch.input_ids.gather(-1, positions)
        inputs = (batch.input_ids, batch.attention_mask, positions, labels, valid)
        if batch.input_ids.dim() == 3:
            with attention(self.model, "eager"):  # the one that `vmap` can see through
                return torch.vmap(self._loss)(params, *inputs)
        with built_once(self.model, params, batch.input_ids) as params:
            return self._loss(params, *inputs)

    def _loss(self, params, input_ids, attention_mask, positions, labels, valid) -> torch.Tensor:
        inputs = dict(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=positions - 1)
        return mean_nll(functional_call(self.model, params, (), inputs).logits, labels, valid).mean()

    def check(self, mode: str) -> None:
        """Raise where a derivative of ``mode`` would be impossible or silently wrong, see `guards`."""
        guards.check(self.model, mode)


@contextmanager
def attention(model: PreTrainedModel, name: str):
    """``model`` computing its attention another way for a while: the same function of the same weights."""
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before


def target_positions(loss_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the targets of each prompt stand: positions (…, P) and which of them are real, for a mask (…, T).

    P is the longest target of the batch; shorter ones are filled up with position 1, marked not real.
    """
    count = loss_mask.sum(-1, keepdim=True)
    order = loss_mask.int().argsort(dim=-1, descending=True, stable=True)[..., : int(count.max())]
    valid = torch.arange(order.shape[-1], device=order.device) < count
    return order.where(valid, order.new_ones(())), valid


def mean_nll(logits: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean −log p of each prompt's target tokens, (B,) nats, from logits (B, P, V), labels (B, P) and mask (B, P)."""
    nll = cross_entropy(precise(logits.flatten(0, 1)), labels.flatten(), reduction="none").view_as(labels)
    return (nll * valid).sum(1) / valid.sum(1)


def precise(logits: torch.Tensor) -> torch.Tensor:
    """Logits in float32 at least: in half precision a score would be rounded to hundredths of a nat."""
    return logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits


def _configuration(name) -> PretrainedConfig | None:
    """The configuration to initialise at random, or None where there are weights to load."""
    if isinstance(name, PretrainedConfig):
        return name
    path = Path(name)
    if path.is_dir() and not (path / "config.json").is_file():
        raise ValueError(f"model: expected a config.json in the folder {str(path)!r}, found none")
    if path.suffix == ".json" and not path.is_file():
        raise ValueError(f"model: expected a configuration file, found nothing at {str(path)!r}")
    if path.is_file() or (path.is_dir() and not any((path / file).is_file() for file in _WEIGHTS)):
        return AutoConfig.from_pretrained(path)
    return None


def _pretrained(name, attention: str, dtype: torch.dtype) -> PreTrainedModel:
    try:
        return AutoModelForCausalLM.from_pretrained(name, attn_implementation=attention, dtype=dtype)
    except OSError as error:
        raise ValueError(
            f"model: expected a folder, a configuration file or a name on the hub, found {str(name)!r} ({error})"
        ) from error


def _tokenizer_of(name) -> str | Path:
    folder = Path(name) if isinstance(name, (str, Path)) else None
    bare = folder is None or folder.is_file()
    if folder is not None and folder.is_dir():
        bare = not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json"))
    return os.environ.get("GPT2_BPE", "gpt2") if bare else name
