"""Scoring the options of a query: mean token negative log-likelihood under the prompt (protocol section 4)."""

import copy
import math
from collections.abc import Sequence

import torch

from .models import mean_nll, target_positions
from .prompts import Format, Prompt, PromptEncoder, collate
from .records import Example


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
    share_prefix: bool = True,
    batch_size: int = 16,
) -> list[list[float]]:
    """Score every option of every query; returns, a query, the list of its options' scores in nats a token.

        score(c) = mean over target tokens of −log p(token | everything before it)      smaller is better

    The target is the option in direct mode and the query's text in channel mode; the separator's own token counts
    (protocol 4.2). With ``share_prefix`` the demonstrations are run once and their keys and values reused by every
    prompt that holds them uncut; the scores are the same.

    Raises:
        ValueError: a query without options, a target that does not fit the limit, more tokens than the model has
            positions for, or a score that is not a number.
    """
    if model.training:
        raise ValueError("model: expected evaluation mode, found training mode, whose dropout is random; model.eval()")
    fmt = Format(mode=mode, separator=separator, max_length=max_length, max_example_length=max_example_length)
    encoder = PromptEncoder(tokenizer, fmt)
    prefix, prompts = encoder.demonstrations(demonstrations), []
    for n, query in enumerate(queries):
        if not query.options:
            raise ValueError(f"queries[{n}]: expected options to score, found none: {query.input[:60]!r}")
        prompts.append(encoder.query_prompts(demonstrations, query))
    flat = [prompt for options in prompts for prompt in options]
    _check_positions(model, flat)
    scores = iter(_score(model, flat, prefix if share_prefix else (), batch_size))
    table = [[next(scores) for _ in options] for options in prompts]
    for n, row in enumerate(table):
        if not all(map(math.isfinite, row)):
            raise ValueError(f"queries[{n}]: expected finite scores, found {row}; the model's weights may be damaged")
    return table


def _check_positions(model, prompts: Sequence[Prompt]) -> None:
    longest = max((len(prompt.ids) for prompt in prompts), default=0)
    room = getattr(model.config, "max_position_embeddings", longest)
    if longest > room:
        raise ValueError(f"max_length: expected prompts of at most {room} tokens, the model's limit, found {longest}")


def _score(model, prompts: Sequence[Prompt], prefix: tuple[int, ...], batch_size: int) -> list[float]:
    shared = [n for n, prompt in enumerate(prompts) if _begins_with(prompt, prefix)]
    rest = sorted(set(range(len(prompts))) - set(shared))
    scores = {n: score for n, score in _run(model, prompts, shared, prefix, batch_size)}
    scores.update(_run(model, prompts, rest, (), batch_size))
    return [scores[n] for n in range(len(prompts))]


def _begins_with(prompt: Prompt, prefix: tuple[int, ...]) -> bool:
    # A prompt cut on the left lost its beginning and all its positions shifted: no stored prefix fits it. One
    # context token must come after the prefix, since it predicts the first target token.
    return 0 < len(prefix) < len(prompt.ids) - prompt.n_target and prompt.ids[: len(prefix)] == prefix


def _run(model, prompts, chosen: list[int], prefix: tuple[int, ...], batch_size: int):
    stored = _keys_and_values(model, prefix) if prefix and chosen else None
    chosen = sorted(chosen, key=lambda n: len(prompts[n].ids))  # neighbours of one length need little padding
    for start in range(0, len(chosen), batch_size):
        numbers = chosen[start : start + batch_size]
        rests = [Prompt(prompts[n].ids[len(prefix) :], prompts[n].n_target) for n in numbers]
        yield from zip(numbers, _batch_nll(model, rests, stored, len(prefix)))


def _keys_and_values(model, prefix: tuple[int, ...]):
    ids = torch.tensor([prefix], device=model.device)
    return model(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values


def _batch_nll(model, prompts: Sequence[Prompt], stored, n_stored: int) -> list[float]:
    batch = collate(prompts).to(model.device)
    positions, valid = target_positions(batch.loss_mask)
    mask, past = batch.attention_mask, None
    if stored is not None:
        past = copy.deepcopy(stored)
        past.batch_repeat_interleave(len(prompts))
        mask = torch.cat([mask.new_ones(len(prompts), n_stored), mask], dim=1)
    logits = model(
        input_ids=batch.input_ids,
        attention_mask=mask,
        past_key_values=past,
        use_cache=past is not None,
        logits_to_keep=positions - 1,
    ).logits
    return mean_nll(logits, batch.input_ids.gather(1, positions), valid).tolist()
