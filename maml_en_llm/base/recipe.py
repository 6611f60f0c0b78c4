"""Everything that decides a pre-training run."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import (
    LARGEST_RATE,
    check_choice,
    check_integer,
    check_number,
    check_rate,
    shown,
)
from .mixtures import DENSE, TEXTS

POSITIONS = ("rotary", "learned")
DEVICES = ("cpu", "cuda")
SEEDS_APART = 10**6  # steps of a run, at most: the next seed's texts begin there
PROBED_LENGTH = 192  # tokens of the texts that the probes use


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of a run with texts of its own.

    Raises:
        ValueError: a field of another type or out of its range, named.
    """

    share: float  # of the steps of the run
    length: int  # tokens of a sequence
    kinds: tuple[str, ...] = DENSE  # of text; drawn as often as it is named

    def __post_init__(self):
        share = check_number("share", self.share, most=1.0, above=True)
        object.__setattr__(self, "share", share)
        length = check_integer("length", self.length, 2)
        object.__setattr__(self, "length", length)
        if not isinstance(self.kinds, (list, tuple)) or not self.kinds:
            raise ValueError(f"kinds: expected a list, found {shown(self.kinds)}")
        for kind in self.kinds:
            check_choice("kinds", kind, TEXTS)
        object.__setattr__(self, "kinds", tuple(self.kinds))


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A recipe; the defaults are those of `tiny-base`.

    Lengths in tokens; rates and shares as plain numbers.

    Raises:
        ValueError: a field of another type or out of its range, named.
    """

    positions: str = "rotary"  # "rotary" is Llama's, "learned" GPT-2's
    layers: int = 2
    width: int = 128
    heads: int = 4
    init: float = 0.05  # standard deviation of the initial weights
    steps: int = 6000
    tokens: int = 3072  # per step
    # of the sequences, in as many equal parts of the run
    lengths: tuple[int, ...] = (64, 64, 128, 256)
    # a curriculum, in place of ``lengths`` and the one mixture
    stages: tuple[Stage, ...] = ()
    context: int = 512  # positions that the model has
    lr: float = 3e-3
    warmup: int = 100  # steps
    # last share of the run, in which the rate falls linearly to 0
    cooldown: float = 0.3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of a gradient
    # what a newline is to the trained model: from any word (0) to a separator (1)
    newlines: float = 0.85
    rope_theta: float = 10_000.0  # longest wavelength of rotary positions, over 2π
    # at the start, heads of the first layers look so many words back
    look_back: tuple[int, ...] = ()
    look_layers: int = 1  # of those layers
    seed: int = 0
    device: str = "cpu"  # or "cuda"

    def __post_init__(self):
        check_choice("positions", self.positions, POSITIONS)
        check_choice("device", self.device, DEVICES)
        self._check_integers()
        self._check_numbers()
        self._check_lengths()
        self._check_stages()
        self._check_heads()

    def _check_heads(self) -> None:
        unit = self.heads if self.positions == "learned" else 2 * self.heads
        if self.width % unit:
            raise ValueError(
                f"width: expected a multiple of {unit} for {self.heads} heads with "
                f"{self.positions} positions, found {self.width}"
            )

        back = self._tuple("look_back")
        checked = [check_integer("look_back", d, 1, self.context) for d in back]
        self._set("look_back", tuple(checked))
        if back and (len(back) > self.heads or self.positions != "rotary"):
            raise ValueError(
                f"look_back: expected at most {self.heads} heads, with rotary "
                f"positions, found {len(back)} with {self.positions} ones"
            )

    def stage(self, step: int) -> Stage:
        """Which texts are drawn at this step."""
        if not self.stages:
            part = step * len(self.lengths) // self.steps
            length = self.lengths[min(part, len(self.lengths) - 1)]
            return Stage(share=1 / len(self.lengths), length=length)
        done = 0.0
        for stage in self.stages[:-1]:
            done += stage.share
            if step < round(done * self.steps):
                return stage
        return self.stages[-1]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Every kind of text that is drawn, once."""
        named = [kind for stage in self.stages for kind in stage.kinds]
        return tuple(dict.fromkeys(named or DENSE))

    def length(self, step: int) -> int:
        """Tokens of a sequence at this step."""
        return self.stage(step).length

    def rate(self, step: int) -> float:
        """Learning rate at this step."""
        left = (self.steps - step) / max(self.cooldown * self.steps, 1)
        return self.lr * min((step + 1) / self.warmup, left, 1.0)

    def _check_integers(self) -> None:
        ranges = {
            "layers": (1, 1000),
            "width": (1, 2**16),
            "heads": (1, 2**10),
            "steps": (1, SEEDS_APART),
            "tokens": (2, 2**30),
            "context": (PROBED_LENGTH, 2**20),
            "warmup": (1, SEEDS_APART),
            "look_layers": (1, 1000),
            "seed": (0, 999),  # the texts of seed 1,000 are those of the probes
        }
        for name, (least, most) in ranges.items():
            self._set(name, check_integer(name, getattr(self, name), least, most))

    def _check_numbers(self) -> None:
        for name in ("lr", "clip"):
            self._set(name, check_rate(name, getattr(self, name), above=True))
        self._set("weight_decay", check_rate("weight_decay", self.weight_decay))
        self._set("init", check_number("init", self.init, most=1.0, above=True))
        theta = check_number("rope_theta", self.rope_theta, 1.0, LARGEST_RATE)
        self._set("rope_theta", theta)
        for name in ("cooldown", "newlines"):
            self._set(name, check_number(name, getattr(self, name), most=1.0))
        betas = self._tuple("betas")
        if len(betas) != 2:
            raise ValueError(f"betas: expected two numbers, found {shown(betas)}")
        checked = [check_number("betas", b, most=1.0, below=True) for b in betas]
        self._set("betas", tuple(checked))

    def _check_lengths(self) -> None:
        lengths = self._tuple("lengths")
        if not lengths:
            raise ValueError("lengths: expected at least one, found none")
        # of no meaning where there are stages
        most = 2**20 if self.stages else min(self.tokens, self.context)
        checked = [check_integer("lengths", length, 2, most) for length in lengths]
        self._set("lengths", tuple(checked))

    def _check_stages(self) -> None:
        stages = []
        for stage in self._tuple("stages"):
            if isinstance(stage, Mapping):
                stage = _stage(stage)
            if not isinstance(stage, Stage):
                raise ValueError(f"stages: expected a Stage, found {shown(stage)}")
            most = min(self.tokens, self.context)
            check_integer("stages: length", stage.length, 2, most)
            stages.append(stage)
        total = sum(stage.share for stage in stages)
        if stages and abs(total - 1) > 1e-6:
            raise ValueError(f"stages: expected shares that add up to 1, found {total}")
        self._set("stages", tuple(stages))

    def _tuple(self, name: str) -> tuple:
        value = getattr(self, name)
        if not isinstance(value, (list, tuple)):  # JSON has only lists
            raise ValueError(f"{name}: expected a list, found {shown(value)}")
        return tuple(value)

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)


def _stage(fields: Mapping) -> Stage:
    try:
        return Stage(**fields)
    except TypeError as error:  # unknown or missing fields of a record
        raise ValueError(f"stages: expected a Stage, found {shown(fields)}") from error


def is_of(recorded, config: PretrainConfig) -> bool:
    """Whether a configuration that a record or checkpoint holds is this one."""
    try:
        return PretrainConfig(**recorded) == config
    except (ValueError, TypeError):  # not one, or of fields that there are no more
        return False
