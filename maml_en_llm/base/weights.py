"""The base models that come with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
SHIPPED = {"tiny-base": _PACKAGE / "tiny_base", "mini-base": _PACKAGE / "mini_base"}
