"""A run that is put down and gone on with: what each of its sittings was made by."""

import platform
import warnings
from collections.abc import Iterable, Mapping

from .errors import listed, shown
from .sources import code_hash


def computed_by(device="cpu") -> dict:
    """What may change a bit: device, processor, threads, versions and code."""
    import torch

    about = {
        "device": str(device),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "code": code_hash(),
    }
    if str(device).startswith("cuda"):
        about["accelerator"] = torch.cuda.get_device_name(device)
    return about


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a number."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "tokenizers", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def torch_version() -> str:
    """The version of torch without the name of its build (``+cpu``)."""
    return versions()["torch"].partition("+")[0]


def other_sittings(made: Iterable[Mapping], here: Mapping, checkpoint: str) -> list:
    """Those of ``made`` that differ from ``here``, see `computed_by`.

    They led to ``checkpoint``. A warning says in what the last of them differs.
    """
    others = [dict(each) for each in made if each != here]
    if others:
        there, now = _flat(others[-1]), _flat(here)
        changes = listed(
            f"{name}: {shown(value)} there, {shown(now.get(name))} here"
            for name, value in there.items()
            if now.get(name) != value
        )
        warnings.warn(
            f"output: the run before {checkpoint} was made by other means ({changes}), "
            "so that its last bits may not be those of a run in one sitting; it goes "
            "on, and its record says so",
            stacklevel=3,
        )
    return others


def _flat(made: Mapping) -> dict:
    """Versions beside the rest."""
    rest = {name: value for name, value in made.items() if name != "versions"}
    return rest | made.get("versions", {})
