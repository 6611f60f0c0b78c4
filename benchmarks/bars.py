"""The bars that the engine is held to, and the figures that are held against them."""

import math

from report import figure_of, value_of, verdict

from maml_en_llm import optimizers
from maml_en_llm.meta.trajectory import SPACING

PEERS = ("higher", "torchopt")
# For Adam: (parameter-bound, activation-bound)
FASTER_1, FASTER_4, MEMORY, FD_TIME = (0.5, 0.8), (0.67, 1.0), (0.35, 0.15), (0.7, 0.6)
GROWTH, FD_ERROR, ERROR, PREDICTION = 1.1, 1e-3, 1e-5, 0.1
BOUND = ("parameter", "activation")


def verdicts(rows: list[dict], bandwidth: float) -> list[str]:
    """PASS or FAIL for every bar, for Adam, with the figure.

    ``bandwidth`` is in bytes per second.
    """
    lines = []
    for i, shape in enumerate(BOUND):
        some = [row for row in rows if row["shape"] == shape]
        lines += [
            verdict(f"{shape}-bound, {what}", figure, bar, most=True)
            for what, figure, bar in _bars(some, shape, i, bandwidth)
            if some
        ]
    return lines


def _bars(rows: list[dict], shape: str, i: int, bandwidth: float):
    """(what, figure, bar) for one shape, the ``i``-th of `BOUND`."""

    def get(k, method, what, optimizer="Adam"):
        return value_of(rows, shape, optimizer, k, method, what)

    one = get(0, "first_order", "seconds", optimizer="none")
    yield (
        "time, reverse / the faster of higher and torchopt, k = 1",
        _against_peers(get, 1, "seconds"),
        FASTER_1[i],
    )
    yield "the same, k = 4", _against_peers(get, 4, "seconds"), FASTER_4[i]
    yield (
        "peak memory, reverse / the smaller of theirs, k = 8",
        _against_peers(get, 8, "peak"),
        MEMORY[i],
    )
    for few, many in ((4, 8), (8, 32)):
        yield (
            f"growth of peak per extra inner step, k = {few} to {many}, in copies",
            _growth(get, few, many),
            GROWTH,
        )
    yield from _difference_bars(get, one, FD_TIME[i])
    for method in ("reverse", "finite_difference"):
        yield _distance_from_limit(get, one, bandwidth, method)
    error = get(4, "finite_difference", "error")
    yield "error of finite_difference, k = 4", error, FD_ERROR
    yield from _error_bars(row for row in rows if row["method"] == "reverse")
    yield (
        "k = 32: |peak / predicted - 1|, predicted from k = 4 and 8",
        _surprise(get),
        PREDICTION,
    )


def _against_peers(get, k: int, what: str) -> float | None:
    """This package's figure over the smallest of the peers'."""
    theirs = [get(k, peer, what) for peer in PEERS]
    found = [x for x in theirs if x is not None and math.isfinite(x)]
    return _ratio(get(k, "reverse", what), min(found, default=None))


def _growth(get, few: int, many: int) -> float | None:
    """Slope of the peak in copies of (parameters + gradient + optimizer state)."""
    small, large = get(few, "reverse", "peak"), get(many, "reverse", "peak")
    if small is None or large is None:
        return None
    copies = (2 + len(optimizers.Adam.slots)) * get(few, "reverse", "model_bytes")
    return (large - small) / (many - few) / copies


def _surprise(get) -> float | None:
    few, some, many = (get(k, "reverse", "peak") for k in (4, 8, 32))
    if None in (few, some, many):
        return None
    return abs(many / (some + (32 - 8) * (some - few) / (8 - 4)) - 1)


def _difference_bars(get, one: float | None, bar: float, k: int = 4):
    """Finite differences against the sweep.

    Where they miss the bar, also against what their saving leaves of the sweep's time:
    4k − (2k + 1) gradients less, while the optimizer's passes are common to both.
    """
    found, sweep = get(k, "finite_difference", "seconds"), get(k, "reverse", "seconds")
    ratio = _ratio(found, sweep)
    yield f"time, finite_difference / reverse, k = {k}", ratio, bar
    if ratio and one and ratio > bar:
        yield (
            f"the same, where {2 * k - 1} gradients of {one:.2g} s are what it saves",
            ratio,
            1 - (2 * k - 1) * one / sweep,
        )


def _distance_from_limit(
    get, one: float | None, bandwidth: float, method: str, k: int = 4
):
    """Seconds of Adam's k steps over those that cannot be saved; no bar.

    Those of the gradients, and of the bytes that have to be moved.

    An update reads g, θ, m, v and writes three, its adjoint reads six and writes three
    tensors; `SPACING` - 1 states of `SPACING` are rebuilt. A product is added (3) or
    taken by differences: norm (1), θ + h·v (3), difference (4).
    """
    gradients, passes = {
        "reverse": (4 * k, 3 * k),
        "finite_difference": (2 * k + 1, 8 * k),
    }[method]
    passes += 7 * (k + sum(t % SPACING for t in range(k - 1))) + 9 * k
    what = (
        f"{method}, k = {k}, in times of {gradients} gradients and {passes} passes "
        "over the parameters"
    )
    size, seconds = get(k, method, "model_bytes"), get(k, method, "seconds")
    if not (one and size and seconds):
        return what, None, None
    return (
        what,
        seconds
        / (gradients * one + passes * size * get(k, method, "tasks") / bandwidth),
        None,
    )


def _error_bars(rows):
    """Each measured error, against the bar.

    Or against twice what plain float32 gradients alone give, if that is more.
    """
    for row in rows:
        if (error := figure_of(row, "error")) is not None:
            floor = row.get("rounding", 0)
            because = (
                f", where float32 gradients alone give {floor:.1e}"
                if 2 * floor > ERROR
                else ""
            )
            yield (
                f"error of reverse, {row['optimizer']}, k = {row['k']}{because}",
                error,
                max(ERROR, 2 * floor),
            )


def _ratio(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None
