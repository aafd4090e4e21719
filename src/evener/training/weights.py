"""The final weights as plain files, for programs that do not know evener."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..runtime.keeping import FINAL
from .statistics import uncompiled


def save_weights(model: nn.Module, folder: Path) -> list[Path]:
    """Write ``model``'s ``state_dict`` as ``final.pt`` and, where safetensors is installed, ``final.safetensors``.

    Args:
        model: its parameters may be views of one flat buffer; what is written is not.
        folder: of the run.

    Returns:
        What was written.

    Raises:
        Exception: it could not be: of the disk, or of state of the user's modules that cannot be pickled.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = save_weights(nn.Linear(2, 1), folder)
        >>> sorted(torch.load(folder / "final.pt", weights_only=True))
        ['bias', 'weight']
    """
    # Names as they are without torch.compile.
    state = {uncompiled(name): _own(entry) for name, entry in model.state_dict().items()}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    written = [_whole(folder / FINAL, buffer.getvalue())]
    try:
        from safetensors.torch import save
    except ImportError:
        return written
    plain = {name: entry.contiguous() for name, entry in state.items() if isinstance(entry, torch.Tensor)}
    return [*written, _whole((folder / FINAL).with_suffix(".safetensors"), save(plain))]


def leave_weights(model: nn.Module, folder: Path, patience: float, then: str) -> None:
    """Save the weights at the end of a run, which is complete without them: what goes wrong is told, not raised.

    Args:
        model: as of :func:`save_weights`.
        folder: of the run.
        patience: seconds until the user is told what is waited for.
        then: what is said behind why they could not be written.
    """

    def tell(text: str) -> None:
        print(f"evener: the final weights {text}", file=sys.stderr, flush=True)

    def save() -> None:
        try:
            save_weights(model, folder)
        except Exception as error:  # the script has them
            why = error.strerror if isinstance(error, OSError) and error.strerror else f"{error!r}"
            tell(f"could not be written into {folder}: {why}{then}")

    # A daemon: a file system that hangs must not keep a process that is interrupted from ending.
    saving = threading.Thread(target=save, name="evener-weights", daemon=True)
    saving.start()
    saving.join(patience)
    if saving.is_alive():
        tell(f"are not written into {folder} yet: the disk is slow, or hangs. Waiting for it; Ctrl-C gives up.")
    saving.join()


def remove_weights(folder: Path) -> None:
    """Take away what :func:`save_weights` wrote: the run goes on, so that is not its end."""
    for kind in (".pt", ".safetensors"):
        with contextlib.suppress(OSError):
            (folder / FINAL).with_suffix(kind).unlink()


def _own(entry: Any) -> Any:
    """A copy with memory of its own; what a module says beyond tensors stays as it is."""
    return entry.detach().cpu().clone() if isinstance(entry, torch.Tensor) else entry


def _whole(path: Path, data: bytes) -> Path:
    """Under its name there is never half a file."""
    coming = path.with_name(f".{path.name}.part")
    try:
        coming.write_bytes(data)
        os.replace(coming, path)
    except OSError:
        coming.unlink(missing_ok=True)
        raise
    return path
