"""Parameters of chapters: a wrong value is refused at once, in one line."""

import functools
from pathlib import Path

import matplotlib
import pytest
import torch
from helpers import assigned, code_cells, source, write_benchmark
from transformers import GPT2Config
from transformers.utils import logging

from maml_en_llm import parameters
from maml_en_llm.minicrossfit import cache as generated
from maml_en_llm.runs.parameters import check_parameters

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))
WRONG = (-1, 0, 1.5, float("nan"), "no such", "", [], [None], b"1")
# which may be any text: names of files or of a hub, or a folder that is made; of others
# 0 and 1.5 may be numbers like others
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
        code = code_cells(path)
        tagged = ["parameters" in c["metadata"].get("tags", ()) for c in code]
        at, sources = tagged.index(True), list(map(source, code))
        self.defaults, self.check = sources[at : at + 2]
        self.names = assigned(self.defaults)
        self.rest = sources[at + 1 :]
        assert f"{check_parameters.__name__}(" in self.check
        self.before: dict = {}
        for text in sources[:at]:
            exec(text, self.before)

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
        allowed = {"no such"} if name in OPEN else {0, 1.5}
        assert all(value in allowed for value in taken), (name, taken)
    with pytest.raises(ValueError, match="parameter: expected .*, found 'no_such'"):
        opening.run(no_such=1)
    if "preset" in opening.names:
        known = "smoke, cpu, mini, colab, paper, found 'smok'; nearest: smoke"
        with pytest.raises(ValueError, match=f"preset: expected one of {known}"):
            opening.run(preset="smok")
    if "inner_steps" in opening.names:
        near = "found 'inner_stepz'; nearest: inner_steps"
        with pytest.raises(ValueError, match=f"parameter: expected one of .*, {near}"):
            opening.run(inner_stepz=2)


# one beyond what works: with it a later cell would fail
BEYOND = [
    ("01-in-context-learning", dict(max_length=31)),
    ("01-in-context-learning", dict(max_example_length=15)),
    ("02-meta-gradients", dict(inner_lr=0.51)),
    ("02-meta-gradients", dict(inner_steps=65)),
    ("03-meta-training", dict(lr=0.11)),
    ("03-meta-training", dict(inner_lr=0.51)),
    ("05-adaptation", dict(rates=[1e-3, 1.01])),
    ("06-limited-data", dict(record_share=0.049)),
    ("07-optimizers", dict(draws=1)),
    ("08-tasks", dict(pool=15)),
    ("09-real-model", dict(length=8)),
]


@pytest.mark.parametrize("stem, given", BEYOND, ids=str)
def test_what_would_fail_later_is_refused_at_once(stem, given, undone):
    with pytest.raises(ValueError, match=f"^{list(given)[-1]}: expected .* found"):
        Opening(ROOT / "book" / f"{stem}.ipynb").run(**given)


def test_an_example_of_other_files_fits_a_prompt_of_chapter_1(undone, tmp_path):
    opening = Opening(ROOT / "book" / "01-in-context-learning.ipynb")
    given = dict(benchmark=str(write_benchmark(tmp_path)), setting="mini")
    opening.run(**given, max_length=256)
    with pytest.raises(ValueError, match="^max_length: expected .* 256, found 255"):
        opening.run(**given, max_length=255)


# the cells of chapter 3 that lead to its trained models: how each begins
TRAINING = ("_names = ", "source = ", "train_tasks = ", "device = ", "how = size")
TRAINING += ("bars = ", "finished = ")


def trained(opening: Opening, **given) -> dict:
    """Chapter 3's models, records and ways, by method."""
    namespace = dict(opening.before)
    exec(opening.defaults, namespace)
    namespace |= given
    chosen = [x for x in opening.rest if x.startswith(TRAINING)]
    assert len(chosen) == len(TRAINING)
    for text in chosen:
        exec(text, namespace)
    return namespace["finished"]


def test_chapter_3_goes_on_from_a_folder(undone, tmp_path):
    """What is kept is the run that is made without, and is not made again."""
    opening = Opening(ROOT / "book" / "03-meta-training.ipynb")
    given = dict(steps=2, seeds=1)
    plain = trained(opening, **given)
    kept = trained(opening, **given, keep=tmp_path)
    names = {"metaicl-1", "maml-en-llm-1", "control-1"}
    assert {path.name for path in tmp_path.iterdir()} == names
    again = trained(opening, **given, keep=tmp_path)
    for name in plain:
        ways = [found[name][0] for found in (plain, kept, again)]
        losses = [record["losses"] for _, record in ways]
        assert losses[0] == losses[1] == losses[2]
        ends = [parameters(model) for model, _ in ways]
        assert all(torch.equal(ends[0][x], ends[1][x]) for x in ends[0])
        assert all(torch.equal(ends[0][x], ends[2][x]) for x in ends[0])
        assert ways[1][1]["seconds"] == ways[2][1]["seconds"]
    with pytest.raises(ValueError, match="keep: expected None"):
        trained(opening, keep=tmp_path, model=str(bare(tmp_path)))


def bare(folder: Path) -> Path:
    """A model's folder without weights: every run would draw its own."""
    GPT2Config(n_layer=1, n_embd=8, n_head=1).save_pretrained(folder / "bare")
    return folder / "bare"
