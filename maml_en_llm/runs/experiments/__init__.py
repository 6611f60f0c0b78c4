"""Experiments by name. To add one: a file here, and a line in `EXPERIMENTS`."""

from collections.abc import Mapping

from ...errors import check_choice
from .baselines import BASELINES, baselines
from .cells import ALL_CELLS
from .e1_main import MAIN_TABLE
from .e2_adaptation import ADAPTED
from .e3_limited import LIMITED
from .e4_optimizers import OPTIMIZED
from .e5_complexity import COMPLEX
from .e6_forgetting import FORGETTING
from .grid import Experiment, grid
from .search import TUNING

EXPERIMENTS: Mapping[str, Experiment] = {
    "baselines": BASELINES,
    "cells": ALL_CELLS,
    "tuning": TUNING,
    "E1": MAIN_TABLE,
    "E2": ADAPTED,
    "E3": LIMITED,
    "E4": OPTIMIZED,
    "E5": COMPLEX,
    "E6": FORGETTING,
}


def get_experiment(name: str) -> Experiment:
    """The experiment of that name; `ValueError` lists the known ones."""
    check_choice("experiment", name, EXPERIMENTS)
    return EXPERIMENTS[name]


__all__ = [
    "EXPERIMENTS",
    "Experiment",
    "baselines",
    "get_experiment",
    "grid",
]
