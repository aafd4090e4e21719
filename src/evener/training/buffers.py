"""Bytes as tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def tensor_of(data: bytes | bytearray | memoryview, dtype: torch.dtype, count: int, offset: int = 0) -> Tensor:
    """``count`` values of ``dtype`` from byte ``offset`` on, shape ``(count,)``. Not a copy, and only to be read."""
    if not count:
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=count, offset=offset)
