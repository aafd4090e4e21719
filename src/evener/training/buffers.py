"""Bytes as tensors."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor


def tensor_of(data: bytes | bytearray | memoryview, dtype: torch.dtype, count: int, offset: int = 0) -> Tensor:
    """``count`` values of ``dtype`` from byte ``offset`` on, shape ``(count,)``. Not a copy, and only to be read."""
    if not count:
        return torch.empty(0, dtype=dtype)
    with warnings.catch_warnings():
        # torch knows no read-only tensors and warns that what arrived, or is shared, could be written to.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        return torch.frombuffer(data, dtype=dtype, count=count, offset=offset)
