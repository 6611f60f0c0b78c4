"""What the project ships and says: wheel, README, chapters, workflow."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from maml_en_llm import load_benchmark
from maml_en_llm.evaluation import evaluate_by

ROOT = Path(__file__).parents[2]
CELL_COLUMNS = 79


def tracked(*folders: str) -> list[str]:
    """Files of the repository, or of a copy without its history."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *folders], cwd=ROOT, capture_output=True
    )
    if listed.returncode:
        pytest.skip("needs the repository's list of files")
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [name for name in names if (ROOT / name).is_file()]


def test_the_wheel_holds_every_file_of_the_package(tmp_path):
    """An editable install hides a sub-package or data file that a wheel lacks."""
    source = tmp_path / "source"
    about = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
    for name in [*tracked("maml_en_llm", "results"), *about]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    options = ["--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert set(tracked("maml_en_llm")) <= inside
    # chapters read them where there is no clone
    assert {f"maml_en_llm/{name}" for name in tracked("results")} <= inside
    # and every run its rates
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    code = "from maml_en_llm.runs.rates import RATES_FILE; print(RATES_FILE)"
    told = subprocess.check_output(
        [sys.executable, "-c", code],
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
    )
    rates = Path(told.strip())
    assert rates == installed / "maml_en_llm/results/tuning.json"
    assert rates.read_bytes() == (ROOT / "results/tuning.json").read_bytes()


def evaluation(answer: int) -> dict:
    """A record of MiniCrossFit's targets, all answered by an option of one place."""
    benchmark = load_benchmark("minicrossfit:easy", "hr_to_lr")

    def scorer(_, seed, queries):
        place = answer + seed
        rows = [[1.0] * len(query.options) for query in queries]
        for row in rows:
            row[place % len(row)] = 0.0
        return rows

    return evaluate_by(scorer, benchmark, seeds=[13], max_records=16)


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_examples_of_the_readme_run(tmp_path):
    """One after the other, as the second says; the third reads four evaluations."""
    examples = code_blocks((ROOT / "README.md").read_text(), "python")
    assert len(examples) == 3
    for n, name in enumerate(("ours-1", "ours-2", "rival-1", "rival-2")):
        (tmp_path / f"{name}.json").write_text(json.dumps(evaluation(n)))
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *numbers, difference = done.stdout.splitlines()
    nats, score = map(float, numbers)
    assert re.fullmatch(r"[+-]\d+\.\d ± \d+\.\d", difference)
    assert 0 < nats < 20  # per target token
    assert 0 <= score <= 100
    assert (tmp_path / "my-model" / "model.safetensors").is_file()


def test_the_commands_of_the_readme_have_the_options_they_name(capsys):
    from maml_en_llm.__main__ import COMMANDS

    text = "\n".join(code_blocks((ROOT / "README.md").read_text(), "console"))
    lines = text.replace("\\\n", " ").splitlines()
    commands = [line for line in lines if "-m maml_en_llm" in line]
    named = [line.split("-m maml_en_llm ", 1)[1].split()[0] for line in commands]
    assert set(named) == set(COMMANDS)
    for name, line in zip(named, commands, strict=True):
        with pytest.raises(SystemExit):
            COMMANDS[name](["--help"])
        told = capsys.readouterr().out
        for option in re.findall(r"(--[a-z-]+)", line.split("#")[0]):
            assert option in told, f"{name} {option}"


def test_the_tree_of_the_readme_has_every_room():
    text = (ROOT / "README.md").read_text()
    rooms = {Path(name).parts[1] for name in tracked("maml_en_llm")}
    for room in rooms - {"__init__.py", "py.typed"}:
        assert re.search(rf"^ *{re.escape(room)}/? ", text, re.MULTILINE), room


def test_files_that_contributing_names_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    names = re.findall(r"`((?:maml_en_llm|tests|book|results)/[\w./-]+)`", text)
    assert len(names) >= 10
    assert not [name for name in names if not (ROOT / name).exists()]


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.ipynb")), ids=str)
def test_cells_fit_a_page(path):
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    long = [
        line
        for cell in code
        for line in cell.splitlines()
        if len(line) > CELL_COLUMNS and not line.startswith("%")
    ]
    assert not long


# a folder of someone's machine; an index to install from
FORBIDDEN = [
    r"(?<![\w.])/(?:home|Users|root|mnt|work)/\w",
    r"\b(?:files\.python" + r"hosted|py" + r"pi|test\.py" + r"pi)\.org",
    r"download\.py" + r"torch\.org",
    r"registry\.npm" + r"js",
]


def test_no_file_names_a_machine_or_a_registry():
    found = []
    for name in tracked():
        if Path(name).suffix in (".safetensors", ".lock", ".png"):
            continue
        text = (ROOT / name).read_text(encoding="utf-8", errors="ignore")
        for pattern in FORBIDDEN:
            found += [f"{name}: {hit}" for hit in re.findall(pattern, text)]
    assert not found


def test_no_test_has_a_bound_on_the_clock():
    """Busy machines are slow: a test counts work, or waits as long as it takes."""
    bound = re.compile(r"(?:perf_counter|monotonic|time\(\))[^\n]*[<>]|[<>] *\d+ *# s")
    for name in tracked("tests"):
        if name.endswith(".py") and "test_project" not in name:
            assert not bound.search((ROOT / name).read_text()), name


@pytest.mark.parametrize("name", ["ci", "weekly"])
def test_the_workflow_trusts_little(name):
    text = (ROOT / f".github/workflows/{name}.yml").read_text()
    assert re.search(r"^permissions:\n  contents: read\n", text, re.MULTILINE)
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.search(r"@[0-9a-f]{40}$", action), action
        assert re.fullmatch(r" # v\d[\d.]*", comment), action


def test_all_that_is_installed_has_a_version_and_a_hash():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line) for line in wanted)
    lock = (ROOT / "requirements.lock").read_text()
    blocks = re.split(r"\n(?=[a-z])", lock[lock.index("\naccelerate") + 1 :])
    assert all("--hash=sha256:" in block for block in blocks)
    locked = {block.split(" ")[0] for block in blocks}
    for line in wanted:
        name = re.sub(r"\[.*\]", "", line).replace("_", "-").lower()
        assert name in locked or name.startswith("torch=="), line
