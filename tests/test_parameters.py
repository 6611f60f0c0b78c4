"""Parameters of chapters: a wrong value is refused at once, in one line."""

import ast
import functools
import json
from pathlib import Path

import matplotlib
import pytest
import torch
from transformers.utils import logging

from maml_en_llm.minicrossfit import cache as generated
from maml_en_llm.runs.parameters import check_parameters

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
WRONG = (-1, 0, 1.5, float("nan"), "no such", "", [], [None], b"1")
# what any text may be: names of files or of a hub, or a folder that is made
OPEN = {"benchmark", "model", "tokenizer", "keep"}


@pytest.fixture
def undone():
    """What the first cells of a chapter set is set back."""
    dtype, bars = torch.get_default_dtype(), logging.is_progress_bar_enabled()
    with pytest.MonkeyPatch.context() as patch, matplotlib.rc_context():
        patch.setenv("TRANSFORMERS_VERBOSITY", "error")
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        # the generated tasks are looked through once, not for every value
        patch.setattr(generated, "_intact", functools.cache(generated._intact))
        yield
    torch.set_default_dtype(dtype)
    if bars:
        logging.enable_progress_bar()


class Opening:
    """A chapter's cells up to the one that checks its parameters."""

    def __init__(self, path: Path):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = [c for c in cells if c["cell_type"] == "code"]
        tagged = ["parameters" in c["metadata"].get("tags", ()) for c in code]
        at = tagged.index(True)
        sources = ["".join(c["source"]) for c in code]
        self.defaults, self.check = sources[at : at + 2]
        assert f"{check_parameters.__name__}(" in self.check
        self.before: dict = {}
        for source in sources[:at]:
            exec(source, self.before)

    @property
    def names(self) -> list[str]:
        """Of its parameters."""
        lines = ast.parse(self.defaults).body
        return [x.targets[0].id for x in lines if isinstance(x, ast.Assign)]

    def run(self, **given) -> None:
        """As papermill does: the defaults, what is given instead, and the check."""
        namespace = dict(self.before)
        exec(self.defaults, namespace)
        namespace |= given
        exec(self.check, namespace)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_wrong_parameter_is_refused_in_one_line(chapter, undone):
    opening = Opening(chapter)
    opening.run()
    for name in opening.names:
        taken = []
        for value in WRONG:
            try:
                opening.run(**{name: value})
            except ValueError as error:
                words = str(error)
                assert "\n" not in words and len(words) < 400, (name, value, words)
                assert "expected" in words and "found" in words, (name, value, words)
            else:
                taken.append(value)
        refused = [value for value in WRONG if value not in taken]
        assert -1 in refused and "" in refused and b"1" in refused, (name, taken)
        assert "no such" in refused or name in OPEN, (name, taken)
    with pytest.raises(ValueError, match="parameter: expected .*, found 'no_such'"):
        opening.run(no_such=1)
