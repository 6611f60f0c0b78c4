"""Figures of training: what is drawn."""

import numpy as np

from maml_en_llm import plots


def probes(scale):
    keys = ("repeats", "recall", "sections", "related")
    return [{"step": n} | dict.fromkeys(keys, scale * n) for n in (0, 100, 200)]


def test_emergence_draws_a_line_per_seed_and_late_probes_with_guessing(three):
    starts = {"two words": [probes(0.005), probes(0.004)], "no word": [probes(0.001)]}
    guesses = {"sections": 0.4, "told": 0.5}
    longer = [probes(0.002), probes(0.003)]
    assert plots.emergence(three, starts, longer, guesses) is three
    for axes in three[:2]:
        ends = [line.get_ydata()[-1] for line in axes.lines]
        assert np.allclose(ends, [1, 0.8, 0.2])
        colors = [line.get_color() for line in axes.lines]
        assert colors[0] == colors[1] != colors[2]
    named = [text.get_text() for text in three[1].get_legend().get_texts()]
    assert named == ["two words", "no word"]
    named = [text.get_text() for text in three[2].get_legend().get_texts()]
    assert named == ["glossaries", "sections", "related rows"]
    dotted = [line for line in three[2].lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in dotted] == [0.4]
    for style, end in (("-", 0.4), ("--", 0.6)):
        drawn = [line for line in three[2].lines if line.get_linestyle() == style]
        assert np.allclose([line.get_ydata()[-1] for line in drawn], [end] * 3)
    assert {axes.get_ylim() for axes in three} == {(0, 1.03)}


def test_running_mean_of_every_window():
    assert plots.running_mean([1, 2, 3, 6], 2).tolist() == [1.5, 2.5, 4.5]
    assert plots.running_mean([1, 2, 3], 3).tolist() == [2]


def record(start):
    losses = [start - 0.1 * n for n in range(6)]
    inner = [[[start + n, 9.0], [start - n, 9.0]] for n in range(6)]
    return dict(losses=losses, inner_losses=inner)


def test_meta_training_has_thin_lines_per_seed_and_their_mean(two):
    records = {
        "metaicl": [record(3.0), record(4.0)],
        "maml-en-llm": [record(5.0), record(6.0)],
    }
    assert plots.meta_training(two, records, window=2, uniform=6.0) is two
    left, right = two
    thin = [line for line in left.lines if line.get_alpha()]
    assert len(thin) == 4
    mean = next(x for x in left.lines if x.get_label().startswith("MetaICL"))
    assert mean.get_xdata().tolist() == [2, 3, 4, 5, 6]
    assert np.allclose(mean.get_ydata(), 3.45 - 0.1 * np.arange(5))
    (known,) = [x for x in left.lines if x.get_linestyle() == ":"]
    assert known.get_ydata()[0] == 6
    before = next(x for x in right.lines if x.get_label().startswith("before"))
    assert np.allclose(before.get_ydata(), 5.5)  # support loss at θ, mean over tasks
    after = next(x for x in right.lines if x.get_label().startswith("after"))
    assert np.allclose(after.get_ydata(), 5.45 - 0.1 * np.arange(5))
    assert "nats per target token" in left.get_ylabel()
    assert left.get_xlabel() == right.get_xlabel() == "outer step"
