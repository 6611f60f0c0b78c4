"""Figures of groups: what is drawn."""

from matplotlib.colors import to_rgb

from maml_en_llm import plots


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def drawn(axes, mark: str) -> list:
    return [x for x in axes.lines if x.get_marker() == mark and len(x.get_xdata())]


def test_curves_of_groups_and_their_means(axes):
    groups = {
        "seen": {"a": {0: 1.0, 1: 3.0, 4: 2.0}, "b": {0: 2.0, 1: 5.0, 4: 0.0}},
        "unseen": {"c": {0: 4.0, 1: 4.0, 4: 1.0}},
    }
    assert plots.curves_by_group(axes, groups) is axes
    (seen,), (unseen,) = drawn(axes, "o"), drawn(axes, "s")
    assert list(seen.get_ydata()) == [1.5, 4, 1]
    assert list(unseen.get_ydata()) == [4, 4, 1]
    thin = drawn(axes, "None")
    assert [list(x.get_ydata()) for x in thin] == [[1, 3, 2], [2, 5, 0], [4, 4, 1]]
    assert to_rgb(thin[0].get_color()) == to_rgb(seen.get_color())
    assert to_rgb(thin[2].get_color()) == to_rgb(unseen.get_color())
    assert list(seen.get_xdata()) == [0, 1, 2]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1", "4"]
    assert labels(axes) == ["seen", "unseen"]


def test_dots_of_groups_and_their_means(axes):
    groups = {
        "base": {"before": [50.0], "after": [60.0]},
        "MetaICL": {"after": [70.0, 74.0]},
    }
    assert plots.dots_by_group(axes, groups) is axes
    means = drawn(axes, "_")
    assert [x.get_ydata()[0] for x in means] == [50, 60, 72]
    dots = [list(x.get_ydata()) for mark in "os" for x in drawn(axes, mark)]
    assert dots == [[50], [60], [70, 74]]  # in grey, too, one is told from the other
    before, after, other = means
    assert before.get_xdata()[0] < 0 < after.get_xdata()[0] < 0.5
    assert 1 < other.get_xdata()[0] < 1.5
    assert to_rgb(after.get_color()) == to_rgb(other.get_color())
    assert to_rgb(after.get_color()) != to_rgb(before.get_color())
    assert labels(axes) == ["before", "after"]
    names = [text.get_text() for text in axes.get_xticklabels()]
    assert names == ["base", "MetaICL"]
