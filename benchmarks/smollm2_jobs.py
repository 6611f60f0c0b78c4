"""The jobs of smollm2.py: what is left to do, given what is done."""

RATES = (1e-4, 3e-5, 3e-4, 1e-5)
TRIED = RATES[:2]  # outer rates of a method's trials: the sweep's best two
RANK = 8
N = 8  # prompts of an outer step of the sweep, each of another task
SEEDS = (1, 2, 3)  # training seeds of the comparison; the first is the trials', too
EQUAL = "MetaICL, as many gradients"  # at MetaICL's rate, of which it is a budget
METHODS = {  # row: (method, n, inner rate in outer rates); the slowest first
    "MAML-en-LLM": ("maml-en-llm", 4, 1.0),
    "FOMAML": ("fomaml", 4, 1.0),
    "MAML-en-LLM, α = 0": ("fomaml", 4, 0.0),
    "MetaICL": ("metaicl", 4, None),
    EQUAL: ("metaicl", 16, None),
}
ADAPTED = 4  # steps on a target's own demonstrations


def sweep_jobs(steps: int) -> list[dict]:
    """The raw model, and the sweep: can it be tested here at all?"""
    jobs = [raw(mode, 8) for mode in ("direct", "channel")]
    jobs += [sweep("direct", 0, lr, steps) for lr in RATES]
    jobs += [sweep("direct", RANK, lr, steps) for lr in RATES]
    jobs += [raw("direct", 0), raw("channel", 0)]
    jobs += [sweep("channel", 0, lr, steps) for lr in RATES]
    jobs += [raw("direct", 8, "space"), raw("channel", 8, "space")]
    jobs += [sweep("channel", RANK, lr, steps) for lr in RATES]
    return jobs


def compare_jobs(steps: int, rows: list[dict]) -> list[dict]:
    """The comparison, in direct mode with all parameters, as far as it is known.

    First each method's trials on held tasks (`TRIED`, one seed). Once those of a method
    are over, its other seeds at the rate of the lowest held choice NLL. Then MetaICL at
    as many gradients, and every model after `ADAPTED` steps on the demonstrations of
    each target, the raw model's too; and every model once more by the published
    protocol's sizes, on other targets as well.

    Per outer step: 4 tasks of 4 query prompts; FOMAML and MAML-en-LLM take k = 1 step
    on 4 support prompts; the control is FOMAML at an inner rate of 0, which is
    MAML-en-LLM at that rate. MAML-en-LLM costs 16 gradients of 4 prompts, as MetaICL
    does with 16 tasks.
    """
    held = {r["job"]["name"]: r["held"]["choice"] for r in rows if kind(r) == "compare"}
    over = {r["job"]["name"] for r in rows if "held" not in r and "job" in r}
    trials, seeds, last, chosen = [], [], [], []
    for row in METHODS:
        if row == EQUAL:
            continue
        tried = [compare(row, lr, SEEDS[0], steps) for lr in TRIED]
        trials += tried
        if not all(job["name"] in over for job in tried):
            continue
        judged = [job for job in tried if job["name"] in held]
        if not judged:
            continue
        best = min(judged, key=lambda job: held[job["name"]])
        seeds += [compare(row, best["lr"], seed, steps) for seed in SEEDS[1:]]
        if row == "MetaICL":
            last = [compare(EQUAL, best["lr"], seed, steps) for seed in SEEDS]
        chosen += [best["name"]]
    names = [*chosen, *(job["name"] for job in seeds + last)]
    known = [name for name in names if name in held]
    adapted = [adapt(name) for name in ("raw", *known)]
    first = sorted(known, key=lambda name: name.split("-")[-1])  # whole seeds first
    return [*trials, *seeds, *last, *adapted, *map(whole, ("raw", *first))]


def kind(row: dict) -> str:
    """Of the job whose held scores a line has; "" for other lines."""
    return row["job"]["kind"] if "job" in row and "held" in row else ""


def raw(mode: str, demonstrations: int, separator: str = "newline") -> dict:
    """One evaluation of the model as it is."""
    name = f"raw-{mode}-{demonstrations}-{separator}"
    return dict(
        kind="raw",
        name=name,
        mode=mode,
        demonstrations=demonstrations,
        separator=separator,
    )


def sweep(mode: str, lora: int, lr: float, steps: int) -> dict:
    """One run of MetaICL: ``steps`` steps of `N` prompts are N · steps gradients."""
    return dict(
        kind="sweep",
        name=f"sweep-{mode}-{lora}-{lr:g}",
        mode=mode,
        lora=lora,
        lr=lr,
        steps=steps,
        seed=1,
        n=N,
        prompts=1,
    )


def compare(row: str, lr: float, seed: int, steps: int) -> dict:
    """One training by a row of `METHODS`, and its targets in context."""
    method, n, share = METHODS[row]
    place = list(METHODS).index(row)
    return dict(
        kind="compare",
        name=f"compare-{place}-{lr:g}-{seed}",
        row=row,
        mode="direct",
        lora=0,
        method=method,
        lr=lr,
        inner_lr=None if share is None else share * lr,
        steps=steps,
        seed=seed,
        n=n,
        prompts=4,
    )


def adapt(trained: str) -> dict:
    """The targets once more, by a kept model after steps on their demonstrations."""
    return dict(kind="adapt", name=f"adapt-{trained}", mode="direct", trained=trained)


def whole(trained: str) -> dict:
    """A kept model, asked in context with the published protocol's sizes."""
    return dict(kind="whole", name=f"whole-{trained}", mode="direct", trained=trained)
