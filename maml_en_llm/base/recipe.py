"""Everything that decides a pre-training run."""

from dataclasses import dataclass

from ..errors import check_choice, check_integer, check_number, shown

POSITIONS = ("rotary", "learned")
SEEDS_APART = 10**6  # steps of a run, at most: the next seed's texts begin there
PROBED_LENGTH = 192  # tokens of the texts that the probes use


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """The recipe of `tiny-base`. Lengths in tokens; rates and shares as plain numbers.

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
    seed: int = 0

    def __post_init__(self):
        check_choice("positions", self.positions, POSITIONS)
        self._check_integers()
        self._check_numbers()
        self._check_lengths()
        unit = self.heads if self.positions == "learned" else 2 * self.heads
        if self.width % unit:
            raise ValueError(
                f"width: expected a multiple of {unit} for {self.heads} heads with "
                f"{self.positions} positions, found {self.width}"
            )

    def length(self, step: int) -> int:
        """Tokens of a sequence at this step."""
        part = step * len(self.lengths) // self.steps
        return self.lengths[min(part, len(self.lengths) - 1)]

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
            "seed": (0, 999),  # the texts of seed 1,000 are those of the probes
        }
        for name, (least, most) in ranges.items():
            self._set(name, check_integer(name, getattr(self, name), least, most))

    def _check_numbers(self) -> None:
        for name in ("init", "lr", "clip"):
            self._set(name, check_number(name, getattr(self, name), above=True))
        self._set("weight_decay", check_number("weight_decay", self.weight_decay))
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
        most = min(self.tokens, self.context)
        checked = [check_integer("lengths", length, 2, most) for length in lengths]
        self._set("lengths", tuple(checked))

    def _tuple(self, name: str) -> tuple:
        value = getattr(self, name)
        if not isinstance(value, (list, tuple)):  # JSON has only lists
            raise ValueError(f"{name}: expected a list, found {shown(value)}")
        return tuple(value)

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)
