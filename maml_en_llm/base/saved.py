"""The state of a pre-training run, as checkpoints hold it."""

from dataclasses import asdict
from pathlib import Path

import torch

from ..checkpoint import load_checkpoint, save_checkpoint
from ..errors import check_number, listed, shown
from .recipe import PretrainConfig, is_of

_UNKNOWN = {"code": "unknown"}  # of a checkpoint that does not say what made it


def save_state(
    folder: Path, done: dict, made: list[dict], config: PretrainConfig, model, optimizer
) -> None:
    """Add the checkpoint of ``done["step"]``; ``made``: by what, in each sitting."""
    tensors = {}
    for name, weight in model.named_parameters():
        tensors[f"weight.{name}"] = weight
        for part, value in optimizer.state.get(weight, {}).items():
            tensors[f"{part}.{name}"] = value
    facts = {"config": asdict(config), "done": done, "made": made}
    try:
        save_checkpoint(folder, done["step"], tensors, facts)
    except FloatingPointError as error:
        raise FloatingPointError(f"step {done['step']}: {error}; lower lr") from error


def load_state(
    folder: Path, config: PretrainConfig, model, optimizer
) -> tuple[dict, list[dict]]:
    """What is done and what it was made by, with model and optimizer as they were.

    `ValueError` if it is not ours.
    """

    def check(step: int, tensors: dict, facts: dict) -> None:
        if is_of(facts.get("config"), config):
            _check_done(step, facts.get("done"))
            _check_weights(tensors, model)

    found = load_checkpoint(folder, check)
    if found is None:
        return {"step": 0, "seconds": 0.0, "losses": [], "probes": []}, []
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
    return facts["done"], facts.get("made", [_UNKNOWN])


def _check_done(step: int, done) -> None:
    """`ValueError` unless ``done`` is what a run has done after ``step``."""
    done = done if isinstance(done, dict) else {}
    losses, probes = done.get("losses"), done.get("probes")
    fits = {
        "step": type(done.get("step")) is int and done["step"] == step,
        "losses": isinstance(losses, list) and len(losses) == step,
        "probes": isinstance(probes, list)
        and all(isinstance(row, dict) and "step" in row for row in probes),
    }
    for name, fit in fits.items():
        if not fit:
            raise ValueError(
                f"expected the {name} of step {step}, found {shown(done.get(name))}"
            )
    check_number("seconds", done.get("seconds"))
    for loss in done["losses"]:
        check_number("losses", loss)


def _check_weights(tensors: dict, model) -> None:
    """`ValueError` unless there is every weight, and every tensor is of one."""
    own = {name: weight.shape for name, weight in model.named_parameters()}
    lacking = [name for name in own if f"weight.{name}" not in tensors]
    if lacking:
        raise ValueError(f"expected every weight, found no {listed(lacking)}")
    for key, value in tensors.items():
        part, _, name = key.partition(".")
        if name not in own or (part != "step" and value.shape != own[name]):
            raise ValueError(
                f"expected tensors of the model's weights, found {shown(key)} of shape "
                f"{list(value.shape)}"
            )
