"""Figures of the book, one function each; numbers come in, a matplotlib axis comes out."""

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch

PALETTE = sns.color_palette("colorblind")
COLORS = {"metaicl": PALETTE[0], "maml-en-llm": PALETTE[1], "first_order": PALETTE[2], "neutral": PALETTE[7]}


def use_style() -> None:
    """Opaque white background (readable in dark mode), colour-blind-safe colours, sharp enough for print."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update({
        "figure.figsize": (7.0, 4.0), "figure.dpi": 150, "savefig.dpi": 150, "figure.facecolor": "white",
        "axes.facecolor": "white", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        "svg.hashsalt": "maml-en-llm", "figure.constrained_layout.use": True,
    })


def descent_paths(objective, paths, minimum) -> None:
    """Chapter 2: contours of a function of two parameters, log scale, with descent paths {name: (steps, 2)}."""
    ends = torch.cat(list(paths.values()))
    low, high = ends.min(0).values - 0.6, ends.max(0).values + 0.4
    x, y = (torch.linspace(low[i], high[i], 60, dtype=torch.float64) for i in (0, 1))
    height = [[objective(torch.stack([u, v])) for u in x] for v in y]
    plt.contourf(x, y, height, levels=np.geomspace(np.min(height), np.max(height), 25), norm="log", cmap="Greys")
    for (name, path), color in zip(paths.items(), (PALETTE[0], PALETTE[2], PALETTE[1])):
        plt.plot(*path.T, color=color, lw=2.5, label=name)
        plt.plot(*path[-1], "o", color=color, ms=9, mec="white")
    plt.plot(*minimum, "*", color="black", ms=9, zorder=5)
    plt.plot(*next(iter(paths.values()))[0], "s", color="black", ms=6)
    plt.gca().set(xlabel="$\\theta_1$", ylabel="$\\theta_2$", aspect="equal")
    plt.legend(loc="lower right", frameon=True)


def saved_memory(steps, saved, trajectory) -> None:
    """Chapter 2: MiB saved for backward against k, {mode: values}, and the sweep's stored trajectory on top of its own."""
    plt.plot(steps, saved["unrolled"], "o-", color=PALETTE[0], label="unrolled: activations of all steps")
    plt.plot(steps, saved["reverse"], "o-", color=PALETTE[1], label="reverse sweep: activations of one step")
    total = [a + b for a, b in zip(saved["reverse"], trajectory)]
    plt.fill_between(steps, saved["reverse"], total, color=PALETTE[1], alpha=0.25, lw=0, label="its trajectory (θ, m, v)")
    plt.xlabel("inner steps k"), plt.ylabel("memory (MiB)"), plt.ylim(bottom=0), plt.xticks(steps), plt.legend()


def first_against_second_order(rates, agreement) -> None:
    """Chapter 2: cosine and relative size of the second-order part against the inner rate, {k: [(cosine, size)]}."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6))
    for (k, rows), color in zip(agreement.items(), PALETTE):
        left.semilogx(rates, [cosine for cosine, _ in rows], "o-", color=color, label=f"k = {k}")
        right.loglog(rates, [size for _, size in rows], "o-", color=color, label=f"k = {k}")
    left.set(xlabel="inner rate", ylabel="cosine(exact, first order)", ylim=(0, 1.05))
    right.set(xlabel="inner rate", ylabel="second-order part / first-order part")
    right.legend()


def cold_and_warm(magnitudes, roots, parts) -> None:
    """Chapter 2: the gain of a cold Adam step over |g|, and the second-order term {moments: [{part: size}]} over eps_root."""
    _, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8))
    g = np.geomspace(1e-7, 1, 300)
    for r, shade in zip((1e-12, 1e-8), (0.45, 1.0)):
        left.loglog(g, r / (g**2 + r) ** 1.5, color=PALETTE[0], alpha=shade, label=f"cold, eps_root {r:g}")
    left.set(xlabel="|g| of a coordinate", ylabel="gain / rate", ylim=(1e-6, 1e7))
    left.legend(loc="upper right", fontsize="small")
    histogram = left.twinx()
    histogram.hist(magnitudes[magnitudes > 1e-7], bins=np.geomspace(1e-7, 1, 60), color=COLORS["neutral"], alpha=0.4)
    histogram.set(yticks=[], zorder=-1)
    left.patch.set_visible(False)
    for (name, part), color, line in zip(
        ((n, p) for n in ("cold", "warm") for p in ("loud", "silent")), [PALETTE[0]] * 2 + [PALETTE[1]] * 2, ("-", "--") * 2
    ):
        right.loglog(roots, [row[part] for row in parts[name]], line, marker="o", color=color, label=f"{name}, {part} coordinates")
    right.set(xlabel="eps_root", ylabel="second-order term / query gradient", ylim=(1e-5, 4))
    right.legend(fontsize="small", loc="center left")


def prompt_tokens(prompts, *, columns=88) -> None:
    """Chapter 1: prompts drawn token by token, one below the other.

    ``prompts``: {title: [(token, role, scored)]} with role "text", "answer", "within" (separator inside an example) or
    "between" (Δ, after which a new line starts); ``scored`` tokens get a frame. Lines hold ``columns`` characters.
    """
    colors = {"text": _tint(PALETTE[9]), "answer": _tint(PALETTE[1])} | dict.fromkeys(("between", "within"), _tint(PALETTE[7]))
    rows = [row for title, tokens in prompts.items() for row in (title, *_token_lines(tokens, columns), None)][:-1]
    _, ax = plt.subplots(figsize=(9.0, 0.27 * len(rows) + 0.5))
    for y, row in enumerate(rows):
        if isinstance(row, str):
            ax.text(0, y, row, fontsize=10, fontweight="bold", va="center")
            continue
        for x, width, text, role, scored in row or ():
            frame = dict(edgecolor="black", linewidth=1.4, zorder=3) if scored else dict(edgecolor="white", linewidth=0.8)
            ax.add_patch(plt.Rectangle((x, y - 0.42), width, 0.84, facecolor=colors[role], **frame))
            ax.text(x + width / 2, y, text, fontsize=7.5, family="monospace", ha="center", va="center", zorder=4)
    patches = [plt.Rectangle((0, 0), 1, 1, facecolor=colors[role]) for role in ("text", "answer", "within")]
    patches.append(plt.Rectangle((0, 0), 1, 1, facecolor="white", edgecolor="black", linewidth=1.4))
    ax.legend(patches, ["text", "answer", "separator", "target: the tokens scored"], ncols=4, loc="upper left",
              bbox_to_anchor=(0, 0), fontsize=9, borderaxespad=0.2, handlelength=1.2)
    ax.set(xlim=(-0.5, columns + 0.5), ylim=(len(rows) - 0.4, -0.6))
    ax.axis("off")


def prompt_cut(lengths, cut, limit) -> None:
    """Chapter 1: one prompt as a strip of examples along the token axis, with the ``cut`` tokens on its left struck out.

    ``lengths``: tokens of every demonstration, then of the query; ``limit`` is the sequence limit. Units: tokens.
    """
    _, ax = plt.subplots(figsize=(7.0, 1.5))
    start = -cut
    for n, length in enumerate(lengths):
        query = n == len(lengths) - 1
        ax.barh(0, length, left=start, color=_tint(PALETTE[1 if query else 9]), edgecolor="white", linewidth=1.2)
        ax.text(start + length / 2, 0, "query" if query else n + 1, ha="center", va="center", fontsize=8,
                rotation=90 if query else 0)
        start += length
    ax.barh(0, cut, left=-cut, color="none", edgecolor="0.35", hatch="////", linewidth=0)
    for x in (0, limit):
        ax.axvline(x, color="black", linewidth=1.2)
    ax.set(yticks=[], xlabel="position in the prompt that the model sees (tokens)")
    ax.spines["left"].set_visible(False)


def emergence(records) -> None:
    """Chapter 1: what a base model can do against its pre-training steps, {name: record of `pretrain.pretrain`}.

    Dotted lines: the training sequences become longer.
    """
    panels = {"loss (nats a token)": ["loss"], "repeated rows: right words": ["repeats"], "glossaries: right values": ["recall"],
              "in context: right answers": ["in context, 16", "in context, 8"]}
    _, axes = plt.subplots(2, 2, figsize=(9.0, 5.6), sharex=True)
    for ax, (title, keys) in zip(axes.flat, panels.items()):
        for (name, record), color in zip(records.items(), PALETTE):
            for key, style in zip(keys, ("o-", "^:")):
                points = zip(*((row["step"], row[key]) for row in record["probes"]))
                ax.plot(*points, style, color=color, ms=3.5, label=name if ax is axes[0, 0] else f"{key[12:]} demonstrations")
        steps, lengths = (record["config"][key] for key in ("steps", "lengths"))
        for n in (n for n in range(1, len(lengths)) if lengths[n] != lengths[n - 1]):
            ax.axvline(n * steps / len(lengths), color="0.6", ls=":", lw=1)
        ax.set(title=title, ylim=(0, None if keys == ["loss"] else 1.03))
    axes[0, 0].legend()
    plt.legend(*(part[:2] for part in axes[1, 1].get_legend_handles_labels()), fontsize=9)
    plt.axhline(0.5, color=COLORS["neutral"], lw=1)
    plt.gcf().supxlabel("pre-training step", fontsize=11)


def against_demonstrations(numbers, curves, guessing) -> None:
    """Chapter 1: accuracy against the number of demonstrations, a panel a kind of task. Units: points.

    ``curves``: {kind: {name: [one accuracy a number]}}; ``guessing``: {kind: accuracy of uniform guessing}.
    """
    _, axes = plt.subplots(1, len(curves), figsize=(9.0, 3.5), sharey=True, squeeze=False)
    for ax, (kind, rows) in zip(axes[0], curves.items()):
        for (name, row), color, style in zip(rows.items(), (PALETTE[0], PALETTE[2]), ("o-", "s--")):
            ax.plot(range(len(numbers)), row, style, color=color, label=name)
        ax.axhline(guessing[kind], color=COLORS["neutral"], linestyle=":", label="guessing")
        ax.set(xticks=range(len(numbers)), xticklabels=numbers, xlabel="demonstrations", title=kind, ylim=(0, 100))
    axes[0, 0].set_ylabel("accuracy (points)")
    axes[0, 0].legend(loc="upper left", fontsize=9)


def running_mean(values, window):
    """Means of every ``window`` neighbouring values, one for each step from number ``window`` on."""
    return np.convolve(values, np.ones(window) / window, mode="valid")


def meta_training(records, window, uniform) -> None:
    """Chapter 3: losses of a meta-training over outer steps, smoothed by a running mean over ``window`` steps.

    ``records``: {method: [one record of `meta_train` a seed]}. Left: query losses, each seed thin and their mean bold,
    with the loss ``uniform`` of knowing nothing. Right, for MAML-en-LLM: the support loss at θ, before the first inner
    step, and the query loss after the last. Units: nats a target token.
    """
    maml = records["maml-en-llm"]
    before = [[sum(task[0] for task in step) / len(step) for step in r["inner_losses"]] for r in maml]
    after = [r["losses"] for r in maml]
    _, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.9), sharey=True)
    for name, label in (("metaicl", "MetaICL, at θ"), ("maml-en-llm", "MAML-en-LLM, at the adapted θᵢ")):
        _seeds_and_mean(left, [r["losses"] for r in records[name]], window, COLORS[name], label)
    left.axhline(uniform, color=COLORS["neutral"], linestyle=":")
    left.text(left.get_xlim()[1], uniform, "all words alike", ha="right", va="bottom", fontsize=9)
    left.set(xlabel="outer step", ylabel="loss (nats a target token)", title="Query loss")
    _seeds_and_mean(right, before, window, COLORS["neutral"], "before: support prompt, at θ")
    _seeds_and_mean(right, after, window, COLORS["maml-en-llm"], "after: query prompt, at the adapted θᵢ")
    right.set(xlabel="outer step", title="MAML-en-LLM, before and after adaptation")
    for ax in (left, right):
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(fontsize=9, loc="lower left")


def _seeds_and_mean(ax, runs, window, color, label) -> None:
    smooth = np.array([running_mean(run, window) for run in runs])  # (seeds, steps - window + 1)
    steps = np.arange(window, window + smooth.shape[1])
    ax.plot(steps, smooth.T, color=color, linewidth=0.8, alpha=0.45)
    ax.plot(steps, smooth.mean(0), color=color, linewidth=2.6, label=label)


def _tint(color, strength=0.45):
    return tuple(1 - strength * (1 - channel) for channel in color)


def _token_lines(tokens, columns):
    """Tokens laid out as lines of (x, width, text, role, scored); a new line after Δ and where a line is full."""
    lines, x, before = [[]], 0.0, None
    for text, role, scored in tokens:
        shown = text.replace("\n", "↵").replace(" ", "·")
        width = len(shown) + 0.7
        if (before == "between" and role != before) or x + width > columns:
            lines, x = [*lines, []], 0.0
        lines[-1].append((x, width, shown, role, scored))
        x, before = x + width, role
    return lines
