"""The state of a pre-training run, as checkpoints hold it."""

from dataclasses import asdict
from pathlib import Path

import torch

from ..checkpoint import load_checkpoint, save_checkpoint
from .recipe import PretrainConfig, is_of


def save_state(
    folder: Path, done: dict, config: PretrainConfig, model, optimizer
) -> None:
    """Add the checkpoint of ``done["step"]``."""
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


def load_state(folder: Path, config: PretrainConfig, model, optimizer) -> dict:
    """What is done, with model and optimiser as they were; `ValueError` if not ours."""
    found = load_checkpoint(folder)
    if found is None:
        return {"step": 0, "seconds": 0.0, "losses": [], "probes": []}
    _, tensors, facts = found
    if not is_of(facts.get("config"), config):
        raise ValueError(
            f"output: {folder} is of another configuration; name a new folder"
        )
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(tensors.pop(f"weight.{name}"))
    for key, value in tensors.items():
        part, name = key.split(".", 1)
        weight = model.get_parameter(name)
        # Adam counts its steps on the CPU
        device = value.device if part == "step" else weight.device
        optimizer.state[weight][part] = value.to(device)
    return facts["done"]
