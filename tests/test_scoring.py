"""Scores of options against one plain call of the model a sequence (protocol section 4)."""

import pytest
import torch
from models_small import CharTokenizer, small_model
from test_prompts import by_the_book

from maml_en_llm import Example, score_options
from maml_en_llm.prompts import Format, PromptEncoder
from maml_en_llm.trie import Trie

SHOWN = [Example("a first text", "yes", ("yes", "no")), Example("then a second", "no", ("yes", "no"))]
QUERIES = [
    Example("what is it", "yes", ("yes", "no")),
    Example("and this one is longer", "no", ("yes", "no")),
    Example("of many", "some", ("all of them", "some", "none at all")),
    Example("x" * 60, "no", ("yes", "no")),
]


@torch.no_grad()
def plain_scores(model, shown, queries, *, mode, separator, M, L):
    """Mean NLL of the target, one unpadded sequence an option, logits everywhere."""
    table = []
    for query in queries:
        row = []
        for context, target in by_the_book(CharTokenizer(), shown, query, query.options, mode=mode, separator=separator, M=M, L=L):
            logp = model(input_ids=torch.tensor([context + target])).logits[0].log_softmax(-1)
            nll = [-logp[len(context) - 1 + n, token].item() for n, token in enumerate(target)]
            row.append(sum(nll) / len(nll))
        table.append(row)
    return table


def same(found, expected, tolerance=1e-10):
    assert [len(row) for row in found] == [len(row) for row in expected]
    for row, other in zip(found, expected):
        torch.testing.assert_close(torch.tensor(row), torch.tensor(other), rtol=0, atol=tolerance)


CASES = {  # demonstrations, max_length: None of the prompts cut, some, all
    "zero-shot": (0, 1024),
    "none cut": (2, 1024),
    "some cut": (2, 75),
    "all cut": (2, 45),
}


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("separator", ["newline", "space"])
@pytest.mark.parametrize("mode", ["direct", "channel"])
@pytest.mark.parametrize(("k", "max_length"), CASES.values(), ids=CASES)
def test_scores_equal_plain_calls(k, max_length, mode, separator, share_prefix):
    model = small_model()
    L = min(max_length, 40 * k) if k else 40
    expected = plain_scores(model, SHOWN[:k], QUERIES, mode=mode, separator=separator, M=40, L=L)
    found = score_options(model, CharTokenizer(), SHOWN[:k], QUERIES, mode=mode, separator=separator,
                          max_length=max_length, max_example_length=40, share_prefix=share_prefix)
    same(found, expected)
    assert max(map(max, found)) - min(map(min, found)) > 0.1  # they could not agree by being all alike


# 32-bit softmax and rotations: see test_models
@pytest.mark.parametrize("mode", ["direct", "channel"])
@pytest.mark.parametrize("kind", ["gpt-neox", "llama", "qwen2", "opt"])
def test_scores_of_other_architectures(kind, mode):
    model = small_model(kind)
    expected = plain_scores(model, SHOWN, QUERIES, mode=mode, separator="newline", M=40, L=75)
    for share_prefix in (True, False):
        same(score_options(model, CharTokenizer(), SHOWN, QUERIES, mode=mode, max_length=75, max_example_length=40,
                           share_prefix=share_prefix), expected, 5e-6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("mode", ["direct", "channel"])
def test_tokens_at_once_and_attention_do_not_matter(mode, attention):
    model = small_model(attention=attention)
    expected = plain_scores(small_model(), SHOWN, QUERIES, mode=mode, separator="newline", M=40, L=75)
    for tokens_at_once in (1, 100, 10_000):
        for share_prefix in (True, False):
            same(score_options(model, CharTokenizer(), SHOWN, QUERIES, mode=mode, max_length=75, max_example_length=40,
                               share_prefix=share_prefix, tokens_at_once=tokens_at_once), expected)


def counted(model, monkeypatch) -> list[int]:
    """The tokens of every call of the model from now on."""
    forward, seen = model.forward, []
    monkeypatch.setattr(model, "forward", lambda *a, **k: seen.append(k["input_ids"].numel()) or forward(*a, **k))
    return seen


@pytest.mark.parametrize("mode", ["direct", "channel"])
def test_what_prompts_share_is_run_once(mode, monkeypatch):
    model = small_model()
    seen = counted(model, monkeypatch)
    score_options(model, CharTokenizer(), SHOWN, QUERIES, mode=mode, max_example_length=40)
    encoder = PromptEncoder(CharTokenizer(), Format(mode=mode, max_example_length=40))
    shown = len(encoder.demonstrations(SHOWN))
    prompts = [prompt.ids for query in QUERIES for prompt in encoder.query_prompts(SHOWN, query)]
    # nothing follows the last token of a prompt, so it is run only where another prompt goes on from it
    assert sum(seen) == shown + len({ids[:n] for ids in prompts for n in range(shown + 1, len(ids))})
    query, options = QUERIES[0], QUERIES[0].options
    seen.clear()
    score_options(model, CharTokenizer(), SHOWN, [query], mode=mode)
    text, answers = len(query.input) + 3, sum(len(option) + 1 for option in options)
    bound = text + answers if mode == "direct" else len(options) * (len(query.input) + 1) + answers + 2 * len(options)
    assert sum(seen) <= shown + bound  # T_share of protocol 8.2


def test_equal_cuts_share_their_context(monkeypatch):
    model = small_model()
    seen = counted(model, monkeypatch)
    score_options(model, CharTokenizer(), SHOWN, [Example("x" * 30, "aa", ("aa", "bb", "ccc"))], max_length=45)
    assert sum(seen) == (44 + 2 - 1) + 44  # "\naa" and "\nbb" differ in one forwarded token beyond "\n"; "\nccc" is cut elsewhere


def test_tries():
    trie = Trie()
    assert trie.add([7, 8, 9]) == [0, 1, 2] and trie.add([7, 8, 5]) == [0, 1, 3] and trie.add([8]) == [4]
    assert trie.ids == [7, 8, 9, 5, 8] and trie.depths == [0, 1, 2, 2, 0]
    assert [trie.shared(path) for path in ([7, 8, 5, 1], [9], [7, 8, 9])] == [3, 0, 3]
    assert trie.visible().int().tolist() == [
        [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 1]]


def test_scoring_leaves_the_model_as_it_was():
    model = small_model()
    before = [p.clone() for p in model.parameters()]
    first = score_options(model, CharTokenizer(), SHOWN, QUERIES)
    assert score_options(model, CharTokenizer(), SHOWN, QUERIES) == first
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(model.parameters(), before))


def _damaged():
    model = small_model()
    with torch.no_grad():
        model.transformer.wte.weight[5] = torch.nan
    return model


def _short():
    from transformers import GPT2Config

    return small_model(GPT2Config(vocab_size=97, n_positions=32, n_embd=32, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0))


BAD = {  # model, query, arguments, message
    "NaN weights": (_damaged, QUERIES[0], {}, r"queries\[0\]: expected finite scores, found \[nan, nan\]"),
    "no options": (small_model, Example("x", "y"), {}, r"queries\[0\]: expected options to score, found none: 'x'"),
    "fewer positions": (_short, QUERIES[0], {}, "max_length: expected prompts of at most 32 tokens, the model's limit, found 5"),
    "mode": (small_model, QUERIES[0], dict(mode="both"), "mode: expected one of direct, channel, found 'both'"),
    "separator": (small_model, QUERIES[0], dict(separator="\n"), "separator: expected one of newline, space"),
    "long option": (small_model, Example("x", "y" * 300, ("y" * 300,)), {}, "max_example_length: an answer of 301 tokens"),
    "long text": (small_model, Example("x" * 99, "y", ("y",)), dict(mode="channel", max_length=50), "prompt: .* found 100 after"),
}


@pytest.mark.parametrize(("model", "query", "arguments", "message"), BAD.values(), ids=BAD)
def test_bad_input(model, query, arguments, message):
    with pytest.raises(ValueError, match=message):
        score_options(model(), CharTokenizer(), SHOWN, [query], **arguments)
