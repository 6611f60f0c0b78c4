"""What a run is made from, besides its configuration: base model and examples."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..base.weights import SHIPPED
from ..models import load_model
from ..models.adapters import adapters_alone, base_named
from ..models.smollm2 import located
from ..models.source import hub_folder
from ..models.tokenizer import tokenizer_for
from ..provenance import digest, weights_hash
from ..tasks import Benchmark, load_benchmark
from ..training import TrainConfig
from .on_disk import DiskState, state_of, state_of_benchmark
from .rows import RULES
from .run import Run
from .trained import held_hash

# what decides, beside the weights, what a model does with a text
SETTINGS = (
    *("config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt"),
    *("merges.txt", "*.model", "*.spm", "*.tiktoken"),
    # of tokenizers that few models have
    *("*.codes", "*.tokenizer", "dict.txt", "tekken.json", "emoji.json"),
    *("vocab-*.json", "target_vocab.json", "entity_vocab.json", "byte_maps.json"),
    *("normalizer.json", "word_shape.json", "word_pronunciation.json"),
)


class Inputs(NamedTuple):
    """A benchmark; hashes of the base model's weights, of all its examples, and of
    those that train: the examples that are asked about train nothing; of the files of
    model and tokenizer that hold no weights; of held tasks."""

    bench: Benchmark
    weights: str
    data: str
    trained_on: str
    settings: str
    held: str

    @property
    def hash(self) -> str:
        """Of weights and examples, as all records have it."""
        return digest(self.weights, self.data)

    @property
    def further(self) -> str:
        """Of what else is read from a disk: configuration, tokenizer, held tasks.

        Older records lack it; they count by their ``hash`` alone.
        """
        return digest(self.settings, self.held)


def inputs_of(run: Run) -> Inputs:
    """The benchmark of a run, with hashes of what it is made from."""
    config = run.config
    given = _examples(
        config.benchmark,
        config.setting,
        run.seeds,
        config.allow_missing,
        config.faithful,
        state_of_benchmark(config.benchmark),
    )
    seed = config.seed if _is_random(config.model) else 0
    places = tuple(places_of(config))
    states = tuple(state_of(hub_folder(place) or place) for place in places)
    weights = _weights(config.model, config.tokenizer, config.dtype, seed, states)
    settings = _settings(places, states)
    held = "" if run.name in RULES or not run.held else held_hash(run)
    return Inputs(given[0], weights, *given[1:], settings, held)


def places_of(config: TrainConfig) -> list[str]:
    """What a base model, its tokenizer, and the bases of adapters are read from."""
    name = _place(config.model)
    tokenizer = config.tokenizer
    places = [name]
    while (folder := adapters_alone(name)) is not None:
        if tokenizer is None and (folder / "tokenizer_config.json").is_file():
            tokenizer = str(folder)
        name = _place(base_named(folder)["name"])
        places.append(name)
    return [*places, _place(tokenizer_for(name) if tokenizer is None else tokenizer)]


def _place(name: str | Path) -> str:
    """A folder, or a name of a hub, as `load_model` takes it for a known name."""
    return str(located(SHIPPED.get(str(name), name))[0])


@lru_cache(maxsize=16)
def _examples(
    source: str,
    setting: str,
    seeds: tuple[int, ...],
    allow_missing,
    faithful,
    _: DiskState,
) -> tuple[Benchmark, str, str]:
    bench = load_benchmark(
        source,
        setting,
        seeds=seeds,
        allow_missing=allow_missing,
        faithful=faithful,
    )
    train = repr(bench.train)
    return bench, digest(train, repr(bench.test)), digest(train)


@lru_cache(maxsize=32)
def _weights(
    model: str, tokenizer: str | None, dtype: str, seed: int, _: tuple[DiskState, ...]
) -> str:
    loaded, _ = load_model(model, tokenizer=tokenizer, dtype=dtype, seed=seed)
    return weights_hash(loaded)


@lru_cache(maxsize=32)
def _settings(places: tuple[str, ...], _: tuple[DiskState, ...]) -> str:
    parts: list[str | bytes] = []
    for name in places:
        place = hub_folder(name) or Path(name)
        files = [place] if place.is_file() else []
        files += [file for kind in SETTINGS for file in sorted(place.glob(kind))]
        for file in files:
            parts += [file.name, file.read_bytes()]
    return digest(*parts)


def _is_random(model: str) -> bool:
    """Whether the seed may decide the weights: a folder may hold none."""
    path = Path(model)
    return path.suffix == ".json" or path.is_dir()
