"""Figures of prompts: what is drawn."""

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_rgb

from maml_en_llm import plots

TOKENS = [
    ("a", "text", False),
    ("\n", "within", False),
    ("yes", "answer", False),
    ("\n\n\n", "between", False),
    ("b c", "text", False),
    ("\n", "within", True),
    ("no", "answer", True),
]


def boxes(axes):
    return [p for p in axes.patches if p.get_height() == pytest.approx(0.84)]


def test_every_token_has_a_box_and_scored_ones_a_black_frame(axes):
    assert plots.prompt_tokens(axes, {"direct": TOKENS}) is axes
    found = boxes(axes)
    assert len(found) == len(TOKENS)
    framed = [to_rgb(box.get_edgecolor()) == (0, 0, 0) for box in found]
    assert framed == [scored for *_, scored in TOKENS]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["direct", "a", "↵", "yes", "↵↵↵", "b·c", "↵", "no"]


def test_a_new_line_starts_after_an_example_and_where_a_line_is_full(axes):
    plots.prompt_tokens(axes, {"direct": TOKENS})
    rows = [box.get_y() + 0.42 for box in boxes(axes)]
    assert rows == pytest.approx([1, 1, 1, 1, 2, 2, 2])
    # Δ ends a line; nothing reaches beyond the last column
    narrow = plt.figure().subplots()
    plots.prompt_tokens(narrow, {"direct": [("word", "text", False)] * 6}, columns=10)
    assert [box.get_y() + 0.42 for box in boxes(narrow)] == pytest.approx(
        [1, 1, 2, 2, 3, 3]
    )
    assert max(box.get_x() + box.get_width() for box in boxes(narrow)) <= 10
    plt.close(narrow.figure)


def test_prompts_stand_below_each_other_in_a_figure_with_room(axes):
    prompts = {"direct": TOKENS, "channel": TOKENS}
    plots.prompt_tokens(axes, prompts)
    titles = [t for t in axes.texts if t.get_text() in prompts]
    # a title and two lines, a gap, then the next title
    assert [t.get_position()[1] for t in titles] == [0, 4]
    assert axes.get_ylim()[0] > 6 and axes.get_ylim()[1] < 0  # downwards
    assert axes.get_xlim()[1] > 88
    one = plots.prompt_height({"direct": TOKENS})
    assert plots.prompt_height(prompts) > 2 * one - 0.5


def test_the_legend_names_the_roles(axes):
    plots.prompt_tokens(axes, {"direct": TOKENS})
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert words[:3] == ["text", "answer", "separator"]


def test_a_cut_prompt_is_a_strip_from_minus_the_cut_to_the_limit(axes):
    assert plots.prompt_cut(axes, [10, 20, 5], cut=12, limit=23) is axes
    *examples, hatched = axes.patches
    starts = [bar.get_x() for bar in examples]
    assert starts == [-12, -2, 18]
    assert [bar.get_width() for bar in examples] == [10, 20, 5]
    assert hatched.get_hatch() and hatched.get_x() == -12
    assert hatched.get_x() + hatched.get_width() == 0
    assert [text.get_text() for text in axes.texts] == ["1", "2", "query"]
    assert [line.get_xdata()[0] for line in axes.lines] == [0, 23]
    assert "tokens" in axes.get_xlabel()
