"""The code that records name: that which was imported, whatever its files are now."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import maml_en_llm
from maml_en_llm import sources
from maml_en_llm.minicrossfit.cache import _CODE
from maml_en_llm.runs import code

HASHES = (
    "from maml_en_llm.sources import code_hash\n"
    "from maml_en_llm.minicrossfit.cache import _CODE\n"
    "print(code_hash(), _CODE)\n"
)


@pytest.fixture
def package(tmp_path):
    """The package's files in another place."""
    root = Path(maml_en_llm.__file__).parent
    for name in sources.SOURCES:
        (tmp_path / root.name / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, tmp_path / root.name / name)
    return tmp_path / root.name


def hashes(package: Path, before: str = "") -> list[str]:
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    words = [sys.executable, "-c", f"import maml_en_llm\n{before}\n{HASHES}"]
    done = subprocess.run(
        words,
        env=environment,
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_code_is_that_which_was_imported(package):
    now = hashes(package)
    assert now == [sources.code_hash(), _CODE]
    files = [package / "tensors.py", package / "minicrossfit" / "draw.py"]
    changes = "".join(f"open({str(p)!r}, 'a').write('X = 1\\n')\n" for p in files)
    assert hashes(package, changes) == now
    assert not set(now) & set(hashes(package))


def test_code_without_its_source_says_so(package):
    def bytecode() -> list[str]:
        words = [sys.executable, "-m", "compileall", "-q", "-f", "-b", str(package)]
        subprocess.run(words, check=True)
        for path in package.rglob("*.py"):
            path.rename(path.with_suffix(".away"))
        return hashes(package)

    first = bytecode()
    assert all(name.startswith("bytecode-") for name in first)
    for path in package.rglob("*.away"):
        path.rename(path.with_suffix(".py"))
    with (package / "minicrossfit" / "draw.py").open("a") as file:
        file.write("X = 1\n")
    assert not set(first) & set(bytecode())


def test_the_code_of_a_record_is_read_at_the_import_too(monkeypatch):
    below, fresh = code.code_below(), code.code_below.__wrapped__
    monkeypatch.setattr(Path, "read_text", None)
    monkeypatch.setattr(Path, "read_bytes", None)
    assert fresh() == below
    monkeypatch.setattr(code, "KIND", "bytecode-")
    assert fresh() == sources.code_hash()


def test_an_archive_has_no_hash(monkeypatch):
    monkeypatch.setattr(sources, "SOURCES", {})
    monkeypatch.setattr(sources, "KIND", "unknown")
    assert sources.code_hash.__wrapped__() == "unknown"
