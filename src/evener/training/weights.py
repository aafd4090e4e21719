"""The final weights as plain files, for programs that do not know evener."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

NAME = "final"


def save_weights(model: nn.Module, folder: Path) -> list[Path]:
    """Write ``model``'s ``state_dict`` as ``final.pt`` and, where safetensors is installed, ``final.safetensors``.

    Args:
        model: its parameters may be views of one flat buffer; what is written is not.
        folder: of the run.

    Returns:
        What was written.

    Raises:
        OSError: it could not be.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = save_weights(nn.Linear(2, 1), folder)
        >>> sorted(torch.load(folder / "final.pt", weights_only=True))
        ['bias', 'weight']
    """
    state = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    written = [_whole(folder / f"{NAME}.pt", lambda path: torch.save(state, path))]
    try:
        from safetensors.torch import save_file
    except ImportError:
        return written
    plain = {name: tensor.contiguous() for name, tensor in state.items()}
    return [*written, _whole(folder / f"{NAME}.safetensors", lambda path: save_file(plain, path))]


def _whole(path: Path, write: Callable[[Path], Any]) -> Path:
    """Under its name there is never half a file."""
    coming = path.with_name(f".{path.name}.part")
    write(coming)
    os.replace(coming, path)
    return path
