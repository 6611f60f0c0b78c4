"""Demonstrations that a prompt has no room for: which targets lose some, how many."""

import warnings
from collections.abc import Sequence

from ..errors import listed
from ..prompts import Cut, Format, Prompt, PromptEncoder
from ..tasks import Benchmark, Example, Task

CUT_QUERIES = 16  # test examples of a task over whose prompts cuts are counted


def told_cuts(
    tokenizer,
    benchmark: Benchmark,
    fmt: Format,
    k: int,
    instructions: bool = False,
    *,
    seeds: Sequence[int],
    max_records: int | None,
) -> dict[str, dict[str, float]]:
    """The targets whose prompts are cut, each with its `Cut`; a warning names them.

    Counted over the first test examples and all demonstration seeds. A task that cannot
    be scored is left out here, and says why when its turn comes.
    """
    queries = min(max_records or CUT_QUERIES, CUT_QUERIES)
    encoder = PromptEncoder(tokenizer, fmt)
    found = {}
    for task in benchmark.test if k else ():
        instruction = task.instruction_if(instructions)
        try:
            cut = _cut_of(encoder, task, seeds, k, task.test[:queries], instruction)
        except Exception:  # of any tokenizer; scoring the task will say what it is
            continue
        if cut.prompts:
            found[task.name] = cut
    if found:
        left = (f"{name} {cut.whole:.1f}" for name, cut in found.items())
        warnings.warn(
            f"max_length: {fmt.max_length} tokens are too few for {k} demonstrations; "
            f"left whole in the mean: {listed(left)}; raise max_length, or lower k",
            stacklevel=3,
        )
    return {name: cut._asdict() for name, cut in found.items()}


def _cut_of(
    encoder: PromptEncoder,
    task: Task,
    seeds: Sequence[int],
    k: int,
    queries: Sequence[Example],
    instruction: str,
) -> Cut:
    found: list[tuple[Prompt, int]] = []
    for seed in seeds:
        shown = task.few_shot(seed, k)
        for query in queries:
            options = encoder.query_prompts(shown, query, instruction)
            shortened = max(options, key=lambda prompt: prompt.dropped)
            whole = encoder.whole(shown, shortened, instruction)
            found.append((shortened, whole))
    return Cut.of(found)
