"""Scoring the options of a query: mean token negative log-likelihood (protocol 4)."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..errors import check_integer, check_truth, listed, shown
from ..models import failing, safe
from ..models.attention import using_attention
from ..models.sizes import positions_of, rows_of, text_config
from ..prompts import Format, Prompt, PromptEncoder
from ..prompts.batches import checked_ids
from ..tasks.examples import Example
from ..tasks.labels import is_blank, label_of
from .arguments import check_model, checked_examples, prefix_of
from .prompt_nll import plain_scores, shared_scores

CALL_ON_CPU = 512  # tokens; its caches hold no more
CALL_ELSEWHERE = 4096  # a GPU is idle with less
NULL = "N/A"  # stands for a query's text in PMI


class ScoresNotFinite(ValueError):
    """A model that gives no numbers, as after a rate that broke it."""


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
    bos: bool = False,
    instruction: str = "",
    share_prefix: bool = True,
    tokens_at_once: int | None = None,
) -> list[list[float]]:
    """Score every option of every query: one row per query, in nats per token.

        score(c) = mean over target tokens of −log p(token | everything before it)

    Smaller is better. The separator before the target counts too (protocol 4.2).

    Args:
        bos: the tokenizer's beginning-of-text token stands first, before `instruction`.
        share_prefix: demonstrations are run once, a `Trie` holds what comes after them.
            Without, or for an unknown model, each option is a sequence of its own.
        tokens_at_once: of one call of the model, which has at most one prompt more;
            None: `CALL_ON_CPU` or, on other devices, `CALL_ELSEWHERE`.

    Raises `ValueError` for a query, by its number, that cannot be scored, and for a
    model in training mode or whose scores are not numbers.
    """
    check_model(model)
    demonstrations = checked_examples("demonstrations", demonstrations)
    queries = checked_examples("queries", queries)
    check_truth("share_prefix", share_prefix)
    tokens_at_once = _tokens_of_a_call(tokens_at_once, model)
    fmt = Format(
        mode=mode,
        separator=separator,
        max_length=max_length,
        max_example_length=max_example_length,
        bos=bos,
    )
    encoder = PromptEncoder(tokenizer, fmt)
    prefix = prefix_of(encoder, demonstrations, instruction)
    prompts = _prompts(model, encoder, demonstrations, queries, instruction)
    flat = [prompt for options in prompts for prompt in options]
    scores = iter(prompt_scores(model, flat, prefix, share_prefix, tokens_at_once))
    table = [[next(scores) for _ in options] for options in prompts]
    return _finite(table)


@torch.inference_mode()
def score_prompts(
    model, prompts: Sequence[Prompt], *, tokens_at_once: int | None = None
) -> list[float]:
    """Mean −log p of each prompt's target, in nats per token: `score_options` by hand.

    For `prompts.Prompt` of one's own, as from a chat template. Raises `ValueError` as
    `score_options` does, and for what is no list of prompts.
    """
    check_model(model)
    tokens_at_once = _tokens_of_a_call(tokens_at_once, model)
    if not isinstance(prompts, Sequence):
        raise ValueError(f"prompts: expected a list of Prompt, found {shown(prompts)}")
    checked_ids(prompts)
    for n, prompt in enumerate(prompts):
        _check_sizes(model, [prompt], f"prompts[{n}]")
    scores = prompt_scores(model, prompts, (), False, tokens_at_once)
    for n, score in enumerate(scores):
        if not math.isfinite(score):
            raise ScoresNotFinite(
                f"prompts[{n}]: expected a finite score, found {score}; the model's "
                "weights may be damaged"
            )
    return scores


def _tokens_of_a_call(tokens_at_once: int | None, model) -> int:
    if tokens_at_once is None:
        on_cpu = torch.device(model.device).type == "cpu"
        return CALL_ON_CPU if on_cpu else CALL_ELSEWHERE
    return check_integer("tokens_at_once", tokens_at_once, 1)


def _prompts(
    model, encoder: PromptEncoder, demonstrations, queries, instruction: str
) -> list[list[Prompt]]:
    """The prompts of every query, all of which the model takes."""
    prompts = []
    for n, query in enumerate(queries):
        options = _encode(encoder, demonstrations, query, instruction, n)
        _check_prompts(model, query, options, n)
        prompts.append(options)
    return prompts


def _finite(table: list[list[float]]) -> list[list[float]]:
    for n, row in enumerate(table):
        if not all(map(math.isfinite, row)):
            raise ScoresNotFinite(
                f"queries[{n}]: expected finite scores, found [{listed(row)}]; the "
                "model's weights may be damaged"
            )
    return table


def score_pmi(
    model, tokenizer, demonstrations, queries: Sequence[Example], **how
) -> list[list[float]]:
    """As `score_options`, less the score of the option after "N/A" (protocol 2.5).

        PMI(c) = score(c | x) − score(c | "N/A"),      the demonstrations being the same

    Raises:
        ValueError: in channel mode, where the text is what is scored.
    """
    if how.get("mode", "direct") != "direct":
        raise ValueError(
            "mode: expected 'direct', the only one that PMI is defined for, found "
            f"{shown(how['mode'])}"
        )
    demonstrations = checked_examples("demonstrations", demonstrations)
    queries = checked_examples("queries", queries)
    null = [replace(query, input=NULL) for query in queries]
    with_text = score_options(model, tokenizer, demonstrations, queries, **how)
    without = score_options(model, tokenizer, demonstrations, null, **how)
    return [
        [a - b for a, b in zip(row, base, strict=True)]
        for row, base in zip(with_text, without, strict=True)
    ]


def _encode(
    encoder: PromptEncoder, demonstrations, query: Example, instruction: str, n: int
) -> list[Prompt]:
    """The prompts of a query's options; whatever stops one names the query."""
    if not query.options:
        raise ValueError(
            f"queries[{n}]: expected options to score, found none: {shown(query.input)}"
        )
    if any(map(is_blank, query.options)):
        raise ValueError(
            f"queries[{n}]: expected options with a text, found a blank one among "
            f"{listed(query.options)}"
        )
    try:
        return encoder.query_prompts(demonstrations, query, instruction)
    except ValueError as error:
        raise ValueError(f"queries[{n}]: {error}") from error
    except (TypeError, LookupError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"queries[{n}]: expected a text that the tokenizer takes, found "
            f"{shown(query.input)} with options {listed(query.options)[:200]} "
            f"({type(error).__name__}: {str(error)[:80]})"
        ) from error


def _check_prompts(model, query: Example, prompts: Sequence[Prompt], n: int) -> None:
    known: dict[tuple[int, ...], str] = {}
    for option, prompt in zip(query.options, prompts, strict=True):
        same = known.setdefault(prompt.ids, option)
        # always a tie, which the first would win
        if label_of(same) != label_of(option):
            raise ValueError(
                f"queries[{n}]: expected options of different tokens, found "
                f"{shown(same)} and {shown(option)} with the same; the tokenizer may "
                "not know their words"
            )
    _check_sizes(model, prompts, f"queries[{n}]")


def _check_sizes(model, prompts: Sequence[Prompt], where: str) -> None:
    longest, room = max(len(prompt.ids) for prompt in prompts), positions_of(model)
    if room is not None and longest > room:
        raise ValueError(
            f"max_length: expected prompts of at most {room} tokens, the model's "
            f"limit, found {longest} in {where}"
        )
    largest, rows = max(max(prompt.ids) for prompt in prompts), rows_of(model)
    if largest >= rows:
        raise ValueError(
            f"{where}: expected token ids below {rows}, the rows of the model's "
            f"embedding, found {largest}; name the tokenizer that belongs to the model"
        )


def prompt_scores(
    model,
    prompts: Sequence[Prompt],
    prefix: tuple[int, ...],
    share_prefix: bool,
    tokens_at_once: int,
) -> list[float]:
    """The score of every prompt, in the fastest way that is known to be right."""
    known = safe.shares(model)
    if share_prefix and not known:
        safe.say_once(
            "sharing",
            safe.known_as(model),
            f"share_prefix: options are scored one by one, since {safe.known_as(model)}"
            " is not known to be right over a shared prefix; the scores are the same",
        )
    with failing.named(model, max(len(prompt.ids) for prompt in prompts)):
        if not known:
            return plain_scores(model, prompts, tokens_at_once)
        with using_attention(model, "sdpa"):
            if share_prefix and sees_everything(text_config(model)):
                return shared_scores(model, prompts, prefix, tokens_at_once)
            return plain_scores(model, prompts, tokens_at_once)


def sees_everything(config) -> bool:
    """Whether each token attends to all before it, wherever they stand in a row.

    That is what an explicit mask can express.
    """
    layers = {*(getattr(config, "layer_types", None) or ["full_attention"])}
    partial = ("sliding_window", "attention_types", "alibi")
    return layers == {"full_attention"} and not any(
        getattr(config, name, None) for name in partial
    )
