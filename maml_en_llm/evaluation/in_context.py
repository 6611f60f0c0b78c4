"""How well a model answers in context, by the number of demonstrations."""

from ..protocol import SEEDS
from ..tasks import load_benchmark
from .metrics import predict
from .scoring import score_options

PROBED = ["topic-market", "colour-travel", "size-sea", "state-food", "action-sport"]
DEMONSTRATIONS = (0, 4, 8, 16)
QUERIES = 32  # per task and demonstration seed
LONGEST_PROMPT = 512  # tokens


def in_context(model, tokenizer) -> dict[str, float]:
    """Share of right answers with 0, 4, 8 and 16 demonstrations.

    On five two-label tasks of MiniCrossFit's easiest kind, two demonstration seeds.
    """
    benchmark = load_benchmark(
        "minicrossfit:easy", "class_to_class", seeds=SEEDS[:2], tasks=PROBED
    )
    positions = getattr(model.config, "max_position_embeddings", LONGEST_PROMPT)
    longest = min(LONGEST_PROMPT, positions)
    found = {}
    for demonstrations in DEMONSTRATIONS:
        hits = []
        for task in benchmark.test:
            queries = task.test[:QUERIES]
            for seed in SEEDS[:2]:
                shown = task.few_shot(seed, demonstrations)
                scores = score_options(
                    model, tokenizer, shown, queries, max_length=longest
                )
                hits += [
                    query.options[predict(row)] == query.output
                    for query, row in zip(queries, scores, strict=True)
                ]
        found[f"in context, {demonstrations}"] = sum(hits) / len(hits)
    return found
