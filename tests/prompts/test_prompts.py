"""Prompts by token against a second construction from the protocol's text (2)."""

import statistics
from typing import Any

import pytest
import torch
from helpers import CharTokenizer, by_the_book

from maml_en_llm import Example, Format, PromptEncoder, load_benchmark
from maml_en_llm.prompts import Batch, Prompt, collate, pieces, stack
from maml_en_llm.protocol import SEEDS

BOTH_MODES = pytest.mark.parametrize("mode", ["direct", "channel"])
BOTH_SEPARATORS = pytest.mark.parametrize("separator", ["newline", "space"])


def as_pairs(prompts):
    return [(list(p.ids[: -p.n_target]), list(p.ids[-p.n_target :])) for p in prompts]


def examples(lengths, option="yes"):
    return [
        Example("abcdefghij"[n % 10] * length, option, ("yes", "certainly not"))
        for n, length in enumerate(lengths)
    ]


# --- pieces (2.1) ---

# ids of GPT-2's BPE; foo 21943, " foo" 22944, positive 24561, " positive" 3967,
# \n 198, \n\n 628
FOO = Example("foo", "positive", ("positive", "positive"))
GOLDEN_IDS = {
    ("direct", "newline"): ([21943, 198, 24561, 628, 198, 21943], [198, 24561]),
    ("channel", "newline"): ([24561, 198, 21943, 628, 198, 24561], [198, 21943]),
    ("direct", "space"): ([21943, 3967, 22944], [3967]),
    ("channel", "space"): ([24561, 22944, 3967], [22944]),
}


@pytest.mark.parametrize(
    ("form", "ids"), GOLDEN_IDS.items(), ids=map("-".join, GOLDEN_IDS)
)
def test_golden_ids(bpe, form, ids):
    encoder = PromptEncoder(bpe, Format(mode=form[0], separator=form[1]))
    assert as_pairs([encoder.training_prompt([FOO], FOO)]) == [ids]
    assert as_pairs(encoder.query_prompts([FOO], FOO)) == [ids, ids]


def test_no_separator_before_the_first_piece(bpe):
    assert as_pairs(PromptEncoder(bpe).query_prompts([], FOO))[0] == (
        [21943],
        [198, 24561],
    )


def test_pieces_are_tokenised_alone(bpe):
    # The newline that ends a text does not merge with those of the separator after it.
    query = Example("foo\n", "positive")
    prompt = PromptEncoder(bpe, Format(mode="channel")).training_prompt([query], query)
    assert prompt.ids == (24561, 198, 21943, 198, 628, 198, 24561, 198, 21943, 198)
    assert bpe.encode("positive\nfoo\n\n\n\npositive\nfoo\n") == [
        24561,
        198,
        21943,
        628,
        198,
        198,
        24561,
        198,
        21943,
        198,
    ]


PIECES = [  # mode, separator, x, first → the two pieces
    ("direct", "newline", "x", True, ("x", "\ny")),
    ("direct", "newline", "x", False, ("\n\n\nx", "\ny")),
    ("direct", "newline", "", False, ("\n\n", "\ny")),
    ("direct", "newline", "", True, ("", "\ny")),
    ("direct", "space", "x", False, (" x", " y")),
    ("direct", "space", "", False, (" ", " y")),
    ("channel", "newline", "x", True, ("y", "\nx")),
    ("channel", "newline", "x", False, ("\n\n\ny", "\nx")),
    ("channel", "newline", "", False, ("\n\n\ny", "")),
    ("channel", "space", "x", False, (" y", " x")),
    ("channel", "space", "", False, (" y", " ")),
]


@pytest.mark.parametrize(("mode", "separator", "x", "first", "expected"), PIECES)
def test_pieces(mode, separator, x, first, expected):
    assert (
        pieces(x, "y", Format(mode=mode, separator=separator), first=first) == expected
    )


# --- cuts (2.2, 2.3) ---

# M = 40, so an x piece may have 38 tokens less its answer's piece. Lengths lie around
# that limit.
SEQUENCES = {
    "everything fits": ([5, 6], 7, 200),
    "a demonstration at its limit": ([33, 34, 35, 36], 7, 400),
    "a long query": ([5], 60, 400),
    "cut inside the first demonstration": ([10, 10, 10], 10, 60),
    "cut inside a later one": ([20, 20, 20], 20, 50),
    "cut inside the query": ([20], 38, 30),
    "zero-shot, query too long": ([], 60, 200),
}


@BOTH_MODES
@BOTH_SEPARATORS
@pytest.mark.parametrize(
    ("lengths", "query", "limit"), SEQUENCES.values(), ids=SEQUENCES
)
def test_query_prompts_by_the_book(mode, separator, lengths, query, limit):
    if mode == "channel" and limit == 30:
        limit = 45  # the target is the text now, and has to fit
    fmt = Format(
        mode=mode, separator=separator, max_length=limit, max_example_length=40
    )
    shown, asked = examples(lengths), examples([query])[0]
    expected = by_the_book(
        CharTokenizer(),
        shown,
        asked,
        asked.options,
        mode=mode,
        separator=separator,
        M=40,
        L=min(40 * len(lengths), limit) if lengths else 40,
    )
    assert (
        as_pairs(PromptEncoder(CharTokenizer(), fmt).query_prompts(shown, asked))
        == expected
    )


@BOTH_MODES
@BOTH_SEPARATORS
@pytest.mark.parametrize(
    ("lengths", "query", "limit"), SEQUENCES.values(), ids=SEQUENCES
)
def test_training_prompts_by_the_book(mode, separator, lengths, query, limit):
    if mode == "channel" and limit == 30:
        limit = 45
    fmt = Format(
        mode=mode, separator=separator, max_length=limit, max_example_length=40
    )
    shown, asked = examples(lengths), examples([query])[0]
    # One example, its own answer; the whole length as soon as there are demonstrations.
    expected = by_the_book(
        CharTokenizer(),
        shown,
        asked,
        [asked.output],
        mode=mode,
        separator=separator,
        M=40,
        L=limit if lengths else 40,
    )
    assert (
        as_pairs([PromptEncoder(CharTokenizer(), fmt).training_prompt(shown, asked)])
        == expected
    )


@pytest.mark.parametrize(
    ("k", "limit"), [(0, 256), (1, 256), (2, 512), (3, 768), (4, 1024), (16, 1024)]
)
def test_sequence_limit(k, limit):
    assert Format().sequence_limit(k) == limit
    shown, query = examples([250] * k), examples([250])[0]
    assert all(
        len(prompt.ids) <= limit
        for prompt in PromptEncoder(CharTokenizer()).query_prompts(shown, query)
    )
    trained = PromptEncoder(CharTokenizer()).training_prompt(shown, query)
    assert len(trained.ids) == min(
        1024, 254 * (k + 1)
    )  # every example is cut to 254, the sequence to 1,024


def test_an_answer_is_never_cut():
    long = Example("x" * 100, "y" * 30, ("y" * 30, "z" * 10))
    fmt = Format(max_length=80, max_example_length=40)
    encoder = PromptEncoder(CharTokenizer(), fmt)
    tok = CharTokenizer().encode
    context, target = encoder.example(long, first=True)
    assert (list(context), list(target)) == (tok("x" * 7), tok("\n" + "y" * 30))
    prompts = encoder.query_prompts([long, long, long], long)
    assert [p.ids[-p.n_target :] for p in prompts] == [
        tuple(tok("\n" + "y" * 30)),
        tuple(tok("\n" + "z" * 10)),
    ]
    # The shorter option leaves more room on the left: the prompts begin differently.
    whole = encoder.demonstrations([long] * 3) + prompts[0].ids[-38:-31]
    assert [len(p.ids) for p in prompts] == [80, 80]
    assert [p.ids[: -p.n_target] for p in prompts] == [whole[-49:], whole[-69:]]


@BOTH_MODES
def test_one_cut_of_x_for_all_options(mode):
    query = Example("x" * 100, "a", ("a", "b" * 20))
    prompts = PromptEncoder(
        CharTokenizer(), Format(mode=mode, max_example_length=40)
    ).query_prompts([], query)
    x = CharTokenizer.words["x"]
    # 40 − 2 − 21 for the x piece; in channel mode the text's piece has the newline
    assert [prompt.ids.count(x) for prompt in prompts] == [17, 17]


TOO_LONG = {  # format, answer → message
    "an answer over M − 2": (
        dict(max_example_length=40),
        "y" * 38,
        r"max_example_length: an answer of 39 tokens does not fit 40 \(at most 38\)",
    ),
    "no room for context": (
        dict(max_length=10),
        "y" * 20,
        "prompt: expected a target of 1 to 9 tokens .*found 21 after",
    ),
}


@pytest.mark.parametrize(
    ("changes", "answer", "message"), TOO_LONG.values(), ids=TOO_LONG
)
def test_target_over_the_limit(changes, answer, message):
    encoder = PromptEncoder(CharTokenizer(), Format(**changes))
    query = Example("x", answer, ("no", answer))
    with pytest.raises(ValueError, match=message):
        encoder.training_prompt([query], query)
    with pytest.raises(ValueError, match=message):
        encoder.query_prompts([query], query)


def test_longest_answer_that_fits():
    prompt = PromptEncoder(CharTokenizer()).training_prompt(
        [FOO], Example("x", "y" * 253)
    )
    assert prompt.n_target == 254


def test_a_target_needs_context():
    # Without one token before it nothing predicts the first token of the target.
    with pytest.raises(
        ValueError, match="expected at least one token before the target, found none"
    ):
        PromptEncoder(CharTokenizer()).training_prompt([], Example("", "y"))


FORMATS = {
    "mode": (
        dict(mode="chanel"),
        "mode: expected one of direct, channel, found 'chanel'",
    ),
    "separator": (
        dict(separator="tab"),
        "separator: expected one of newline, space, found 'tab'",
    ),
    "max_length": (
        dict(max_length=2),
        "max_length: expected a whole number of at least 3, found 2",
    ),
    "max_example_length": (
        dict(max_example_length=0),
        "max_example_length: expected a whole number of at least 3, found 0",
    ),
    "bos a text": (dict(bos="no"), "bos: expected True or False, found 'no'"),
    "bos none": (dict(bos=None), "bos: expected True or False, found None"),
    "bos a number": (dict(bos=2), "bos: expected True or False, found 2"),
}


@pytest.mark.parametrize(("changes", "message"), FORMATS.values(), ids=FORMATS)
def test_bad_format(changes, message):
    with pytest.raises(ValueError, match=message):
        Format(**changes)


NO_ENCODERS: dict[str, dict[str, Any]] = {
    "fmt: expected a Format": dict(fmt=None),
    "fmt: .*found 'direct'": dict(fmt="direct"),
    "fmt: .*found <class": dict(fmt=Format),
}


@pytest.mark.parametrize("message", NO_ENCODERS)
def test_what_makes_no_encoder_is_named(message):
    with pytest.raises(ValueError, match=message):
        PromptEncoder(CharTokenizer(), **NO_ENCODERS[message])


ONE = Example("a", "yes", ("yes", "no"))
NONE: Any = None
NO_INPUT = Example(NONE, "yes", ("yes", "no"))
NO_EXAMPLES: dict[str, tuple[Any, Any, Any]] = {  # demonstrations, query, instruction
    "demonstrations: expected a list of Example, found None": (None, ONE, ""),
    "demonstrations: .* found 'ab'": ("ab", ONE, ""),
    "expected an Example .* found 3": ([3], ONE, ""),
    "expected an Example .* found 'q'": ([], "q", ""),
    "expected strings as .* found None": ([], NO_INPUT, ""),
    "as input, output and options, found None": ([NO_INPUT], ONE, ""),
    "instruction: expected a text, or none, found 5": ([], ONE, 5),
    "instruction: .* found .'x'": ([ONE], ONE, ["x"]),
}


@pytest.mark.parametrize("message", NO_EXAMPLES)
def test_what_makes_no_prompt_is_named(message):
    encoder = PromptEncoder(CharTokenizer())
    shown, query, instruction = NO_EXAMPLES[message]
    for make in (encoder.training_prompt, encoder.query_prompts):
        with pytest.raises(ValueError, match=message):
            make(shown, query, instruction)


def test_options_in_a_text_are_not_its_letters():
    options: Any = "yes"
    with pytest.raises(ValueError, match="query: expected options in a tuple"):
        PromptEncoder(CharTokenizer()).query_prompts([], Example("x", "y", options))


def test_pieces_that_are_no_text_are_named():
    encoder: Any = PromptEncoder(CharTokenizer())
    with pytest.raises(ValueError, match="text: expected a string, found .'a'"):
        encoder.tokens(["a"])
    with pytest.raises(ValueError, match="examples: expected a list of Example"):
        encoder.misfits(5)


@pytest.mark.parametrize("n", [0, 2])
def test_demonstrations_may_come_one_by_one(n):
    encoder = PromptEncoder(CharTokenizer())
    for make in (encoder.training_prompt, encoder.query_prompts):
        assert make(iter([ONE] * n), ONE) == make([ONE] * n, ONE)


# --- batches ---


@pytest.mark.parametrize(
    "device",
    [
        *("gpu", "", "meta", "xpu", -1, None, True, ["cpu"]),
        *(torch.float16, torch.zeros(1, dtype=torch.float16), torch.device("meta")),
    ],
    ids=str,
)
def test_a_batch_moves_to_devices_only(device: Any):
    batch = collate([Prompt((1, 2, 3), 1)])
    assert batch.to("cpu").input_ids.dtype == torch.long
    with pytest.raises(ValueError, match="device: expected auto, cpu, or cuda or mps"):
        batch.to(device)


@pytest.mark.parametrize("start, stop", [(0, 0), (5, 9), (-1, 1), ("a", 1), (0, None)])
def test_no_rows_of_a_batch_are_refused(start: Any, stop: Any):
    batch = collate([Prompt((1, 2, 3), 1)] * 2)
    assert len(batch.rows(1, 9).input_ids) == 1
    with pytest.raises(ValueError, match="(start|stop): expected a whole number"):
        batch.rows(start, stop)


def test_a_token_is_real_wherever_the_mask_is_not_0():
    """What the mask should be the loss says; nothing is cut away by it."""
    batch = collate([Prompt((1, 2, 3, 4), 1), Prompt((5, 6), 1)])
    other = Batch(batch.input_ids, batch.attention_mask * 0.5, batch.loss_mask)
    assert other.n_tokens == 6
    assert other.rows(0, 1).input_ids.tolist() == [[1, 2, 3, 4]]
    assert other.rows(1, 2).input_ids.tolist() == [[5, 6]]


def test_collate_pads_on_the_right_and_marks_the_targets():
    batch = collate([Prompt((5, 6, 7), 1), Prompt((8, 9, 10, 11, 12), 3)])
    assert batch.input_ids.tolist() == [[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.loss_mask.tolist() == [
        [False, False, True, False, False],
        [False, False, True, True, True],
    ]
    assert (
        batch.input_ids.dtype,
        batch.attention_mask.dtype,
        batch.loss_mask.dtype,
    ) == (torch.long, torch.long, torch.bool)
    assert batch.n_tokens == 8


@pytest.mark.parametrize("n_target", [0, -1, 3, 5])
def test_a_prompt_has_a_target_and_a_token_before_it(n_target):
    message = rf"prompts\[1\]: expected a target .*n_target {n_target} of 3 tokens"
    with pytest.raises(ValueError, match=message):
        collate([Prompt((1, 2, 3), 1), Prompt((1, 2, 3), n_target)])


def test_prompts_may_come_one_by_one():
    ids: Any = torch.tensor([5, 6, 7], dtype=torch.int32)
    prompts = [Prompt((5, 6, 7), 1), Prompt((8, 9), 1), Prompt(ids, 2)]
    for found, wanted in zip(
        vars(collate(p for p in prompts)).values(),
        vars(collate(prompts)).values(),
        strict=True,
    ):
        assert torch.equal(found, wanted)


NO_PROMPTS = {
    "one prompt": (Prompt((1, 2, 3), 1), "prompts: expected a list"),
    "none": ((), "prompts: expected at least one"),
    "a number": (3, "prompts: expected a list"),
    "ids alone": ([(1, 2, 3)], r"prompts\[0\]: expected a Prompt"),
    "target a float": ([Prompt((1, 2, 3), 1.5)], r"prompts\[0\]: expected a Prompt"),
    "no ids": ([Prompt(None, 1)], r"prompts\[0\]: expected a Prompt"),
    "ids with a fraction": (
        [Prompt((1.5, 2, 3), 1)],
        r"prompts\[0\].ids: expected who",
    ),
    "text": ([Prompt(("a", "b"), 1)], r"prompts\[0\].ids: expected whole numbers"),
    "ids in rows": ([Prompt(((1, 2), (3, 4)), 1)], r"prompts\[0\].ids: expected whole"),
    "a huge id": ([Prompt((1, 2**70), 1)], r"prompts\[0\].ids: expected whole"),
}


@pytest.mark.parametrize("prompts, message", NO_PROMPTS.values(), ids=NO_PROMPTS)
def test_what_is_no_prompt_is_named(prompts: Any, message):
    with pytest.raises(ValueError, match=message):
        collate(prompts)


@pytest.mark.parametrize("sizes", [(), (1, 2)])
def test_batches_of_other_sizes_are_not_stacked(sizes):
    with pytest.raises(ValueError, match="batches: expected at least one, all of one"):
        stack([collate([Prompt((5, 6), 1)] * size) for size in sizes])


@BOTH_MODES
@BOTH_SEPARATORS
def test_loss_falls_on_the_target_only(mode, separator):
    encoder = PromptEncoder(CharTokenizer(), Format(mode=mode, separator=separator))
    shown, query = examples([5, 9]), Example("a text", "yes", ("yes", "certainly not"))
    batch = collate(encoder.query_prompts(shown, query))
    sep = "\n" if separator == "newline" else " "
    targets = (
        [sep + "yes", sep + "certainly not"]
        if mode == "direct"
        else [sep + "a text"] * 2
    )
    for ids, mask, target in zip(
        batch.input_ids, batch.loss_mask, targets, strict=True
    ):
        assert ids[mask].tolist() == CharTokenizer().encode(target)


# --- real files ---


@pytest.fixture(scope="module")
def real(metaicl_data):
    tasks = ["glue-rte", "glue-wnli", "superglue-cb", "glue-mrpc", "dream"]
    return {
        task.name: task
        for task in load_benchmark(metaicl_data, "hr_to_lr", tasks=tasks).test
    }


@BOTH_MODES
@BOTH_SEPARATORS
@pytest.mark.parametrize("name", ["glue-rte", "glue-wnli"])
def test_real_prompts_by_the_book(bpe, real, name, mode, separator):
    task, encoder = (
        real[name],
        PromptEncoder(bpe, Format(mode=mode, separator=separator)),
    )
    for seed in SEEDS:
        for query in task.test[:3]:
            expected = by_the_book(
                bpe,
                task.few_shot(seed, 16),
                query,
                query.options,
                mode=mode,
                separator=separator,
                M=256,
                L=1024,
            )
            assert (
                as_pairs(encoder.query_prompts(task.few_shot(seed, 16), query))
                == expected
            )


@pytest.mark.parametrize(
    ("name", "mean"),
    [("glue-rte", 1348), ("superglue-cb", 1539), ("glue-mrpc", 1064), ("dream", 2532)],
)
def test_mean_length_of_the_demonstrations(bpe, real, name, mean):
    # tokens of 16 demonstrations over the five seeds, protocol 8.3
    encoder = PromptEncoder(bpe)
    assert (
        round(
            statistics.fmean(
                len(encoder.demonstrations(real[name].few_shot(seed, 16)))
                for seed in SEEDS
            )
        )
        == mean
    )


@pytest.mark.parametrize(("name", "share"), [("glue-rte", 1.0), ("glue-wnli", 0.07)])
def test_share_of_prompts_that_overflow(bpe, real, name, share):
    # protocol 8.3; a prompt that is cut has exactly 1,024 tokens and no longer begins
    # with the demonstrations
    encoder, task, cut = PromptEncoder(bpe), real[name], []
    for seed in SEEDS:
        shown = task.few_shot(seed, 16)
        prefix = encoder.demonstrations(shown)
        for query in task.test[:: 1 if name == "glue-wnli" else 20]:
            for prompt in encoder.query_prompts(shown, query):
                cut.append(prompt.ids[: len(prefix)] != prefix)
                assert len(prompt.ids) == 1024 if cut[-1] else len(prompt.ids) <= 1024
    assert round(statistics.fmean(cut), 2) == share


# --- instructions ---


@pytest.mark.parametrize("mode", ["direct", "channel"])
@pytest.mark.parametrize("k", [0, 2])
def test_an_instruction_stands_before_a_prompt_that_is_otherwise_the_same(mode, k):
    shown, query = (
        [Example("one", "a", ("a", "b")), Example("two", "b", ("a", "b"))][:k],
        Example("three", "a", ("a", "b")),
    )
    encoder = PromptEncoder(CharTokenizer(), Format(mode=mode, max_example_length=40))
    before = encoder.tokens("which?") + encoder.tokens("\n\n\n")
    assert (
        encoder.training_prompt(shown, query, "which?").ids
        == before + encoder.training_prompt(shown, query).ids
    )
    assert encoder.training_prompt(shown, query, "") == encoder.training_prompt(
        shown, query
    )
    pairs = zip(
        encoder.query_prompts(shown, query, "which?"),
        encoder.query_prompts(shown, query),
        strict=True,
    )
    assert all(
        told.ids == before + plain.ids and told.n_target == plain.n_target
        for told, plain in pairs
    )
    assert encoder.query_prompts(shown, query, "") == encoder.query_prompts(
        shown, query
    )


def test_an_instruction_has_room_of_its_own_and_is_never_pushed_out():
    encoder = PromptEncoder(
        CharTokenizer(), Format(max_example_length=20, max_length=1000)
    )
    told = encoder.training_prompt((), Example("x" * 30, "a"), "y" * 60)
    example = (
        encoder.tokens("\n\n\n") + encoder.tokens("x" * 14) + encoder.tokens("\na")
    )  # M − 2 = 18, Δ included
    assert told.ids == encoder.tokens("y" * 20) + example
    tight = PromptEncoder(CharTokenizer(), Format(max_example_length=20, max_length=40))
    shown = [
        Example("the first", "a"),
        Example("the second", "b"),
        Example("the third", "c"),
    ]
    prompt, plain = (
        tight.training_prompt(shown, Example("four", "d"), text) for text in ("why", "")
    )
    assert len(prompt.ids) == 40 and prompt.ids == tight.tokens("why") + plain.ids[-37:]
    with pytest.raises(ValueError, match="prompt: expected a target of 1 to 0 tokens"):
        PromptEncoder(
            CharTokenizer(), Format(max_example_length=20, max_length=21)
        ).training_prompt(shown, Example("four", "d"), "y" * 30)
