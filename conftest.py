"""Real data for the tests and the chapters, where this machine has it.

Environment variables name it, fixtures hand it out.
"""

import json
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent
REAL_DATA = {
    "METAICL_DATA": "a folder of MetaICL-format files",
    "GPT2_BPE": "a folder with GPT-2's vocab.json and merges.txt",
    "METAICL_GOLDEN": "the file golden-gpt2-large.json",
    "SMOLLM2": "the folder that `make smollm2` makes",
}
# Kernels run inside book/, where a path relative to the root would point elsewhere.
for name in REAL_DATA:
    if os.environ.get(name) and (ROOT / os.environ[name]).exists():
        os.environ[name] = str((ROOT / os.environ[name]).resolve())


def real_data(name: str) -> Path:
    """The path that the variable ``name`` holds.

    Without it the test is skipped, or fails under REQUIRE_REAL_DATA=1.
    """
    value = os.environ.get(name)
    if value and Path(value).exists():
        return Path(value)
    if value:
        pytest.fail(
            f"{name}: expected {REAL_DATA[name]}, found nothing at {value!r}",
            pytrace=False,
        )
    reason = f"needs {name}, {REAL_DATA[name]}"
    if os.environ.get("REQUIRE_REAL_DATA", "0") not in ("", "0"):
        pytest.fail(f"{reason}; REQUIRE_REAL_DATA is set", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def metaicl_data() -> Path:
    return real_data("METAICL_DATA")


@pytest.fixture(scope="session")
def bpe():
    """GPT-2's byte-level BPE."""
    folder = real_data("GPT2_BPE")
    from maml_en_llm.models import load_tokenizer

    return load_tokenizer(folder)


@pytest.fixture(scope="session")
def golden() -> dict:
    """Per-option scores of raw GPT-2 Large, kept by a public run (protocol 5.4)."""
    return json.loads(real_data("METAICL_GOLDEN").read_text())


def pytest_collection_modifyitems(items):
    """The longest tests first: begun last, one would keep a processor while the others
    have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
