"""The base models that come with the package."""

from pathlib import Path

SHIPPED = {"tiny-base": Path(__file__).parents[1] / "tiny_base"}
