"""Whether tasks, model and tokenizer are still what a complete run began with."""

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import listed
from ..models import as_device, load_tokenizer
from ..models.tokenizer import stands_for, tokenizer_for
from ..provenance import weights_hash
from ..tasks import Task
from ..tasks.hub import SCHEME
from .config import TrainConfig
from .record import data_hash, origin_of
from .start import benchmark_of, model_of


def warn_if_edited(config: TrainConfig, record: Mapping, output: Path) -> None:
    """Say what is no longer as a complete run in ``output`` began with it.

    Of a hub nothing is looked at: it may have to be asked over a network. Nor is what
    cannot be loaded any more.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = _other_origin(config, record, load_tokenizer(output))
    except Exception:  # of any library; the record itself is whole
        return
    if found:
        warnings.warn(
            f"output: {output} is complete, and began with other {listed(found)} than "
            f"{config.benchmark} and {config.model} are now; name a new folder to "
            "train anew",
            stacklevel=2,
        )


def _other_origin(config: TrainConfig, record: Mapping, saved) -> list[str]:
    """Names of what differs; ``saved`` is the tokenizer that the run has written."""
    if config.benchmark.startswith(SCHEME):
        return []
    older = {"weights": record.get("weights_before"), "examples": record.get("data")}
    then = record.get("origin", older)
    tasks = config.make_sampler(benchmark_of(config).train, saved).tasks
    now = {"examples": data_hash(tasks)}
    tokenizer = saved
    if _is_here(config):
        model, tokenizer = model_of(config, as_device(config.device))
        now = origin_of(model, tokenizer, tasks, weights_hash(model))
    found = [name for name in now if then.get(name) not in (now[name], None)]
    if not any(name.startswith("tokens") for name in now.keys() & then.keys()):
        other = _some_tokens(tasks, tokenizer) != _some_tokens(tasks, saved)
        if other:
            found.append("tokens")
    return found


def _is_here(config: TrainConfig) -> bool:
    """Whether model and tokenizer are files of this machine."""
    places = config.model, config.tokenizer or tokenizer_for(config.model)
    return all(Path(stands_for(each, None, "model")[0]).exists() for each in places)


def _some_tokens(tasks: Iterable[Task], tokenizer) -> list[list[int]]:
    """Ids of a few examples of every task."""
    return [
        tokenizer.encode(text, add_special_tokens=False)
        for task in tasks
        for example in task.train[:8]
        for text in (task.instruction or "", example.input, example.output)
    ]
