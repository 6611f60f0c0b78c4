"""The recipes of the shipped base models, by name."""

from collections.abc import Mapping

from .mixtures import DENSE, EASY, WHOLE
from .recipe import PretrainConfig, Stage

RECIPES: Mapping[str, PretrainConfig] = {
    "tiny-base": PretrainConfig(),
    "mini-base": PretrainConfig(
        layers=4,
        steps=5000,
        tokens=6144,
        context=1024,
        look_back=(1, 2, 3),
        look_layers=4,
        stages=(
            Stage(share=0.05, length=64, kinds=DENSE),
            Stage(share=0.3, length=128, kinds=EASY),
            Stage(share=0.4, length=256, kinds=WHOLE),
            Stage(share=0.25, length=512, kinds=WHOLE),
        ),
    ),
}
