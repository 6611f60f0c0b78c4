"""The end of a run, tried before its first step: what is to be written then, and where.

All but a model's own weights (adapters are written whole) is written among the
checkpoints as it will be at the end, and taken away.
"""

import errno
import os
import shutil
from pathlib import Path

from ..checkpoint import check_room
from ..errors import shown
from ..models.adapters import has_adapters, save_model
from ..models.folder import reason
from ..provenance import disk_errors, unfinished
from .damage import OUTPUT
from .folder import RunFolder
from .state import TrainState

# are no fault of what is written
_OF_THE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    *(errno.EACCES, errno.EPERM, errno.EIO),
)


def rehearse(folder: RunFolder, state: TrainState, model, tokenizer) -> None:
    """`ValueError` where a run could not keep its checkpoints or write its output.

    Of several processes only the one that writes tries.
    """
    if not folder.first:
        return
    check_room(folder.checkpoints, state.tensors())
    written = unfinished(folder.checkpoints / OUTPUT)
    try:
        _write(folder, model, tokenizer, written)
        _check_move(folder, written)
    finally:
        shutil.rmtree(written, ignore_errors=True)


def _write(folder: RunFolder, model, tokenizer, written: Path) -> None:
    part = written / "new"
    part.mkdir(parents=True)
    argument, name = "tokenizer", folder.config.tokenizer or folder.config.model
    try:
        with disk_errors(part):
            tokenizer.save_pretrained(part)
            argument, name = "model", folder.config.model
            if has_adapters(model):
                save_model(model, tokenizer, part)
            else:
                _save_settings(model, part)
    except Exception as error:  # of any library that writes a file of its own
        if getattr(error, "errno", None) in _OF_THE_DISK:
            raise
        raise ValueError(
            f"{argument}: expected one whose files can be written to the output, found "
            f"{shown(name)} ({reason(error)}); correct what that names in the files of "
            f"the {argument}"
        ) from error


def _save_settings(model, part: Path) -> None:
    """What `save_pretrained` writes beside the weights."""
    model.config.save_pretrained(part)
    if model.can_generate():
        model.generation_config.save_pretrained(part)


def _check_move(folder: RunFolder, written: Path) -> None:
    """`ValueError` where what lies among the checkpoints cannot be moved beside them.

    It is tried on to the name of the checkpoints, which are there: that fails on one
    disk, too, for another reason, and leaves nothing behind.
    """
    try:
        os.rename(written, folder.checkpoints)
    except OSError as error:
        if error.errno != errno.EXDEV:
            return
        raise ValueError(
            f"output: expected {folder.checkpoints} on the disk of {folder.output}, to "
            "which it is moved at the end, found it on another; move it there, or "
            "name an output on its disk"
        ) from error
