"""The model card of a run: what the weights are, of what, and how to get them again."""

import os
import shlex
from pathlib import Path

from ..base import SHIPPED
from ..models.smollm2 import SMOLLM2, SMOLLM2_HUB
from ..provenance import changed
from .config import TrainConfig

# Licences of the models that have a name; that of a folder is its own affair
LICENCES = {
    "tiny-base": "mit",
    "mini-base": "mit",
    SMOLLM2: "apache-2.0",
    SMOLLM2_HUB: "apache-2.0",
    "gpt2": "mit",
    "gpt2-medium": "mit",
    "gpt2-large": "mit",
}
# what an evaluation has to be told to ask as the training did
ASKED_SO = ("benchmark", "setting", "mode", "separator", "demonstrations", "bos")
ASKED_SO += ("max_length", "max_example_length")
_SIGN = r"\|"  # of its own, which ends no cell
ON_HUB = {SMOLLM2: SMOLLM2_HUB}
_ON_BASE = (
    "It looks for the base `{base}` where `record.json` says. Elsewhere\n"
    "`peft.PeftModel.from_pretrained(base, FOLDER)` puts the adapters on it."
)


def model_card(record: dict) -> str:
    """The text of README.md for the record of a complete run (`make_record`)."""
    config = TrainConfig(**record["config"])
    base = record["model"]["name"]
    licence = LICENCES.get(config.model) if _is_name(config.model) else None
    known = licence is not None and base not in SHIPPED
    head = [
        "---",
        f"library_name: {'peft' if config.lora else 'transformers'}",
        "pipeline_tag: text-generation",
        *([f"license: {licence}"] if licence else []),
        *([f"base_model: {ON_HUB.get(base, base)}"] if known else []),
        "tags: [meta-learning, in-context-learning]",
        "---",
    ]
    what = f"adapters of rank {config.lora} for" if config.lora else "all weights of"
    body = [
        f"# {base}, meta-trained by {config.method}",
        "",
        f"Meta-trained for in-context learning: {what} `{base}`.",
        "",
        "| | |",
        "| --- | --- |",
        *(
            f"| {name} | {value.replace('|', _SIGN)} |"
            for name, value in _facts(record, config, licence).items()
        ),
        "",
        "Settings that differ from the defaults of `TrainConfig`:",
        "",
        *_settings(config),
        "",
        "`record.json` has every setting, loss and version. Scores on target tasks,",
        "asked as in training:",
        "",
        "```",
        f"python -m maml_en_llm evaluate --model FOLDER{_asked_so(config)}",
        "```",
        *([_ON_BASE.format(base=base)] if config.lora else []),
        "",
    ]
    return "\n".join([*head, "", *body])


def _is_name(model: str) -> bool:
    """Whether a model was asked for by its name, and not by a folder called so."""
    return model in (*SHIPPED, SMOLLM2) or not os.path.exists(model)


def _settings(config: TrainConfig) -> list[str]:
    """Lines on what differs from the defaults of today; a hash has older ones."""
    found = changed(config, {})
    return [f"- `{name}`: `{_told(value)}`" for name, value in found.items()]


def _asked_so(config: TrainConfig) -> str:
    """Options that ask for the tasks and the form of prompts of the training."""
    found = changed(config, {})
    options = ""
    for name in ASKED_SO:
        if name in found:
            value = found[name]
            text = "" if value is True else f" {shlex.quote(str(_told(value)))}"
            options += f" --{name.replace('_', '-')}{text}"
    return options


def _told(value):
    """A value, without the folders of this machine."""
    path = isinstance(value, str) and os.path.isabs(value)
    return Path(value).name if path else value


def _facts(record: dict, config: TrainConfig, licence: str | None) -> dict[str, str]:
    budget, losses = record["budget"], [x for x in record["losses"] if x is not None]
    loss = "every step was skipped"
    if losses:
        tenth = max(len(losses) // 10, 1)
        first, last = (sum(part) / tenth for part in (losses[:tenth], losses[-tenth:]))
        loss = f"{first:.3f}, {last:.3f} nats per target token"
    revision = record["model"]["revision"]
    return {
        "base": record["model"]["name"] + (f" at {revision}" if revision else ""),
        "licence of the base": licence or "not known here: see the base's own card",
        "tasks": f"{_told(config.benchmark)}, setting {config.setting}",
        "training examples, SHA-256": record["data"],
        "budget": f"{budget['outer_steps']} outer steps, {budget['gradients']} "
        f"gradients, {budget['tokens_forward']} tokens forward, "
        f"{budget['tokens_backward']} backward",
        "query loss, first and last tenth of the steps": loss,
        "weights before, SHA-256": record["weights_before"],
        "weights, SHA-256": record["weights"],
        "device": record["device"],
        "torch": record["versions"]["torch"],
        "code": record["code"],
    }
