"""What intervals say in words."""

import pytest

from maml_en_llm.runs import Interval, in_brief, sentence, setting_in_words
from maml_en_llm.tasks import load_settings

INF = float("inf")


@pytest.mark.parametrize(
    "interval, long, brief",
    [
        (None, "no records yet", "no records yet"),
        (
            Interval(2.07, 0.57, 3.57, 5, 31),
            "+2.1 ± 1.5 points over 5 training seeds: beyond noise",
            "+2.1 ± 1.5",
        ),
        (
            Interval(-0.7, -1.9, 0.5, 3, 31),
            "-0.7 ± 1.2 points over 3 training seeds: not decided",
            "-0.7 ± 1.2 (not decided)",
        ),
        (
            Interval(-3.0, -4.0, -2.0, 1, 12),
            "-3.0 ± 1.0 points over 12 targets: beyond noise",
            "-3.0 ± 1.0",
        ),
        (
            Interval(1.0, -INF, INF, 1, 31),
            "+1.0 points, one training seed and no interval",
            "+1.0 (no interval)",
        ),
        (
            Interval(1.0, -INF, INF, 3, 2),
            "+1.0 points, one family of targets and no interval",
            "+1.0 (no interval)",
        ),
    ],
)
def test_an_interval_sentence(interval, long, brief):
    assert sentence(interval) == long
    assert in_brief(interval) == brief


@pytest.mark.parametrize("given", [(5,), ("x",), (None, "x"), (None, float("nan"))])
def test_what_is_no_interval_or_no_number_is_refused(given):
    with pytest.raises(ValueError, match="interval: expected|paper: expected"):
        sentence(*given)
    with pytest.raises(ValueError, match="interval: expected an Interval"):
        in_brief(5)


@pytest.mark.parametrize("paper, where", [(2, "in"), (3.57, "in"), (4, "outside")])
def test_what_the_paper_reports_is_in_the_interval_or_not(paper, where):
    told = sentence(Interval(2.07, 0.57, 3.57, 5, 31), paper)
    assert told.endswith(f"beyond noise; +{paper} is {where} the interval")


def test_settings_are_named_as_the_text_names_them():
    named = [setting_in_words(x) for x in load_settings("minicrossfit")]
    assert named == [
        "HR→LR",
        "Class→Class",
        "non-Class→Class",
        "QA→QA",
        "non-QA→QA",
        "non-NLI→NLI",
        "non-Paraphrase→Paraphrase",
    ]
    assert setting_in_words("my_tasks_to_Hrothgar") == "my tasks→Hrothgar"
