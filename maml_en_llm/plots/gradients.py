"""Figures of chapter 2."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import LogLocator

from .style import COLORS, PALETTE


def descent_paths(objective, paths, minimum) -> None:
    """Chapter 2: contours of a function of two parameters, log scale, with descent paths {name: (steps, 2)}."""
    ends = torch.cat(list(paths.values()))
    low, high = ends.min(0).values - 0.6, ends.max(0).values + 0.4
    x, y = (torch.linspace(low[i], high[i], 60, dtype=torch.float64) for i in (0, 1))
    height = [[objective(torch.stack([u, v])) for u in x] for v in y]
    plt.contourf(
        x,
        y,
        height,
        levels=np.geomspace(np.min(height), np.max(height), 25),
        norm="log",
        cmap="Greys",
    )
    for (name, path), color in zip(paths.items(), (PALETTE[0], PALETTE[2], PALETTE[1])):
        plt.plot(*path.T, color=color, lw=2.5, label=name)
        plt.plot(*path[-1], "o", color=color, ms=9, mec="white")
    plt.plot(*minimum, "*", color="black", ms=9, zorder=5)
    plt.plot(*next(iter(paths.values()))[0], "s", color="black", ms=6)
    plt.gca().set(xlabel="$\\theta_1$", ylabel="$\\theta_2$", aspect="equal")
    plt.legend(loc="lower right", frameon=True)


def saved_memory(steps, saved, trajectory) -> None:
    """Chapter 2: MiB saved for backward against k, {mode: values}, and the sweep's stored trajectory on top of its own."""
    plt.plot(
        steps,
        saved["unrolled"],
        "o-",
        color=PALETTE[0],
        label="unrolled: activations of all steps",
    )
    plt.plot(
        steps,
        saved["reverse"],
        "o-",
        color=PALETTE[1],
        label="reverse sweep: activations of one step",
    )
    total = [a + b for a, b in zip(saved["reverse"], trajectory)]
    plt.fill_between(
        steps,
        saved["reverse"],
        total,
        color=PALETTE[1],
        alpha=0.25,
        lw=0,
        label="its trajectory (θ, m, v)",
    )
    (
        plt.xlabel("inner steps k"),
        plt.ylabel("memory (MiB)"),
        plt.ylim(bottom=0),
        plt.xticks(steps),
        plt.legend(),
    )


def first_against_second_order(rates, agreement) -> None:
    """Chapter 2: cosine and relative size of the second-order part against the inner rate, {k: [(cosine, size)]}."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    for (k, rows), color in zip(agreement.items(), PALETTE):
        left.semilogx(
            rates, [cosine for cosine, _ in rows], "o-", color=color, label=f"k = {k}"
        )
        right.loglog(
            rates, [size for _, size in rows], "o-", color=color, label=f"k = {k}"
        )
    left.set(xlabel="inner rate", ylabel="cosine(exact, first order)", ylim=(0, 1.05))
    right.set(xlabel="inner rate", ylabel="second-order part / first-order part")
    right.legend()


def cold_and_warm(magnitudes, roots, parts) -> None:
    """Chapter 2: the gain of a cold Adam step over |g|, and the second-order term {moments: [{part: size}]} over eps_root."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
    g = np.geomspace(1e-7, 1, 300)
    for r, shade in zip((1e-12, 1e-8), (0.45, 1.0)):
        left.loglog(
            g,
            r / (g**2 + r) ** 1.5,
            color=PALETTE[0],
            alpha=shade,
            label=f"cold, eps_root {r:g}",
        )
    left.set(xlabel="|g| of a coordinate", ylabel="gain / rate", ylim=(1e-6, 1e7))
    left.legend(loc="upper right", fontsize="small")
    histogram = left.twinx()
    histogram.hist(
        magnitudes[magnitudes > 1e-7],
        bins=np.geomspace(1e-7, 1, 60),
        color=COLORS["neutral"],
        alpha=0.4,
    )
    histogram.set(yticks=[], zorder=-1)
    left.patch.set_visible(False)
    for (name, part), color, line in zip(
        ((n, p) for n in ("cold", "warm") for p in ("loud", "silent")),
        [PALETTE[0]] * 2 + [PALETTE[1]] * 2,
        ("-", "--") * 2,
    ):
        right.loglog(
            roots,
            [row[part] for row in parts[name]],
            line,
            marker="o",
            color=color,
            label=f"{name}, {part} coordinates",
        )
    right.set(
        xlabel="eps_root", ylabel="second-order term / query gradient", ylim=(1e-5, 4)
    )
    right.legend(fontsize="small", loc="center left")


def against_peers(rows) -> None:
    """Chapter 2: seconds and peak memory of one meta-gradient against k, by method, from the rows of benchmarks/meta_gradient.py.

    Dotted, for orientation: 4k gradients, and a copy of the parameters more a step.
    """
    _, panels = plt.subplots(2, 2, figsize=(9.5, 6.8), sharex=True)
    shown = {
        "reverse": "this package, reverse",
        "unrolled": "this package, unrolled",
        "finite_difference": "finite differences",
        "higher": "higher",
        "torchopt": "torchopt",
    }
    for (seconds, memory), shape in zip(panels, ("parameter", "activation")):
        here = [
            row
            for row in rows
            if row["shape"] == shape
            and row["optimizer"] in ("Adam", "none")
            and "seconds" in row
        ]
        for (method, label), color, mark in zip(
            shown.items(), (1, 3, 2, 0, 4), "osD^v"
        ):
            found = sorted(
                (row["k"], row["seconds"], row["peak"] / 2**30)
                for row in here
                if row["method"] == method
            )
            if not found:
                continue
            for axes, value in ((seconds, 1), (memory, 2)):
                axes.plot(
                    [r[0] for r in found],
                    [r[value] for r in found],
                    mark + "-",
                    color=PALETTE[color],
                    label=label,
                    ms=5,
                )
        one = next(row for row in here if row["optimizer"] == "none")
        sweep = {row["k"]: row for row in here if row["method"] == "reverse"}
        ks = sorted(sweep)
        seconds.plot(
            ks, [4 * k * one["seconds"] for k in ks], "k:", label="4k gradients"
        )
        memory.plot(
            ks,
            [
                (sweep[ks[0]]["peak"] + (k - ks[0]) * one["model_bytes"]) / 2**30
                for k in ks
            ],
            "k:",
        )
        seconds.set(
            title=f"{shape}-bound", ylabel="seconds", xscale="log", yscale="log"
        )
        memory.set(
            title=f"{shape}-bound",
            ylabel="peak above the model, GiB",
            yscale="log",
            xticks=ks,
            xticklabels=ks,
        )
        for axes in (seconds, memory):
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
    for axes in panels[1]:
        axes.set(xlabel="inner steps k")
    panels[0][0].legend(fontsize="small")


def together(rows, bound: int) -> None:
    """Chapter 2: time of several tasks together relative to one by one, from the rows of benchmarks/together.py.

    Against the numbers in one layer's hidden states of a batch; ``bound`` is where `methods` stops running them together.
    """
    axes = plt.figure(figsize=(6.5, 3.6)).gca()
    for family, mark, color in (("gpt2", "o", PALETTE[0]), ("llama", "D", PALETTE[1])):
        here = [row for row in rows if row["family"] == family]
        axes.plot(
            [row["prompts"] * row["length"] * row["width"] for row in here],
            [row["together"] / row["twice"] for row in here],
            mark,
            color=color,
            label=dict(gpt2="GPT-2", llama="Llama")[family],
        )
    axes.axhline(1, color="0.6", lw=1)
    axes.axvline(
        bound * 2**0.5, color="0.3", ls="--", lw=1
    )  # between the grid's powers of two
    axes.set_xscale("log", base=2)
    axes.set(xlabel="tokens × width", ylabel="together / one by one", ylim=(0, None))
    axes.legend()
