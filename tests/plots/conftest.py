"""Axes to draw on in the book's style, closed after the test."""

import matplotlib
import matplotlib.pyplot as plt
import pytest

from maml_en_llm.plots import use_style


def drawn_on(rows: int = 1, columns: int = 1):
    """A fixture of so many axes, or of one."""

    @pytest.fixture
    def panels():
        with matplotlib.rc_context():
            use_style()
            figure, panels = plt.subplots(rows, columns)
            yield panels
        plt.close(figure)

    return panels


axes = drawn_on()
two = drawn_on(1, 2)
three = drawn_on(1, 3)
four = drawn_on(2, 2)
row = drawn_on(1, 4)
