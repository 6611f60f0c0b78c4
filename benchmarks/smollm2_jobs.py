"""The jobs of smollm2.py, the most telling first."""

RATES = (1e-4, 3e-5, 3e-4, 1e-5)
RANK = 8
N = 8  # prompts of an outer step, each of another task


def first_jobs(steps: int) -> list[dict]:
    """The raw model and the sweep."""
    jobs = [raw(mode, 8) for mode in ("direct", "channel")]
    jobs += [sweep("direct", 0, lr, steps) for lr in RATES]
    jobs += [sweep("direct", RANK, lr, steps) for lr in RATES]
    jobs += [raw("direct", 0), raw("channel", 0)]
    jobs += [sweep("channel", 0, lr, steps) for lr in RATES]
    jobs += [raw("direct", 8, "space"), raw("channel", 8, "space")]
    jobs += [sweep("channel", RANK, lr, steps) for lr in RATES]
    return jobs


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


def compare_jobs(rates: dict, steps: int) -> list[dict]:
    """Methods at the best rate of each mode, all parameters; 3 training seeds.

    Per outer step: MetaICL with as many query prompts (n = 4 tasks of 4) as the others,
    FOMAML and MAML-en-LLM (k = 1, 4 support prompts per task) and the latter with an
    inner rate of 0; MetaICL with 16 tasks of 4 prompts costs as many gradients as
    MAML-en-LLM.
    """
    jobs = []
    steps = max(2 * steps // 5, 1)
    lr = rates.get(("direct", 0), 3e-5)
    rows = [("metaicl", 4, None), ("fomaml", 4, lr), ("maml-en-llm", 4, lr)]
    rows += [("fomaml", 4, 0.0), ("metaicl", 16, None)]
    for seed in (1, 2, 3):
        for method, n, inner in rows:
            control = "-zero" if inner == 0 else ""
            job = dict(
                kind="compare",
                name=f"compare-direct-{method}{control}-n{n}-s{seed}",
                mode="direct",
                lora=0,
                method=method,
                lr=lr,
                inner_lr=inner,
                steps=steps,
                seed=seed,
                n=n,
                prompts=4,
            )
            jobs.append(job)
    return jobs
