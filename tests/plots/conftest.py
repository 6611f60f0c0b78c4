"""Axes to draw on, closed after the test."""

import matplotlib.pyplot as plt
import pytest


def drawn_on(rows: int = 1, columns: int = 1):
    """A fixture of so many axes, or of one."""

    @pytest.fixture
    def panels():
        figure, panels = plt.subplots(rows, columns)
        yield panels
        plt.close(figure)

    return panels


axes = drawn_on()
two = drawn_on(1, 2)
three = drawn_on(1, 3)
four = drawn_on(2, 2)
