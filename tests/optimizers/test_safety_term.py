"""What the book says of Adam's safety term is what the benchmark found."""

import json
from pathlib import Path

from maml_en_llm import TrainConfig
from maml_en_llm.runs import PRESETS

ROOT = Path(__file__).parents[2]
WIDE, SHIPPED = "gpt2-small-2-layers", "tiny-base"


def test_the_safety_term_follows_from_the_record():
    found = json.loads((ROOT / "results/safety_term-cpu.json").read_text())["rows"]
    rows = {(row["model"], row["moments"], row["eps_root"]): row for row in found}
    default, real = TrainConfig().eps_root, PRESETS["paper"].eps_root
    assert (default, real) == (1e-8, 1e-12)
    lines = (ROOT / "book/notation.md").read_text().splitlines()
    (said,) = [line for line in lines if line.startswith("| `eps_root`")]
    for model, value in ((WIDE, default), (WIDE, real), (SHIPPED, default)):
        for moments in ("fresh", "warm"):
            assert f"{rows[model, moments, value]['step']:.3f}" in said
    for moments in ("fresh", "warm"):
        assert rows[WIDE, moments, real]["error"] < 3e-6
        assert (
            rows[WIDE, moments, real]["step"] > 2 * rows[WIDE, moments, default]["step"]
        )
        # the shipped model loses little by the larger term
        assert rows[SHIPPED, moments, default]["step"] > 0.9
    assert f"{rows[SHIPPED, 'fresh', real]['error']:.3f}" in said
    assert round(rows[SHIPPED, "fresh", default]["error"] * 1e6) == 7
