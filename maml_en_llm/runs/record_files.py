"""Published run records: in a clone's `results/`, or shipped with the package."""

from pathlib import Path

from ..errors import check_choice

_PACKAGE = Path(__file__).parents[1]
# a clone's folder; what setup.py copies of it into an installed package
_FOLDERS = (_PACKAGE.parent / "results", _PACKAGE / "results")


def results_folder() -> Path:
    """The first folder of records that is there; a clone's, where none is."""
    return next((folder for folder in _FOLDERS if _files(folder)), _FOLDERS[0])


def record_file(name: str) -> Path:
    """The file of the published record ``name``, such as "mini-base".

    Raises `ValueError` naming the nearest record where there is none of that name, and
    `FileNotFoundError` where the package came without records.
    """
    files = _files(results_folder())
    if not files:
        raise FileNotFoundError(
            f"record: expected {name}.json or {name}.jsonl in {_FOLDERS[0]} or "
            f"{_FOLDERS[1]}, found no records; install the package again, by "
            "pip install . in a clone"
        )
    check_choice("record", name, files)
    return files[name]


def _files(folder: Path) -> dict[str, Path]:
    """Record files by name; of a log and what is computed from it, such as
    tuning.jsonl and tuning.json, the latter."""
    logs = {path.stem: path for path in folder.glob("*.jsonl")}
    found = logs | {path.stem: path for path in folder.glob("*.json")}
    return dict(sorted(found.items()))
