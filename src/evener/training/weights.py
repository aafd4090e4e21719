"""The final weights as plain files, for programs that do not know evener."""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .statistics import uncompiled

NAME = "final"


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
    written = [_whole(folder / f"{NAME}.pt", buffer.getvalue())]
    try:
        from safetensors.torch import save
    except ImportError:
        return written
    plain = {name: entry.contiguous() for name, entry in state.items() if isinstance(entry, torch.Tensor)}
    return [*written, _whole(folder / f"{NAME}.safetensors", save(plain))]


def remove_weights(folder: Path) -> None:
    """Take away what :func:`save_weights` wrote: the run goes on, so that is not its end."""
    for kind in ("pt", "safetensors"):
        with contextlib.suppress(OSError):
            (folder / f"{NAME}.{kind}").unlink()


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
