"""What a run begins with: its tasks, its model and its tokenizer."""

from ..errors import check_integer, shown
from ..models import load_model
from ..models.adapters import has_adapters, with_adapters
from ..models.sizes import width_of
from ..tasks import Benchmark
from ..tasks.benchmark import load_training
from .config import TrainConfig


def benchmark_of(config: TrainConfig) -> Benchmark:
    """The benchmark that a run is trained on."""
    return load_training(
        config.benchmark,
        config.setting,
        allow_missing=config.allow_missing,
        faithful=config.faithful,
    )


def model_of(config: TrainConfig, device):
    """Model and tokenizer that a run begins with; the model has the run's adapters."""
    model, tokenizer = loaded(config, device)
    if has_adapters(model):
        raise ValueError(
            f"model: expected a whole model to train, found adapters in "
            f"{shown(config.model)}; merge them into their base and save that "
            "(merge_and_unload)"
        )
    if config.lora:
        model = adapted(model, config.lora, config.seed)
    return model, tokenizer


def loaded(config: TrainConfig, device):
    """Model and tokenizer that a configuration names, anew each time."""
    return load_model(
        config.model,
        tokenizer=config.tokenizer,
        dtype=config.dtype,
        device=device,
        seed=config.seed,
    )


def adapted(model, rank: int, seed: int = 0):
    """The model with adapters; a rank above its width would add nothing to it."""
    check_integer("lora", rank, 1, width_of(model))
    return with_adapters(model, rank, seed=seed)
