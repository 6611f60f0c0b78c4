"""From measurements to rows, a table, and one line per bar."""

import argparse
import math
import os
import platform
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

import torch

from maml_en_llm.errors import check_integer
from maml_en_llm.provenance import check_file, command
from maml_en_llm.tensors import Tensors


def new_file(text: str) -> Path:
    """An argument: a file that can be written, which is known before any work."""
    try:
        return check_file(text, "file")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def at_least_one(text: str) -> int:
    """An argument: a whole number of at least 1."""
    try:
        return check_integer("number", int(text), 1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def summarise(plan, lines: list[dict]) -> list[dict]:
    """One row per case and method of ``plan``, over the repeats in ``lines``.

    The median time, also in gradients, and the largest peak.
    """
    rows = []
    for case, method, _ in plan:
        found = [
            x for x in lines if x["case"] == asdict(case) and x["method"] == method
        ]
        good = [x for x in found if "failed" not in x]
        row = asdict(case) | dict(method=method, repeats=len(good))
        if good:
            # Memory is sampled: the largest peak seen is the nearest to the true one.
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
        one = value_of(rows, row["shape"], "none", 0, "first_order", "seconds")
        if one and "seconds" in row:
            row["gradients"] = row["seconds"] / one
    return rows


def markdown(rows: list[dict]) -> str:
    """The table, in gradients too.

    One is the time of a first-order gradient of as many tasks without inner steps.
    """
    head = (
        "shape",
        "optimizer",
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
        finite = {True: "yes", False: "no"}.get(row.get("finite"), "–")
        if "failed" in row:
            finite = "failed"
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
    versions = {name: _version(name) for name in ("torch", "transformers", *peers)}
    gpu = {"gpu": torch.cuda.get_device_name()} if device.startswith("cuda") else {}
    return gpu | dict(
        cpu=cpu,
        cores=len(os.sched_getaffinity(0)),
        threads=torch.get_num_threads(),
        memory_gib=round(memory / 2**30),
        python=platform.python_version(),
        **versions,
        date=date.today().isoformat(),
        command=command(),
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:  # a peer that is not asked for
        return "not installed"


def distance(found: Tensors, exact: Tensors) -> float:
    """‖found − exact‖ / ‖exact‖ over the tensors of ``exact``, in float64.

    One tensor after the other, wherever they lie: those of a large model fill a device.
    """
    gap = size = torch.zeros((), dtype=torch.float64)
    for name, tensor in exact.items():
        wanted = tensor.cpu().double()
        gap = gap + (found[name].cpu().double() - wanted).square().sum()
        size = size + wanted.square().sum()
    return (gap / size).sqrt().item()


def verdict(
    what: str, figure: float | None, bar: float | None, most: bool = False
) -> str:
    """PASS or FAIL for a figure that has to be at least its bar, or at ``most``."""
    if figure is None:
        return f"not measured: {what}"
    if bar is None:
        return f"{what}: {figure:.3g}"
    held = figure <= bar if most else figure >= bar
    found = "PASS" if held else "FAIL"
    side = "at most" if most else "at least"
    return f"{found}: {what}: {figure:.3g} ({side} {bar:.3g})"


def value_of(rows, shape: str, optimizer: str, k: int, method: str, what: str):
    wanted = dict(shape=shape, optimizer=optimizer, k=k, method=method)
    return next(
        (figure_of(row, what) for row in rows if wanted.items() <= row.items()), None
    )


def figure_of(row: dict, what: str):
    """A figure of a row.

    Infinite where the measurement broke off, or for the error of what is not finite.
    """
    if "failed" in row or (what == "error" and row.get("finite") is False):
        return math.inf
    return row.get(what)


def _show(value, style: str, unit: float = 1) -> str:
    return "–" if value is None else format(value / unit, style)
