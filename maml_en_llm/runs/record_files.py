"""Published run records: in a clone's `results/`, or shipped with the package."""

from pathlib import Path

from ..errors import check_choice

_PACKAGE = Path(__file__).parents[1]
# a clone's folder; what setup.py copies of it into an installed package
_FOLDERS = (_PACKAGE.parent / "results", _PACKAGE / "results")


def record_file(name: str) -> Path:
    """The file of the published record ``name``, such as "mini-base".

    Raises `ValueError` naming the nearest record where there is none of that name, and
    `FileNotFoundError` where the package came without records.
    """
    for folder in _FOLDERS:
        files = {path.stem: path for path in sorted(folder.glob("*.json*"))}
        if files:
            check_choice("record", name, files)
            return files[name]
    raise FileNotFoundError(
        f"record: expected {name}.json in {_FOLDERS[0]} or {_FOLDERS[1]}, found no "
        "records; install the package again, by pip install . in a clone"
    )
