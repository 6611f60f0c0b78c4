"""Tokenizers, and whether one belongs to a model."""

import json
import os
import warnings
from pathlib import Path

import tokenizers
from transformers import AutoConfig, AutoTokenizer, GPT2Tokenizer, PreTrainedModel
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils.hub import cached_file

from ..base.weights import SHIPPED
from ..errors import shown
from ..prompts.marks import refused_ids
from .folder import has_weights, reason
from .sizes import rows_of
from .smollm2 import SMOLLM2, located

_GPT2_TYPES = (None, "gpt2", "gpt_neo", "gptj")  # types of model with GPT-2's ids
_SPARE_ROWS = 512  # GPT-2's family pads its embedding by fewer rows than this
_LONGEST = 1000  # bytes of a path or a name on the hub
_LONGEST_PART = 255  # bytes between two slashes
_NAMED = ("tokenizer.json", "tokenizer_config.json")


def load_tokenizer(name: str | Path, *, revision: str | None = None):
    """Load a tokenizer by hub name or folder.

    A folder may hold GPT-2's bare ``vocab.json`` and ``merges.txt``: they are taken for
    GPT-2's only where no file of the folder says what they are. The name of a model
    that is known here comes first, as in `load_model`. Raises `ValueError`.
    """
    if not is_path(name):
        raise ValueError(
            f"tokenizer: expected a folder or a name on the hub, found {shown(name)}"
        )
    name, revision = stands_for(name, revision, "tokenizer")
    folder = Path(name)
    for path in map(folder.joinpath, _NAMED):  # else it would count as not there
        if os.path.lexists(path) and not path.is_file():
            raise ValueError(
                f"{path}: expected a file of the tokenizer, found a folder, a pipe or "
                "a link to nothing; put the file there, or take it away"
            )
    hub = {} if revision is None or folder.is_dir() else {"revision": revision}
    try:
        if _is_bare_gpt2(folder):
            return GPT2Tokenizer.from_pretrained(folder)
        where = folder if folder.is_dir() else name
        tokenizer = AutoTokenizer.from_pretrained(where, trust_remote_code=False, **hub)
        return _as_written(tokenizer, where, hub)
    except Exception as error:  # a damaged file brings about any of a dozen kinds
        _check_configuration(folder)
        raise ValueError(
            "tokenizer: expected a folder or a name on the hub, found "
            f"{shown(str(name))} ({reason(error)}); the "
            "environment variable GPT2_BPE may name a folder with GPT-2's vocab.json "
            "and merges.txt"
        ) from error


def stands_for(name, revision: str | None, argument: str) -> tuple:
    """What the name of a known model stands for, with its revision; others as they are.

    Such a name comes before a folder here that is called so, which is said.
    """
    if not isinstance(name, (str, Path)):
        return name, revision
    if str(name) in (*SHIPPED, SMOLLM2) and os.path.isdir(name):
        warnings.warn(
            f"{argument}: {str(name)!r} is the model that is known by this name; the "
            f"folder of that name here is {os.path.join(os.curdir, name)!r}",
            stacklevel=3,
        )
    return located(SHIPPED.get(str(name), name), revision)


def _check_configuration(folder: Path) -> None:
    """`ValueError` where it is the model's config.json, read too, that is damaged."""
    if not (folder / "config.json").is_file():
        return
    try:
        AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        raise ValueError(
            f"{folder / 'config.json'}: expected a configuration of transformers, "
            f"found {reason(error)}; correct that file, or fetch it again"
        ) from error


def is_path(name) -> bool:
    """Whether ``name`` can be a folder's or a file's, or one on the hub."""
    text = str(name) if isinstance(name, (str, Path)) else ""
    content = text.encode(errors="replace")
    longest = max(map(len, content.split(b"/")))
    fits = 0 < len(content) <= _LONGEST and longest <= _LONGEST_PART
    return fits and "\0" not in text


def tokenizer_for(name) -> str | Path:
    """Where the tokenizer of a model is, that was asked for by ``name``."""
    folder = Path(name) if isinstance(name, (str, Path)) else None
    bare = folder is None or folder.is_file()
    if folder is not None and folder.is_dir():
        own = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt")
        bare = not any((folder / file).is_file() for file in own)
        bare = bare and not any(folder.glob("*.model"))  # SentencePiece
    if bare and folder is not None and folder.is_dir() and has_weights(folder):
        kind = _model_type(folder)
        if kind not in _GPT2_TYPES:  # trained on other ids
            raise ValueError(
                f"tokenizer: expected that of a {shown(kind)} model in "
                f"{shown(str(folder))}, found no file of one; fetch tokenizer.json and "
                "tokenizer_config.json, or name it: load_model(..., tokenizer=…)"
            )
    return (os.environ.get("GPT2_BPE") or "gpt2") if bare else name


def check_tokenizer(
    tokenizer, model: PreTrainedModel, *, borrowed: bool = False
) -> None:
    """Raise `ValueError` where a text can have ids beyond the model's embedding.

    Special tokens that no text may have, such as an added [PAD], may lie beyond. Where
    the tokenizer is ``borrowed``, GPT-2's for trained weights that came without one,
    the model may have a few rows more, and not another vocabulary. A tokenizer of one's
    own that lists no words is taken at its word.
    """
    rows = rows_of(model)
    if borrowed and rows - len(tokenizer) > _SPARE_ROWS:
        raise ValueError(
            f"tokenizer: expected that of a model of {rows} token ids beside its "
            f"weights, found no file of one (GPT-2's has {len(tokenizer)}); fetch "
            "tokenizer.json and tokenizer_config.json, or name it: "
            "load_model(..., tokenizer=…)"
        )
    known = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
    unused = refused_ids(tokenizer)
    words = {n: word for word, n in known.items() if n not in unused}
    largest = max(words, default=0)
    if largest >= rows:
        raise ValueError(
            f"tokenizer: expected token ids below {rows}, the rows of the model's "
            f"embedding, found {largest}, one of {len(known)}, of "
            f"{shown(words[largest])}; name the tokenizer that belongs to the model, "
            f"or after adding words model.resize_token_embeddings({largest + 1})"
        )


def _as_written(tokenizer, where: str | Path, hub: dict):
    """``tokenizer``, cutting texts as its tokenizer.json says, alike at every call.

    Classes of `transformers` put a way of their own in its place. What
    tokenizer_config.json gives as ``add_prefix_space`` holds in both.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return tokenizer
    if "__init__" in vars(type(tokenizer)):
        path = cached_file(
            where, _NAMED[0], _raise_exceptions_for_missing_entries=False, **hub
        )
        given = get_tokenizer_config(where, **hub).get("add_prefix_space")
        written = None if path is None else _written(Path(path), given)
        if written is not None:
            for part in ("model", "normalizer", "pre_tokenizer", "decoder"):
                setattr(backend, part, getattr(written, part))
    if getattr(backend.model, "dropout", None):  # of BPE: other tokens at every call
        backend.model.dropout = None
    return tokenizer


def _written(path: Path, prefix_space) -> tokenizers.Tokenizer:
    """What a tokenizer.json says, with this ``add_prefix_space`` unless it is None."""
    content = json.loads(path.read_bytes())
    if isinstance(prefix_space, bool):
        for part in _parts(content, "pre_tokenizer", "pretokenizers"):
            _give_prefix(part, prefix_space)
        if not prefix_space:
            for part in _parts(content, "normalizer", "normalizers"):
                _take_prefix(part)
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def _parts(content: dict, name: str, inner: str) -> list[dict]:
    """A part of a tokenizer.json and, of a sequence, those within."""
    outer = content.get(name) or {}
    return [outer, *outer.get(inner, ())]


def _give_prefix(part: dict, prefix_space: bool) -> None:
    """Whether texts are cut as if a space stood before them."""
    if part.get("type") == "ByteLevel":
        part["add_prefix_space"] = prefix_space
    elif part.get("type") == "Metaspace":
        as_written = part.get("prepend_scheme", "always")
        always = "always" if as_written == "never" else as_written
        part["prepend_scheme"] = always if prefix_space else "never"


def _take_prefix(part: dict) -> None:
    """Leave out what puts a sign for a space before every text."""
    if part.get("type") == "Prepend" and part["prepend"] in ("▁", " "):
        part["prepend"] = ""


def _is_bare_gpt2(folder: Path) -> bool:
    bare = all((folder / name).is_file() for name in ("vocab.json", "merges.txt"))
    if not bare or any((folder / name).is_file() for name in _NAMED):
        return False
    if _model_type(folder) not in (None, "gpt2"):
        return False
    known = json.loads((folder / "vocab.json").read_bytes())
    missing = set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) - set(known)
    if missing:
        raise ValueError(
            "vocab.json without a tokenizer_config.json: expected GPT-2's words, which "
            f"hold every byte, found {len(missing)} bytes missing"
        )
    return True


def _model_type(folder: Path) -> str | None:
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return None
    return config.get("model_type") if isinstance(config, dict) else None
