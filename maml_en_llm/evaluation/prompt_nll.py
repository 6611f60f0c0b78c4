"""Mean negative log-likelihood of many prompts' targets, over a trie or row by row."""

from collections.abc import Iterator, Sequence

import torch

from ..models import safe
from ..models.loss import (
    inputs_for,
    mean_nll,
    precise,
    target_logits,
    target_positions,
)
from ..models.sizes import text_config
from ..prompts import Prompt, collate
from .trie import Trie


def shared_scores(
    model, prompts: Sequence[Prompt], prefix: tuple[int, ...], tokens_at_once: int
) -> list[float]:
    """Mean NLL of each prompt's target, (N,) nats; ``prefix`` is run once."""
    whole = [n for n, prompt in enumerate(prompts) if _begins_with(prompt, prefix)]
    cut = sorted(set(range(len(prompts))) - set(whole))
    scores = dict(_by_tries(model, prompts, whole, prefix, tokens_at_once))
    scores.update(_by_tries(model, prompts, cut, (), tokens_at_once))
    return [scores[n] for n in range(len(prompts))]


def _begins_with(prompt: Prompt, prefix: tuple[int, ...]) -> bool:
    # A prompt cut on the left lost its beginning and all its positions shifted: no
    # stored prefix fits it. One context token must come after the prefix, since it
    # predicts the first target token.
    return (
        0 < len(prefix) < len(prompt.ids) - prompt.n_target
        and prompt.ids[: len(prefix)] == prefix
    )


def _by_tries(
    model,
    prompts: Sequence[Prompt],
    chosen: list[int],
    prefix: tuple[int, ...],
    tokens_at_once: int,
) -> Iterator[tuple[int, float]]:
    stored = _keys_and_values(model, prefix) if prefix and chosen else None
    rests = {
        n: Prompt(prompts[n].ids[len(prefix) :], prompts[n].n_target) for n in chosen
    }
    order = sorted(chosen, key=lambda n: rests[n].ids)  # neighbours share the most
    for trie, paths in _tries(rests, order, tokens_at_once):
        asked = [(paths[n], rests[n]) for n in paths]
        scores = _trie_nll(model, trie, asked, stored, len(prefix))
        if stored is not None:
            stored.crop(-len(trie.ids))
        yield from zip(paths, scores, strict=True)


def _tries(
    prompts: dict[int, Prompt], order: list[int], size: int
) -> Iterator[tuple[Trie, dict[int, list[int]]]]:
    """Tries of ``size`` nodes, each with its prompts' paths.

    One prompt more where it shares most of its tokens.
    """
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
    # each of these nodes predicts the token that follows it
    nodes = [node for path, prompt in asked for node in path[-prompt.n_target :]]
    labels = [token for _, prompt in asked for token in prompt.ids[-prompt.n_target :]]
    # on the CPU whatever torch.set_default_device says
    kept, where = torch.tensor(nodes, device="cpu").unique(return_inverse=True)
    # a router's own loss has no use for a mask of this shape, nor is it asked for
    routed = getattr(text_config(model), "output_router_logits", False)
    logits = model(
        input_ids=torch.tensor([trie.ids], device=model.device),
        position_ids=torch.tensor([trie.depths], device=model.device) + n_stored,
        attention_mask=_mask(trie, n_stored, model),
        past_key_values=stored,
        use_cache=stored is not None,
        logits_to_keep=kept[None].to(model.device),
        **({"output_router_logits": False} if routed else {}),
    ).logits[0]
    logits = precise(logits)
    right = logits[where, torch.tensor(labels, device="cpu")]
    total = logits.logsumexp(-1)[where] - right
    parts = total.split([prompt.n_target for _, prompt in asked])
    return torch.stack([part.mean() for part in parts]).tolist()


def _mask(trie: Trie, n_stored: int, model) -> torch.Tensor:
    """(1, 1, N, stored + N), added to the attention's scores.

    0 where a node may look, −∞ elsewhere.
    """
    seen = trie.visible()
    seen = torch.cat([seen.new_ones(len(seen), n_stored), seen], dim=1)
    mask = torch.zeros(seen.shape, dtype=model.dtype, device="cpu")
    return mask.masked_fill_(~seen, float("-inf"))[None, None].to(model.device)


def plain_scores(model, prompts: Sequence[Prompt], tokens_at_once: int) -> list[float]:
    """Mean NLL of each prompt's target, (N,) nats, every prompt a row of its own.

    Batches are right-padded, of neighbours in length; for a class that is not known to
    take padding, of prompts of one length.
    """
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n].ids))
    padded, scores = safe.pads(model), {}
    while order:
        longest = len(prompts[order[-1]].ids)
        rows = max(tokens_at_once // longest, 1)
        chosen = order[-rows:]
        if not padded:
            chosen = [n for n in chosen if len(prompts[n].ids) == longest]
        order = order[: -len(chosen)]
        values = batch_nll(model, [prompts[n] for n in chosen])
        scores.update(zip(chosen, values, strict=True))
    return [scores[n] for n in range(len(prompts))]


def batch_nll(model, prompts: Sequence[Prompt]) -> list[float]:
    """Mean −log p of each prompt's target, in nats per token, in one call."""
    with torch.device("cpu"):  # whatever torch.set_default_device says
        batch = collate(prompts)
    batch = batch.to(model.device)
    positions, valid = target_positions(batch.loss_mask)
    inputs = inputs_for(model, batch.input_ids, batch.attention_mask)
    logits = target_logits(model, lambda **more: model(**inputs, **more), positions)
    return mean_nll(logits, batch.input_ids.gather(1, positions), valid).tolist()
