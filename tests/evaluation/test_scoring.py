"""Scores of options against one plain call of the model per sequence (protocol 4)."""

from copy import deepcopy
from itertools import zip_longest
from statistics import fmean

import pytest
import torch
from helpers import LLAMA, WORDS, CharTokenizer, by_the_book, small_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import (
    BloomConfig,
    CodeGenConfig,
    FalconConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
)

from maml_en_llm import (
    Example,
    Format,
    PromptEncoder,
    load_benchmark,
    load_model,
    score_options,
    score_pmi,
)
from maml_en_llm.evaluation import score_prompts, scoring
from maml_en_llm.evaluation.metrics import predict
from maml_en_llm.evaluation.trie import Trie
from maml_en_llm.prompts import Prompt

SHOWN = [
    Example("a first text", "yes", ("yes", "no")),
    Example("then a second", "no", ("yes", "no")),
]
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
        for context, target in by_the_book(
            CharTokenizer(),
            shown,
            query,
            query.options,
            mode=mode,
            separator=separator,
            M=M,
            L=L,
        ):
            logp = (
                model(input_ids=torch.tensor([context + target]))
                .logits[0]
                .log_softmax(-1)
            )
            nll = [
                -logp[len(context) - 1 + n, token].item()
                for n, token in enumerate(target)
            ]
            row.append(sum(nll) / len(nll))
        table.append(row)
    return table


def same(found, expected, tolerance=1e-10):
    assert [len(row) for row in found] == [len(row) for row in expected]
    for row, other in zip(found, expected, strict=True):
        gap = max(abs(a - b) for a, b in zip(row, other, strict=True))
        assert gap <= tolerance, (row, other)


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
    expected = plain_scores(
        model, SHOWN[:k], QUERIES, mode=mode, separator=separator, M=40, L=L
    )
    found = score_options(
        model,
        CharTokenizer(),
        SHOWN[:k],
        QUERIES,
        mode=mode,
        separator=separator,
        max_length=max_length,
        max_example_length=40,
        share_prefix=share_prefix,
    )
    same(found, expected)
    assert (
        max(map(max, found)) - min(map(min, found)) > 0.1
    )  # they could not agree by being all alike


def rounding_of(model, *given, **how) -> float:
    """Ten times what plain calls in float32 are off from ``model``'s in float64.

    Softmax, norms and rotations of many classes are in 32 bits whatever the weights.
    """
    fine = plain_scores(model.double(), *given, **how)
    coarse = plain_scores(deepcopy(model).float(), *given, **how)
    return 10 * max(farthest(coarse, fine), ROUND * farthest(fine))


ROUND = torch.finfo(torch.float32).eps


def farthest(table, other=None) -> float:
    """The largest difference of two tables of scores; of one, the largest score."""
    scores, others = sum(table, []), sum(other or [], [])
    return max(abs(a - b) for a, b in zip_longest(scores, others, fillvalue=0.0))


@pytest.mark.numeric
@pytest.mark.parametrize("mode", ["direct", "channel"])
@pytest.mark.parametrize("kind", ["gpt-neox", "llama", "qwen2", "opt"])
def test_scores_of_other_architectures(kind, mode):
    model, how = small_model(kind), dict(mode=mode, separator="newline", M=40, L=75)
    expected = plain_scores(model, SHOWN, QUERIES, **how)
    tolerance = rounding_of(model, SHOWN, QUERIES, **how)
    for share_prefix in (True, False):
        same(
            score_options(
                model,
                CharTokenizer(),
                SHOWN,
                QUERIES,
                mode=mode,
                max_length=75,
                max_example_length=40,
                share_prefix=share_prefix,
            ),
            expected,
            tolerance,
        )


# Attention that an explicit mask cannot express, or that has no fused kernel
OTHERS = {
    "sliding window": MistralConfig(vocab_size=WORDS, sliding_window=8, **LLAMA),
    "rotations of long rows": LlamaConfig(
        vocab_size=WORDS,
        rope_parameters=dict(
            rope_type="longrope",
            rope_theta=1e4,
            factor=4.0,
            short_factor=[1.0] * 8,
            long_factor=[4.0] * 8,
            original_max_position_embeddings=60,
        ),
        **LLAMA,
    ),
    "ALiBi of Falcon": FalconConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        alibi=True,
        initializer_range=0.3,
    ),
    "ALiBi": BloomConfig(vocab_size=WORDS, hidden_size=32, n_layer=2, n_head=2),
    "no fused kernel": CodeGenConfig(
        vocab_size=WORDS,
        n_positions=256,
        n_embd=32,
        n_layer=2,
        n_head=4,
        rotary_dim=4,
        n_ctx=256,
    ),
}


@pytest.mark.numeric
@pytest.mark.filterwarnings("ignore:share_prefix. options are scored one by one")
@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("k", [0, 2])
def test_models_with_another_attention_keep_it(config, k):
    model = small_model(config)
    limits = dict(max_length=75, max_example_length=40)
    how = dict(mode="direct", separator="newline", M=40, L=75 if k else 40)
    expected = plain_scores(model, SHOWN[:k], QUERIES, **how)
    tolerance = rounding_of(model, SHOWN[:k], QUERIES, **how)
    model = model.float()
    for share_prefix in (True, False):
        same(
            score_options(
                model,
                CharTokenizer(),
                SHOWN[:k],
                QUERIES,
                share_prefix=share_prefix,
                **limits,
            ),
            expected,
            tolerance,
        )


def test_calls_are_bounded_however_alike_the_queries(monkeypatch):
    model = small_model()
    seen = counted(model, monkeypatch)
    alike = [
        Example(
            "the same long beginning of every query, then " + 5 * f"{n} ",
            "yes",
            ("yes", "no"),
        )
        for n in range(100, 160)
    ]
    score_options(model, CharTokenizer(), SHOWN, alike, tokens_at_once=128)
    assert max(seen) <= 128 + max(len(e.input) + 7 for e in alike) and len(seen) > 3


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1", "mps"])
def test_a_gpu_is_asked_for_more_at_once(device, monkeypatch):
    """Only the device's name is asked for; nothing is computed."""
    model = small_model()
    monkeypatch.setattr(type(model), "device", torch.device(device))
    most = scoring.CALL_ON_CPU if device == "cpu" else scoring.CALL_ELSEWHERE
    assert scoring._tokens_of_a_call(None, model) == most
    assert scoring._tokens_of_a_call(7, model) == 7


def test_half_precision_scores_are_not_rounded_to_it():
    model = small_model(dtype=torch.bfloat16)
    # told to use plainer instructions than the processor has (ATEN_CPU_CAPABILITY),
    # torch 2.13's fused kernel stops in this precision
    with sdpa_kernel(SDPBackend.MATH):
        rows = score_options(model, CharTokenizer(), SHOWN, QUERIES)
    scores = [score for row in rows for score in row]
    assert any(torch.tensor(s).bfloat16().item() != s for s in scores)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("mode", ["direct", "channel"])
def test_tokens_at_once_and_attention_do_not_matter(mode, attention):
    model = small_model(attention=attention)
    expected = plain_scores(
        small_model(), SHOWN, QUERIES, mode=mode, separator="newline", M=40, L=75
    )
    for tokens_at_once in (1, 100, 10_000):
        for share_prefix in (True, False):
            same(
                score_options(
                    model,
                    CharTokenizer(),
                    SHOWN,
                    QUERIES,
                    mode=mode,
                    max_length=75,
                    max_example_length=40,
                    share_prefix=share_prefix,
                    tokens_at_once=tokens_at_once,
                ),
                expected,
            )


def counted(model, monkeypatch) -> list[int]:
    """The tokens of every call of the model from now on."""
    forward, seen = model.forward, []
    monkeypatch.setattr(
        model,
        "forward",
        lambda *a, **k: seen.append(k["input_ids"].numel()) or forward(*a, **k),
    )
    return seen


@pytest.mark.parametrize("mode", ["direct", "channel"])
def test_what_prompts_share_is_run_once(mode, monkeypatch):
    model = small_model()
    seen = counted(model, monkeypatch)
    score_options(
        model, CharTokenizer(), SHOWN, QUERIES, mode=mode, max_example_length=40
    )
    encoder = PromptEncoder(CharTokenizer(), Format(mode=mode, max_example_length=40))
    shown = len(encoder.demonstrations(SHOWN))
    prompts = [
        prompt.ids
        for query in QUERIES
        for prompt in encoder.query_prompts(SHOWN, query)
    ]
    # nothing follows the last token of a prompt: it is run only where another prompt
    # goes on from it
    assert sum(seen) == shown + len(
        {ids[:n] for ids in prompts for n in range(shown + 1, len(ids))}
    )
    query, options = QUERIES[0], QUERIES[0].options
    seen.clear()
    score_options(model, CharTokenizer(), SHOWN, [query], mode=mode)
    text, answers = len(query.input) + 3, sum(len(option) + 1 for option in options)
    bound = (
        text + answers
        if mode == "direct"
        else len(options) * (len(query.input) + 1) + answers + 2 * len(options)
    )
    assert sum(seen) <= shown + bound  # T_share of protocol 8.2


def test_equal_cuts_share_their_context(monkeypatch):
    model = small_model()
    seen = counted(model, monkeypatch)
    score_options(
        model,
        CharTokenizer(),
        SHOWN,
        [Example("x" * 30, "aa", ("aa", "bb", "ccc"))],
        max_length=45,
    )
    # "\naa" and "\nbb" differ in one forwarded token beyond "\n"; "\nccc" is cut apart
    assert sum(seen) == (44 + 2 - 1) + 44


def test_tries():
    trie = Trie()
    assert (
        trie.add([7, 8, 9]) == [0, 1, 2]
        and trie.add([7, 8, 5]) == [0, 1, 3]
        and trie.add([8]) == [4]
    )
    assert trie.ids == [7, 8, 9, 5, 8] and trie.depths == [0, 1, 2, 2, 0]
    assert [trie.shared(path) for path in ([7, 8, 5, 1], [9], [7, 8, 9])] == [3, 0, 3]
    assert trie.visible().int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


@pytest.mark.parametrize("mode", ["direct", "channel"])
def test_an_instruction_is_a_first_piece_without_separator(mode):
    model, shown = small_model(), SHOWN[:1]
    found = score_options(
        model, CharTokenizer(), shown, QUERIES[:1], mode=mode, instruction="tell me"
    )
    answers = (
        [("yes", "a first text"), ("what is it",)]
        if mode == "channel"
        else [("a first text", "yes"), ("what is it",)]
    )
    a, b = answers[0]
    for score, option in zip(found[0], QUERIES[0].options, strict=True):
        x, y = (option, "what is it") if mode == "channel" else ("what is it", option)
        text, target = f"tell me\n\n\n{a}\n{b}\n\n\n{x}", f"\n{y}"
        ids = CharTokenizer().encode(text + target)
        with torch.no_grad():
            logp = model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        n = len(ids) - len(CharTokenizer().encode(target))
        assert score == pytest.approx(
            -fmean(logp[i - 1, ids[i]].item() for i in range(n, len(ids))), abs=1e-10
        )
    assert score_options(
        model, CharTokenizer(), shown, QUERIES[:1], instruction=""
    ) == score_options(model, CharTokenizer(), shown, QUERIES[:1])


@pytest.mark.parametrize("k", [0, 2])
def test_pmi_is_a_difference_of_scores(k, monkeypatch):
    model = small_model()
    found = score_pmi(model, CharTokenizer(), SHOWN[:k], QUERIES[:2])
    plain = score_options(model, CharTokenizer(), SHOWN[:k], QUERIES[:2])
    null = score_options(
        model, CharTokenizer(), SHOWN[:k], [Example("N/A", "yes", ("yes", "no"))]
    )[0]
    same(found, [[a - b for a, b in zip(row, null, strict=True)] for row in plain])
    with pytest.raises(
        ValueError,
        match="mode: expected 'direct', the only one that PMI .*, found 'channel'",
    ):
        score_pmi(model, CharTokenizer(), SHOWN, QUERIES, mode="channel")


def test_prompts_of_one_s_own_are_scored_as_options_are():
    model = small_model()
    encoder = PromptEncoder(CharTokenizer())
    prompts = [encoder.query_prompts(SHOWN, query) for query in QUERIES]
    flat = [prompt for options in prompts for prompt in options]
    for tokens_at_once in (1, 512):
        found = iter(score_prompts(model, flat, tokens_at_once=tokens_at_once))
        table = [[next(found) for _ in options] for options in prompts]
        same(table, score_options(model, CharTokenizer(), SHOWN, QUERIES))


@pytest.mark.parametrize(
    "prompts, message",
    [
        ([], "prompts: expected at least one"),
        (Prompt((1, 2), 1), "prompts: expected a list of Prompt"),
        ([(1, 2)], r"prompts\[0\]: expected a Prompt"),
        ([Prompt((1, 2), 2)], r"prompts\[0\]: expected a target"),
        ([Prompt((1, 10**6), 1)], r"prompts\[0\]: expected token ids below"),
        ([Prompt((1,) * 10**4, 1)], "max_length: expected prompts of at most"),
    ],
)
def test_prompts_that_are_none_are_refused(prompts, message):
    with pytest.raises(ValueError, match=message):
        score_prompts(small_model(), prompts)


def test_null_inputs_are_scored_once(monkeypatch):
    model = small_model()
    seen = counted(model, monkeypatch)
    for n in (1, 50):
        seen.clear()
        score_options(
            model, CharTokenizer(), SHOWN, [Example("N/A", "yes", ("yes", "no"))] * n
        )
        tokens = sum(seen)
        assert tokens == sum(seen[:2])
    score_options(model, CharTokenizer(), SHOWN, [Example("N/A", "yes", ("yes", "no"))])
    assert sum(seen) == 2 * tokens


def test_scoring_leaves_the_model_as_it_was():
    model = small_model()
    before = [p.clone() for p in model.parameters()]
    first = score_options(model, CharTokenizer(), SHOWN, QUERIES)
    assert score_options(model, CharTokenizer(), SHOWN, QUERIES) == first
    assert all(
        torch.equal(p, q) and p.grad is None
        for p, q in zip(model.parameters(), before, strict=True)
    )


@pytest.mark.parametrize("share_prefix", [True, False])
def test_the_default_device_does_not_matter(share_prefix):
    model, how = small_model(), dict(share_prefix=share_prefix)
    expected = score_options(model, CharTokenizer(), SHOWN, QUERIES, **how)
    with torch.device("meta"):  # as after torch.set_default_device
        found = score_options(model, CharTokenizer(), SHOWN, QUERIES, **how)
    assert found == expected


def test_a_router_s_own_loss_is_not_asked_for():
    sizes = LLAMA | dict(num_local_experts=4, num_experts_per_tok=2)
    tables = []
    for asked in (True, False):
        config = MixtralConfig(output_router_logits=asked, **sizes)
        model = small_model(config, dtype=torch.float32)
        tables.append(score_options(model, CharTokenizer(), SHOWN, QUERIES))
    assert tables[0] == tables[1]


def _damaged():
    model = small_model()
    with torch.no_grad():
        model.transformer.wte.weight[5] = torch.nan
    return model


def _short():
    return small_model(
        GPT2Config(
            vocab_size=97,
            n_positions=32,
            n_embd=32,
            n_layer=1,
            n_head=1,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def _few_rows():
    sizes = dict(n_positions=1024, n_embd=32, n_layer=1, n_head=1)
    return small_model(
        GPT2Config(vocab_size=40, bos_token_id=0, eos_token_id=0, **sizes)
    )


def test_options_that_the_tokenizer_cannot_tell_apart_are_refused():
    model, words = load_model("tiny-base")
    query = Example("the dog is red", "unheard", ("unheard", "unknown"))
    with pytest.raises(
        ValueError,
        match=r"queries\[0\]: .* different tokens, found 'unheard' and 'unknown' with",
    ):
        score_options(model, words, (), [query])
    twice = Example(
        "the dog is red", "red", ("red", "red ", "blue")
    )  # one answer written twice does no harm
    assert len(score_options(model, words, (), [twice])[0]) == 3


BAD = {  # model, query, arguments, message
    "NaN weights": (
        _damaged,
        QUERIES[0],
        {},
        r"queries\[0\]: expected finite scores, found \[nan, nan\]",
    ),
    "options in one text": (
        small_model,
        Example("x", "y", "yn"),
        {},
        r"queries\[0\]: expected options in a tuple of strings, found 'yn'",
    ),
    "options that are numbers": (
        small_model,
        Example("x", "1", (1, 2)),
        {},
        r"queries\[0\]: expected options in a tuple of strings, found \(1, 2\)",
    ),
    "no example": (
        small_model,
        "x",
        {},
        r"queries\[0\]: expected an Example, found 'x'",
    ),
    "no text in channel mode": (
        small_model,
        Example("", "y", ("y", "n")),
        dict(mode="channel"),
        r"queries\[0\]: prompt: expected a target of at least one .* empty one",
    ),
    "no options": (
        small_model,
        Example("x", "y"),
        {},
        r"queries\[0\]: expected options to score, found none: 'x'",
    ),
    "a blank option": (
        small_model,
        Example("x", "y", ("y", " ")),
        {},
        r"queries\[0\]: expected options with a text, found a blank one among y,  ",
    ),
    "an option without a width": (
        small_model,
        Example("x", "y", ("y", "\u200b")),
        {},
        r"queries\[0\]: expected options with a text, found a blank one among",
    ),
    "a character that the tokenizer lacks": (
        small_model,
        Example("é" * 9999, "y", ("y", "n")),
        {},
        r"queries\[0\]: expected a text that the tokenizer takes, found 'éé.*KeyError",
    ),
    "fewer rows than ids": (
        _few_rows,
        QUERIES[0],
        {},
        r"queries\[0\]: expected token ids below 40, the rows .* found 9",
    ),
    "tokens at once": (
        small_model,
        QUERIES[0],
        dict(tokens_at_once=0),
        "tokens_at_once: expected a whole number of at least 1, found 0",
    ),
    "sharing in text": (
        small_model,
        QUERIES[0],
        dict(share_prefix="no"),
        "share_prefix: expected True or False, found 'no'",
    ),
    "sharing in numbers": (
        small_model,
        QUERIES[0],
        dict(share_prefix=1),
        "share_prefix: expected True or False, found 1",
    ),
    "fewer positions": (
        _short,
        QUERIES[0],
        {},
        "max_length: expected prompts of at most 32 tokens, the model's limit, found 5",
    ),
    "mode": (
        small_model,
        QUERIES[0],
        dict(mode="both"),
        "mode: expected one of direct, channel, found 'both'",
    ),
    "separator": (
        small_model,
        QUERIES[0],
        dict(separator="\n"),
        "separator: expected one of newline, space",
    ),
    "long option": (
        small_model,
        Example("x", "y" * 300, ("y" * 300,)),
        {},
        "max_example_length: an answer of 301 tokens",
    ),
    "long text": (
        small_model,
        Example("x" * 99, "y", ("y",)),
        dict(mode="channel", max_length=50),
        "prompt: .* found 100 after",
    ),
}


@pytest.mark.parametrize(
    ("model", "query", "arguments", "message"), BAD.values(), ids=BAD
)
def test_bad_input(model, query, arguments, message):
    with pytest.raises(ValueError, match=message) as found:
        score_options(model(), CharTokenizer(), SHOWN, [query], **arguments)
    assert len(str(found.value)) < 600


class WithBeginning(CharTokenizer):
    bos_token_id = CharTokenizer.words["~"]


@pytest.mark.parametrize("share_prefix", [True, False])
def test_a_beginning_of_text_is_one_more_token_before_everything(share_prefix):
    model, words = small_model(), WithBeginning()
    expected = score_options(model, words, SHOWN, QUERIES, instruction="~")
    found = score_options(
        model, words, SHOWN, QUERIES, bos=True, share_prefix=share_prefix
    )
    encoder = PromptEncoder(words, Format(bos=True))
    rows = []
    for query in QUERIES:
        rows.append([])
        for prompt in encoder.query_prompts(SHOWN, query):
            assert prompt.ids[0] == words.bos_token_id
            ids, n = torch.tensor([prompt.ids]), prompt.n_target
            with torch.no_grad():
                logits = model(input_ids=ids).logits[0].log_softmax(-1)
            own = [logits[-i - 1, ids[0, -i]].item() for i in range(1, n + 1)]
            rows[-1].append(-fmean(own))
    same(found, rows)
    assert farthest(found, expected) > 0  # an instruction has a separator behind it


ONE = Example("x", "y", ("y", "n"))
BAD_LISTS = {  # demonstrations, queries, message
    "a query": ((), ONE, "queries: expected a list of Example, found Example"),
    "a text": ((), "x", "queries: expected a list of Example, found 'x'"),
    "a demonstration": (ONE, [ONE], "demonstrations: expected a list of Example"),
    "a row": ([{"input": "x"}], [ONE], r"demonstrations\[0\]: expected an Example"),
    "a character": (
        [ONE, Example("é", "y")],
        [ONE],
        r"demonstrations\[1\]: expected a text that the tokenizer takes, found 'é'",
    ),
    "a long answer": (
        [ONE, Example("x", "y" * 999)],
        [ONE],
        r"demonstrations\[1\]: max_example_length: an answer of 1000 tokens",
    ),
}


@pytest.mark.parametrize(
    ("shown", "queries", "message"), BAD_LISTS.values(), ids=BAD_LISTS
)
def test_bad_lists(shown, queries, message):
    with pytest.raises(ValueError, match=message) as found:
        score_options(small_model(), CharTokenizer(), shown, queries)
    assert len(str(found.value)) < 500


def test_generators_are_read_once():
    model, words = small_model(), CharTokenizer()
    expected = score_options(model, words, SHOWN, QUERIES)
    shown, queries = (n for n in SHOWN), (n for n in QUERIES)
    assert score_options(model, words, shown, queries) == expected


@pytest.mark.parametrize(("model", "words"), [(None, CharTokenizer()), (0, "gpt2")])
def test_no_model_and_no_tokenizer(model, words):
    model = small_model() if model == 0 else model
    with pytest.raises(ValueError, match="(model|tokenizer): expected .*load_"):
        score_options(model, words, (), [ONE])


# --- real files ---


@pytest.mark.parametrize("mode", ["direct", "channel"])
@pytest.mark.parametrize(
    "name", ["ethos-race", "glue-rte", "superglue-copa", "glue-wnli"]
)
def test_sharing_changes_nothing_on_real_tasks(metaicl_data, bpe, name, mode):
    """glue-rte overflows in every prompt, glue-wnli in some: the same predictions.

    Both ways in float32 are at most a few times as far apart as the plain way in
    float32 is from float64.
    """
    config = GPT2Config(n_embd=32, n_layer=2, n_head=2, initializer_range=0.2)
    model = small_model(config, dtype=torch.float32, attention="sdpa")
    task = load_benchmark(metaicl_data, "hr_to_lr", seeds=[100], tasks=[name]).test[0]
    given = (bpe, task.few_shot(100, 16), task.test[:12])
    found = score_options(model, *given, mode=mode)
    plain = score_options(model, *given, mode=mode, share_prefix=False)
    fine = score_options(
        deepcopy(model).double(), *given, mode=mode, share_prefix=False
    )
    same(found, plain, 10 * farthest(plain, fine))
    assert [predict(row) for row in found] == [predict(row) for row in plain]


ERRORS = [
    RuntimeError("repeat_interleave: Invalid output_size" + "x" * 999),
    NotImplementedError("no kernel"),
    IndexError("index 40 is out of bounds"),
    KeyError("mask"),
    AttributeError("'tuple' object has no attribute 'logits'"),
]


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_a_model_that_fails_on_its_prompts_is_named(error, share, monkeypatch):
    model = small_model()

    def fails(*_, **__):
        raise error

    monkeypatch.setattr(model, "forward", fails)
    message = (
        f"model: expected GPT2LMHeadModel to take prompts .*{type(error).__name__}"
    )
    with pytest.raises(ValueError, match=message) as caught:
        score_options(model, CharTokenizer(), SHOWN, QUERIES, share_prefix=share)
    assert len(str(caught.value)) < 400 and caught.value.__cause__ is error


def test_a_lack_of_memory_is_no_fault_of_the_model(monkeypatch):
    model = small_model()

    def fails(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "forward", fails)
    with pytest.raises(torch.OutOfMemoryError):
        score_options(model, CharTokenizer(), SHOWN, QUERIES)
