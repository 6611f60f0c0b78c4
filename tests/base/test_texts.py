"""The kinds of text of the larger base model: what a row asks can be told from it."""

import pytest
import torch

from maml_en_llm.base import RECIPES, PretrainConfig, Stage
from maml_en_llm.base.corpus import NEWLINES, PUNCTUATION, build_tokenizer
from maml_en_llm.base.mixtures import DENSE, GUESSES, MAKERS, TEXTS
from maml_en_llm.base.model import batch, build_model
from maml_en_llm.base.probes import probed, probes
from maml_en_llm.base.recipe import is_of
from maml_en_llm.base.rows import text_of
from maml_en_llm.minicrossfit import Draw
from maml_en_llm.minicrossfit.lexicon import OPPOSITES
from maml_en_llm.provenance import configuration_hash, plain

SMALL = PretrainConfig(
    layers=1,
    width=16,
    heads=2,
    steps=10,
    tokens=64,
    stages=(
        Stage(share=0.5, length=16),
        Stage(share=0.5, length=32, kinds=("sections", "told")),
    ),
    look_back=(1, 2),
)
DRAWS = range(30)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_have_their_length_and_known_words_but_no_newline(name):
    tokenizer = build_tokenizer()
    for seed in DRAWS:
        words = TEXTS[name](Draw(seed), 77)
        ids = tokenizer.convert_tokens_to_ids(words)
        assert len(words) == 77
        assert tokenizer.unk_token_id not in ids
        assert max(ids) < len(tokenizer) - len(NEWLINES)


@pytest.mark.parametrize("name", MAKERS)
def test_what_is_asked_is_a_word_behind_a_mark_or_in_a_row(name):
    for seed in DRAWS:
        words, asked = text_of(MAKERS[name], Draw(seed), 90)
        assert len(words) == 90
        assert asked == sorted(set(asked))
        assert asked or name.endswith("_first")
        for place in asked:
            assert words[place] not in PUNCTUATION
            if not name.endswith("_first") and name not in ("headed", "turned"):
                assert words[place - 1] in PUNCTUATION


def test_every_kind_made_of_rows_has_a_guess():
    assert set(GUESSES) == set(MAKERS)


@pytest.mark.parametrize("name", ["tailed", "told", "related"])
def test_a_guess_is_what_one_of_the_answers_is_worth(name):
    """Over many texts, 1 / answers of a text; its error is that of a mean over them."""
    each = []
    for seed in range(300):
        words, asked = text_of(MAKERS[name], Draw(seed), 300)
        each.append(1 / len({words[place] for place in asked}))
    error = torch.tensor(each).std() / len(each) ** 0.5
    assert abs(sum(each) / len(each) - GUESSES[name]) < 4 * error


@pytest.mark.parametrize("name", ["told_first", "related_first"])
def test_an_answer_that_comes_first_tells_the_second_word(name):
    """One answer says "again", the other "opposite", in all rows of a text."""
    texts = 0
    for seed in DRAWS:
        draw = Draw(seed)
        row = MAKERS[name](draw)
        found = set()
        for _ in range(20):
            words, place = row(draw)
            if place is not None:
                first = next(w for w in reversed(words[:place]) if w in OPPOSITES)
                assert words[place] in (first, OPPOSITES[first])
                found.add((words[0], words[place] == first))
        assert len(found) in (0, 2) and len(dict(found)) == len(found)
        texts += bool(found)
    assert texts


@pytest.mark.parametrize("name", ["sections", "slots", "picked"])
def test_an_answer_stands_in_its_own_row(name):
    for seed in DRAWS:
        words, asked = text_of(MAKERS[name], Draw(seed), 200)
        start = 0
        for place in asked:
            assert words[place] in words[start : place - 1]
            start = place + 2  # after the mark that ends the row


@pytest.mark.parametrize("name", ["sections", "slots"])
def test_a_key_is_bound_again(name):
    """What the nearest fact says is right; what the first one said mostly is not."""
    stale = total = 0
    for seed in DRAWS:
        words, asked = text_of(MAKERS[name], Draw(seed), 300)
        for place in asked[5:]:
            key = words[place - 2]
            first = words.index(key)
            stale += words[place] in words[first : first + 5]
            total += 1
    assert stale / total < 0.7


@pytest.mark.parametrize("name", ["tailed", "related"])
def test_answers_are_drawn_for_each_text(name):
    sets = set()
    for seed in DRAWS:
        words, asked = text_of(MAKERS[name], Draw(seed), 400)
        answers = frozenset(words[place] for place in asked)
        assert len(answers) in (2, 3)
        sets.add(answers)
    assert len(sets) > len(DRAWS) // 2


def test_told_answers_are_few_in_all_texts():
    found = set()
    for seed in range(200):
        words, asked = text_of(MAKERS["told"], Draw(seed), 60)
        found |= {words[place] for place in asked}
    assert found == set(
        ["same", "other", "one", "two", "three", "first", "second", "opposite"]
    )


def test_stages_follow_each_other():
    assert [SMALL.length(step) for step in range(10)] == [16] * 5 + [32] * 5
    assert SMALL.kinds == (*dict.fromkeys(DENSE), "sections", "told")
    tokenizer = build_tokenizer()
    assert batch(SMALL, tokenizer, 4).shape == (4, 16)
    assert batch(SMALL, tokenizer, 5).shape == (2, 32)
    assert torch.equal(batch(SMALL, tokenizer, 7), batch(SMALL, tokenizer, 7))


def test_a_configuration_comes_back_from_its_record():
    recorded = plain(vars(SMALL))
    recorded["stages"] = [vars(stage) for stage in SMALL.stages]
    assert PretrainConfig(**recorded) == SMALL
    assert is_of(recorded, SMALL)
    assert not is_of(recorded | {"seed": 3}, SMALL)
    assert not is_of(recorded | {"depth": 3}, SMALL)
    assert not is_of(None, SMALL)


def test_fields_that_came_later_leave_old_records_valid():
    old = {"layers": 2, "width": 128, "seed": 0, "lengths": [64, 64, 128, 256]}
    assert is_of(old, RECIPES["tiny-base"])
    assert configuration_hash(RECIPES["tiny-base"]) == configuration_hash(
        PretrainConfig()
    )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"share": 0.0, "length": 8}, "share: expected a finite number"),
        ({"share": 1.5, "length": 8}, "share: expected a finite number"),
        ({"share": 1, "length": 1}, "length: expected a whole number"),
        ({"share": 1, "length": 8, "kinds": ()}, "kinds: expected a list"),
        ({"share": 1, "length": 8, "kinds": ("verse",)}, "kinds: expected one of"),
    ],
)
def test_bad_stages_are_named(fields, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        Stage(**fields)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"stages": (Stage(share=0.5, length=8),)}, "stages: expected shares that add"),
        ({"stages": (Stage(share=1, length=65),)}, "stages: length: expected a whole"),
        ({"stages": [{"part": 1}]}, "stages: expected a Stage"),
        ({"stages": [3]}, "stages: expected a Stage"),
        ({"stages": 3}, "stages: expected a list"),
        ({"look_back": (1, 2, 3)}, "look_back: expected at most 2 heads"),
        ({"look_back": (0,)}, "look_back: expected a whole number"),
        ({"positions": "learned"}, "look_back: expected at most 2 heads, with rotary"),
        ({"device": "tpu"}, "device: expected one of cpu, cuda"),
    ],
)
def test_bad_fields_of_a_curriculum_are_named(changes, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        PretrainConfig(**vars(SMALL) | changes)


@pytest.mark.numeric
def test_heads_look_back_at_the_start():
    """Each of them attends mostly to the word so many places before."""
    config = PretrainConfig(layers=2, width=128, heads=4, look_back=(1, 2, 3))
    tokenizer = build_tokenizer()
    model = build_model(config, len(tokenizer) - len(NEWLINES)).eval()
    model.set_attn_implementation("eager")
    ids = batch(config, tokenizer, 0)[:4]
    with torch.no_grad():
        seen = model(ids, output_attentions=True).attentions  # (B, heads, T, T)
    for head, distance in enumerate((1, 2, 3)):
        back = seen[0][:, head].diagonal(-distance, 1, 2)[:, 5:]
        assert back.mean() > 0.5
    assert seen[0][:, 3].diagonal(-1, 1, 2)[:, 5:].mean() < 0.2
    assert seen[1][:, 0].diagonal(-1, 1, 2)[:, 5:].mean() < 0.2


def test_probes_are_by_kind():
    tokenizer = build_tokenizer()
    model = build_model(SMALL, len(tokenizer) - len(NEWLINES)).eval()
    found = probes(model, tokenizer, length=64, rows=2, kinds=SMALL.kinds)
    assert list(found) == [
        *("loss", "repeats", "separated", "recall", "categories", "sections", "told")
    ]
    assert all(0 <= found[name] <= 1 for name in found if name != "loss")
    ids, asked = probed("related", tokenizer, length=64, rows=3)
    assert ids.shape == asked.shape == (3, 64)
    assert not asked[:, :32].any() and asked.any(1).all()
