"""Figures of training: what is drawn."""

import numpy as np

from maml_en_llm import plots


def probes(scale):
    keys = ("loss", "repeats", "recall", "in context, 8", "in context, 16")
    return [{"step": n} | dict.fromkeys(keys, scale * n) for n in (0, 100, 200)]


def test_emergence_draws_every_probe_of_every_record(four):
    config = dict(steps=200, lengths=[64, 64, 128, 256])
    records = {
        "rotary": dict(probes=probes(0.005), config=config),
        "learned": dict(probes=probes(0.001), config=config),
    }
    assert plots.emergence(four, records) is four
    titles = [axes.get_title() for row in four for axes in row]
    assert "nats per token" in titles[0] and "in context" in titles[3]
    solid = [x for x in four[0][0].lines if x.get_linestyle() == "-"]
    assert [x.get_ydata().tolist() for x in solid] == [[0, 0.5, 1], [0, 0.1, 0.2]]
    legend = four[0][0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["rotary", "learned"]
    numbers = [text.get_text() for text in four[1][1].get_legend().get_texts()]
    assert numbers == ["16 demonstrations", "8 demonstrations"]
    assert sum(x.get_marker() in "o^" for x in four[1][1].lines) == 4
    for axes in four.flat:  # lengths grow twice, after a half and three quarters
        dotted = [x.get_xdata()[0] for x in axes.lines if x.get_marker() == "None"]
        assert dotted[:2] == [100, 150]
    assert four[0][1].get_ylim() == (0, 1.03)


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
