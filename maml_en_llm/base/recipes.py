"""The recipes of the shipped base models, by name."""

from collections.abc import Mapping

from .mixtures import DENSE, EASY, WHOLE
from .recipe import PretrainConfig, Stage

RECIPES: Mapping[str, PretrainConfig] = {
    "tiny-base": PretrainConfig(),
    "mini-base": PretrainConfig(
        layers=4,
        steps=8000,
        context=1024,
        look_back=(1, 2),
        stages=(
            Stage(share=0.12, length=64, kinds=DENSE),
            Stage(share=0.25, length=128, kinds=EASY),
            Stage(share=0.38, length=256, kinds=WHOLE),
            Stage(share=0.25, length=512, kinds=WHOLE),
        ),
    ),
}
