"""When a notebook ran, on what and with which versions.

`note` writes device and versions into the notebook, where it ran. The day and
the seconds are papermill's, and differ from run to run: a stored notebook has
none.
"""

import importlib.metadata
import json
import os
import platform
from datetime import datetime
from pathlib import Path

KEY = "ran_with"
UNKNOWN = "not recorded"
PACKAGES = ("torch", "transformers", "maml_en_llm")


def note(notebook) -> None:
    """Keep this machine's device and versions in a notebook that ran here."""
    notebook.metadata[KEY] = {"device": machine(), "versions": versions()}


def machine() -> str:
    """The processors that chapters find here."""
    import torch

    cores = f"{os.cpu_count()} CPU cores"
    if not torch.cuda.is_available():
        return cores
    return f"one {torch.cuda.get_device_name()} and {cores}"


def versions(*packages: str) -> str:
    """Python and packages, as a list in words."""
    named = (*PACKAGES, *packages)
    found = [f"{name} {importlib.metadata.version(name)}" for name in named]
    return ", ".join([f"Python {platform.python_version()}", *found])


def run_of(file: Path) -> dict[str, str]:
    """Day, seconds, device and versions of a notebook's run, in words.

    {} of a notebook that keeps nothing of a run.
    """
    metadata = json.loads(file.read_text(encoding="utf-8"))["metadata"]
    times, ran = metadata.get("papermill", {}), metadata.get(KEY, {})
    if not times and not ran:
        return {}
    found = {"day": UNKNOWN, "seconds": UNKNOWN}
    if times.get("duration"):
        end = datetime.fromisoformat(times["end_time"])
        found["day"] = f"{end.day} {end:%B %Y}"
        found["seconds"] = f"{times['duration']:.0f}"
    for name in ("device", "versions"):
        found[name] = ran.get(name, UNKNOWN)
    return found


def last_run(file: Path) -> str:
    """A line on the chapter's last run; "" for other pages."""
    run = run_of(file) if file.is_file() else {}
    if not run:
        return ""
    when = ""
    if run["day"] != UNKNOWN:
        when = f" on {run['day']}, in {run['seconds']} s"
    return (
        f"The code of this page last ran{when}; "
        f"device: {run['device']}; versions: {run['versions']}."
    )


def table(files) -> str:
    """A table in Markdown, a row per notebook."""
    lines = [
        "| page | its code last ran | seconds | device | versions |",
        "| --- | --- | --- | --- | --- |",
    ]
    nothing = dict.fromkeys(("day", "seconds", "device", "versions"), UNKNOWN)
    for file in files:
        run = run_of(file) or nothing
        lines.append(f"| {{doc}}`{file.stem}` | {' | '.join(run.values())} |")
    return "\n".join(lines)
