"""Axes to draw on, closed after the test."""

import matplotlib.pyplot as plt
import pytest


@pytest.fixture
def axes():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


@pytest.fixture
def two():
    figure, panels = plt.subplots(1, 2)
    yield panels
    plt.close(figure)


@pytest.fixture
def three():
    figure, panels = plt.subplots(1, 3)
    yield panels
    plt.close(figure)


@pytest.fixture
def four():
    figure, panels = plt.subplots(2, 2)
    yield panels
    plt.close(figure)
