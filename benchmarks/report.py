"""From measurements to rows, a table, and one line a bar."""

import math
import os
import platform
import sys
from dataclasses import asdict
from datetime import date
from importlib.metadata import version
from statistics import median

import torch

from maml_en_llm import optimizers
from maml_en_llm.meta.trajectory import EVERY

PEERS = ("higher", "torchopt")
# bars of the issue for Adam: (what, parameter-bound, activation-bound)
FASTER_1, FASTER_4, MEMORY, FD_TIME = (0.5, 0.8), (0.67, 1.0), (0.35, 0.15), (0.7, 0.6)
GROWTH, FD_ERROR, ERROR, PREDICTION = 1.1, 1e-3, 1e-5, 0.1
BOUND = ("parameter", "activation")


def summarise(plan, lines: list[dict]) -> list[dict]:
    """One row a case and method of ``plan``: over the repeats of ``lines`` the median time, also in gradients, and the largest peak."""
    rows = []
    for case, method, _ in plan:
        found = [
            x for x in lines if x["case"] == asdict(case) and x["method"] == method
        ]
        good = [x for x in found if "failed" not in x]
        row = asdict(case) | dict(method=method, repeats=len(good))
        if good:
            # memory is sampled: the largest peak seen is the nearest to the true one, for every method
            row |= dict(
                seconds=median(x["seconds"] for x in good),
                peak=max(x["peak"] for x in good),
            )
            row |= {
                n: good[0][n]
                for n in (
                    "model_bytes",
                    "finite",
                    "error",
                    "rounding",
                    "second_order_share",
                )
                if n in good[0]
            }
        elif found:
            row["failed"] = found[-1]["failed"]
        if found:
            rows.append(row)
    for row in rows:
        one = _value(rows, row["shape"], "none", 0, "first_order", "seconds")
        if one and "seconds" in row:
            row["gradients"] = row["seconds"] / one
    return rows


def markdown(rows: list[dict]) -> str:
    """The table; a gradient equivalent is the time of one first-order gradient of as many tasks without inner steps."""
    head = (
        "shape",
        "optimiser",
        "k",
        "method",
        "s",
        "gradients",
        "peak GiB",
        "error",
        "share",
        "finite",
        "repeats",
    )
    lines = [head, ("---",) * len(head)]
    for row in rows:
        numbers = [
            _show(row.get("seconds"), ".2f"),
            _show(row.get("gradients"), ".1f"),
            _show(row.get("peak"), ".3f", 2**30),
            _show(row.get("error"), ".1e"),
            _show(row.get("second_order_share"), ".2f"),
        ]
        finite = (
            "failed"
            if "failed" in row
            else {True: "yes", False: "no"}.get(row.get("finite"), "–")
        )
        lines.append(
            (
                row["shape"],
                row["optimizer"],
                row["k"],
                row["method"],
                *numbers,
                finite,
                row["repeats"],
            )
        )
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def verdicts(rows: list[dict], bandwidth: float) -> list[str]:
    """PASS or FAIL for every bar of the issue, for Adam, with the figure; ``bandwidth`` in bytes a second."""
    lines = []
    for i, shape in enumerate(BOUND):
        if not any(row["shape"] == shape for row in rows):
            continue

        def get(k, method, what, optimizer="Adam"):
            return _value(rows, shape, optimizer, k, method, what)

        def against_peers(k, what):
            found = [
                x
                for x in (get(k, peer, what) for peer in PEERS)
                if x is not None and math.isfinite(x)
            ]
            return _ratio(get(k, "reverse", what), min(found, default=None))

        one = get(0, "first_order", "seconds", optimizer="none")
        bars = [
            (
                "time, reverse / the faster of higher and torchopt, k = 1",
                against_peers(1, "seconds"),
                FASTER_1[i],
            ),
            ("the same, k = 4", against_peers(4, "seconds"), FASTER_4[i]),
            (
                "peak memory, reverse / the smaller of theirs, k = 8",
                against_peers(8, "peak"),
                MEMORY[i],
            ),
            (
                "growth of peak per extra inner step, k = 4 to 8, in copies",
                _growth(get, 4, 8),
                GROWTH,
            ),
            (
                "growth of peak per extra inner step, k = 8 to 32, in copies",
                _growth(get, 8, 32),
                GROWTH,
            ),
            *_difference_bars(get, one, FD_TIME[i]),
            *(
                _distance_from_limit(get, one, bandwidth, method)
                for method in ("reverse", "finite_difference")
            ),
            (
                "error of finite_difference, k = 4",
                get(4, "finite_difference", "error"),
                FD_ERROR,
            ),
            *_error_bars(
                row
                for row in rows
                if row["shape"] == shape and row["method"] == "reverse"
            ),
            (
                "k = 32: |peak / predicted - 1|, predicted from k = 4 and 8",
                _surprise(get),
                PREDICTION,
            ),
        ]
        lines += [
            verdict(f"{shape}-bound, {what}", figure, bar, most=True)
            for what, figure, bar in bars
        ]
    return lines


def machine(device: str, peers=()) -> dict:
    """Where and with what the measurements were made."""
    with open("/proc/cpuinfo") as file:
        cpu = next(
            (
                line.split(":")[1].strip()
                for line in file
                if line.startswith("model name")
            ),
            platform.machine(),
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {name: version(name) for name in ("torch", "transformers", *peers)}
    gpu = {"gpu": torch.cuda.get_device_name()} if device.startswith("cuda") else {}
    return gpu | dict(
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        memory_gib=round(memory / 2**30),
        python=platform.python_version(),
        **versions,
        date=date.today().isoformat(),
        command=" ".join(
            os.path.relpath(word) if os.path.isabs(word) else word for word in sys.argv
        ),  # no path of this machine
    )


def distance(grads, expected) -> float:
    """‖a − b‖ / ‖b‖ over all parameters."""
    gap = sum((grads[name] - g).square().sum() for name, g in expected.items())
    return (gap / sum(g.square().sum() for g in expected.values())).sqrt().item()


def verdict(
    what: str, figure: float | None, bar: float | None, most: bool = False
) -> str:
    """PASS or FAIL for a figure that has to be at least its bar, or at ``most``."""
    if figure is None:
        return f"not measured: {what}"
    if bar is None:
        return f"{what}: {figure:.3g}"
    held = figure <= bar if most else figure >= bar
    return f"{'PASS' if held else 'FAIL'}: {what}: {figure:.3g} ({'at most' if most else 'at least'} {bar:.3g})"


def _value(rows, shape: str, optimizer: str, k: int, method: str, what: str):
    wanted = dict(shape=shape, optimizer=optimizer, k=k, method=method)
    return next(
        (_figure(row, what) for row in rows if wanted.items() <= row.items()), None
    )


def _figure(row: dict, what: str):
    """A figure of a row; infinite where the measurement broke off, or for the error of what is not finite."""
    if "failed" in row or (what == "error" and row.get("finite") is False):
        return math.inf
    return row.get(what)


def _growth(get, few: int, many: int) -> float | None:
    """Slope of the peak in copies of (parameters + gradient + optimiser state)."""
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
    """Finite differences against the sweep; where they miss the bar, also against what their saving leaves of the sweep's
    time: 4k − (2k + 1) gradients less, while the optimiser's passes over the parameters are common to both."""
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
    """Seconds of Adam's k steps over those of the gradients and of the bytes that have to be moved; no bar.

    An update reads g, θ, m, v and writes three, its adjoint reads six and writes three tensors; `EVERY` - 1 states of
    `EVERY` are rebuilt. A product is added (3) or taken by differences: norm (1), θ + h·v (3), difference (4).
    """
    gradients, passes = {
        "reverse": (4 * k, 3 * k),
        "finite_difference": (2 * k + 1, 8 * k),
    }[method]
    passes += 7 * (k + sum(t % EVERY for t in range(k - 1))) + 9 * k
    what = f"{method}, k = {k}, in times of {gradients} gradients and {passes} passes over the parameters"
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
    """Each measured error, against the bar or twice what plain float32 gradients alone give, if that is more."""
    for row in rows:
        if (error := _figure(row, "error")) is not None:
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


def _show(value, style: str, unit: float = 1) -> str:
    return "–" if value is None else format(value / unit, style)
