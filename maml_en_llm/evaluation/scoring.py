"""Scoring the options of a query: mean token negative log-likelihood under the prompt (protocol section 4)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from ..models.loss import mean_nll, precise, target_positions, using_attention
from ..prompts import Format, Prompt, PromptEncoder, collate
from ..tasks.examples import Example
from .trie import Trie

NULL = "N/A"  # stands for a query's text in PMI


@torch.inference_mode()
def score_options(
    model,
    tokenizer,
    demonstrations: Sequence[Example],
    queries: Sequence[Example],
    *,
    mode: str = "direct",
    separator: str = "newline",
    max_length: int = 1024,
    max_example_length: int = 256,
    instruction: str = "",
    share_prefix: bool = True,
    tokens_at_once: int = 512,
) -> list[list[float]]:
    """Score every option of every query; returns, a query, the list of its options' scores in nats a token.

        score(c) = mean over target tokens of −log p(token | everything before it)      smaller is better

    The target is the option in direct mode and the query's text in channel mode; the separator's own token counts
    (protocol 4.2). ``instruction`` stands before the demonstrations. With ``share_prefix`` nothing that prompts have in
    common is computed twice: the demonstrations are run once, and a `Trie` holds what comes after them. Without, and for models whose attention is not over all that precedes
    (a sliding window, ALiBi, none at all), every option is a sequence of its own; the scores are the same.
    ``tokens_at_once`` bounds the memory: one call of the model has that many tokens and at most one prompt more.

    Raises:
        ValueError: a query without options or with two that are the same to the tokenizer, a target that does not fit the
            limit, more tokens than the model has positions for, or a score that is not a number.
    """
    if model.training:
        raise ValueError(
            "model: expected evaluation mode, found training mode, whose dropout is random; model.eval()"
        )
    fmt = Format(
        mode=mode,
        separator=separator,
        max_length=max_length,
        max_example_length=max_example_length,
    )
    encoder = PromptEncoder(tokenizer, fmt)
    prefix, prompts = encoder.demonstrations(demonstrations, instruction), []
    for n, query in enumerate(queries):
        if not query.options:
            raise ValueError(
                f"queries[{n}]: expected options to score, found none: {query.input[:60]!r}"
            )
        prompts.append(encoder.query_prompts(demonstrations, query, instruction))
        _check_options(query, prompts[-1], n)
    flat = [prompt for options in prompts for prompt in options]
    _check_positions(model, flat)
    fused = model._supports_sdpa
    with using_attention(model, "sdpa" if fused else model.config._attn_implementation):
        share = share_prefix and fused and _sees_everything(model.config)
        scores = iter(
            _shared(model, flat, prefix, tokens_at_once)
            if share
            else _one_by_one(model, flat, tokens_at_once)
        )
    table = [[next(scores) for _ in options] for options in prompts]
    for n, row in enumerate(table):
        if not all(map(math.isfinite, row)):
            raise ValueError(
                f"queries[{n}]: expected finite scores, found {row}; the model's weights may be damaged"
            )
    return table


def score_pmi(
    model, tokenizer, demonstrations, queries: Sequence[Example], **how
) -> list[list[float]]:
    """As `score_options`, less the score of the same option where the query's text is "N/A" (protocol 2.5).

        PMI(c) = score(c | x) − score(c | "N/A"),      the demonstrations being the same

    Raises:
        ValueError: in channel mode, where the text is what is scored.
    """
    if how.get("mode", "direct") != "direct":
        raise ValueError(
            f"mode: expected 'direct', the only one that PMI is defined for, found {how['mode']!r}"
        )
    with_text = score_options(model, tokenizer, demonstrations, queries, **how)
    without = score_options(
        model,
        tokenizer,
        demonstrations,
        [replace(q, input=NULL) for q in queries],
        **how,
    )
    return [[a - b for a, b in zip(row, null)] for row, null in zip(with_text, without)]


def _check_options(query: Example, prompts: Sequence[Prompt], n: int) -> None:
    known: dict[tuple[int, ...], str] = {}
    for option, prompt in zip(query.options, prompts):
        same = known.setdefault(prompt.ids, option)
        if (
            same.strip() != option.strip()
        ):  # they would tie always, and the first would win
            raise ValueError(
                f"queries[{n}]: expected options of different tokens, found {same!r} and {option!r} with the same; "
                "the tokenizer may not know their words"
            )


def _check_positions(model, prompts: Sequence[Prompt]) -> None:
    longest = max((len(prompt.ids) for prompt in prompts), default=0)
    room = getattr(model.config, "max_position_embeddings", longest)
    if longest > room:
        raise ValueError(
            f"max_length: expected prompts of at most {room} tokens, the model's limit, found {longest}"
        )


def _sees_everything(config) -> bool:
    """Whether each token attends to all before it, wherever they stand in a row: what an explicit mask can express."""
    layers = {*(getattr(config, "layer_types", None) or ["full_attention"])}
    partial = ("sliding_window", "attention_types", "alibi")
    return layers == {"full_attention"} and not any(
        getattr(config, name, None) for name in partial
    )


def _shared(
    model, prompts: Sequence[Prompt], prefix: tuple[int, ...], tokens_at_once: int
) -> list[float]:
    whole = [n for n, prompt in enumerate(prompts) if _begins_with(prompt, prefix)]
    cut = sorted(set(range(len(prompts))) - set(whole))
    scores = dict(_by_tries(model, prompts, whole, prefix, tokens_at_once))
    scores.update(_by_tries(model, prompts, cut, (), tokens_at_once))
    return [scores[n] for n in range(len(prompts))]


def _begins_with(prompt: Prompt, prefix: tuple[int, ...]) -> bool:
    # A prompt cut on the left lost its beginning and all its positions shifted: no stored prefix fits it. One
    # context token must come after the prefix, since it predicts the first target token.
    return (
        0 < len(prefix) < len(prompt.ids) - prompt.n_target
        and prompt.ids[: len(prefix)] == prefix
    )


def _by_tries(
    model, prompts, chosen: list[int], prefix: tuple[int, ...], tokens_at_once: int
) -> Iterator[tuple[int, float]]:
    stored = _keys_and_values(model, prefix) if prefix and chosen else None
    rests = {
        n: Prompt(prompts[n].ids[len(prefix) :], prompts[n].n_target) for n in chosen
    }
    order = sorted(chosen, key=lambda n: rests[n].ids)  # neighbours share the most
    for trie, paths in _tries(rests, order, tokens_at_once):
        scores = _trie_nll(
            model, trie, [(paths[n], rests[n]) for n in paths], stored, len(prefix)
        )
        if stored is not None:
            stored.crop(-len(trie.ids))
        yield from zip(paths, scores)


def _tries(
    prompts: dict[int, Prompt], order: list[int], size: int
) -> Iterator[tuple[Trie, dict[int, list[int]]]]:
    """Tries of ``size`` nodes, each with its prompts' paths; one prompt more where it shares most of its tokens."""
    trie, paths = Trie(), {}
    for n in order:
        tokens = prompts[n].ids[:-1]  # the last one predicts nothing that is asked
        apart = len(tokens) - trie.shared(tokens)
        most = size + len(tokens) if 2 * apart <= len(tokens) else size
        if paths and len(trie.ids) + apart > most:
            yield trie, paths
            trie, paths = Trie(), {}
        paths[n] = trie.add(tokens)
    if paths:
        yield trie, paths


def _keys_and_values(model, prefix: tuple[int, ...]):
    ids = torch.tensor([prefix], device=model.device)
    return model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values


def _trie_nll(model, trie: Trie, asked, stored, n_stored: int) -> list[float]:
    """Mean NLL of each prompt's target, where ``asked`` holds (path, prompt) pairs."""
    nodes = [
        node for path, prompt in asked for node in path[-prompt.n_target :]
    ]  # each predicts the token that follows it
    labels = [token for _, prompt in asked for token in prompt.ids[-prompt.n_target :]]
    kept, where = torch.tensor(nodes).unique(return_inverse=True)
    logits = model(
        input_ids=torch.tensor([trie.ids], device=model.device),
        position_ids=torch.tensor([trie.depths], device=model.device) + n_stored,
        attention_mask=_mask(trie, n_stored, model),
        past_key_values=stored,
        use_cache=stored is not None,
        logits_to_keep=kept[None].to(model.device),
    ).logits[0]
    logits = precise(logits)
    total = logits.logsumexp(-1)[where] - logits[where, torch.tensor(labels)]
    return [
        part.mean().item()
        for part in total.split([prompt.n_target for _, prompt in asked])
    ]


def _mask(trie: Trie, n_stored: int, model) -> torch.Tensor:
    """(1, 1, N, stored + N), added to the attention's scores: 0 where a node may look, −∞ elsewhere."""
    seen = trie.visible()
    seen = torch.cat([seen.new_ones(len(seen), n_stored), seen], dim=1)
    return (
        torch.zeros(seen.shape, dtype=model.dtype)
        .masked_fill_(~seen, float("-inf"))[None, None]
        .to(model.device)
    )


def _one_by_one(model, prompts: Sequence[Prompt], tokens_at_once: int) -> list[float]:
    """The plain way: a right-padded batch of whole sequences at a time, neighbours in length."""
    order, scores = sorted(range(len(prompts)), key=lambda n: len(prompts[n].ids)), {}
    while order:
        rows = max(tokens_at_once // len(prompts[order[-1]].ids), 1)
        order, chosen = order[:-rows], order[-rows:]
        scores.update(zip(chosen, _batch_nll(model, [prompts[n] for n in chosen])))
    return [scores[n] for n in range(len(prompts))]


def _batch_nll(model, prompts: Sequence[Prompt]) -> list[float]:
    batch = collate(prompts).to(model.device)
    positions, valid = target_positions(batch.loss_mask)
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        use_cache=False,
        logits_to_keep=positions - 1,
    ).logits
    return mean_nll(logits, batch.input_ids.gather(1, positions), valid).tolist()
