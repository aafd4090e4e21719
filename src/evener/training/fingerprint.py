"""Whether two machines have the same data set: its length, and a hash of a few samples."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..runtime.protocol import DataMark
from .chance import put_back, set_seed
from .loader import samples_of

SAMPLES = 8
"""How many are looked at: the first, the last, and some between them at equal distances."""

UNREADABLE = "!"
"""Begins a digest that says why there is none: the samples could not be loaded."""


def mark_of(dataset: Any, compare: str = "samples") -> DataMark | None:
    """What another copy of ``dataset`` must have in common with this one; ``None`` if it does not say how long it is.

    Samples are loaded with a fixed random state, which is put back. Where they still come out differently each time
    (an augmentation with a source of its own), only the length is compared.

    Args:
        dataset: with ``__len__`` and ``__getitem__``.
        compare: ``samples``, or ``length`` alone.

    >>> one, other = [torch.arange(4), torch.arange(4) + 1], [torch.arange(4), torch.arange(4) + 2]
    >>> mark_of(one) == mark_of(list(one)), mark_of(one) == mark_of(other)
    (True, False)
    >>> mark_of(one, "length")
    DataMark(samples=2, digest='')
    """
    try:
        count = len(dataset)
    except TypeError:
        return None
    if compare != "samples" or not count:
        return DataMark(count)
    positions = sorted({round(part * (count - 1) / (SAMPLES - 1)) for part in range(SAMPLES)})
    try:
        first, second = (_digest(dataset, positions) for _ in range(2))
    except Exception as error:  # whatever the user's code raises where its files are not there
        return DataMark(count, f"{UNREADABLE}{type(error).__name__}: {error}"[:200])
    return DataMark(count, first if first == second else "")


def server_mark(dataset: Any, compare: str = "samples") -> DataMark | None:
    """As :func:`mark_of`, of a server: it computes nothing, so it need not have the samples. Then none are compared."""
    mark = mark_of(dataset, compare)
    return DataMark(mark.samples) if mark is not None and mark.digest.startswith(UNREADABLE) else mark


def _digest(dataset: Any, positions: Sequence[int]) -> str:
    digest = hashlib.sha256()
    with put_back():
        for position in positions:
            set_seed(position)
            _add(digest, samples_of(dataset, [position])[0])
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Add a sample, or a part of one, by value. Of what has no plain value, its kind alone."""
    kind = type(value).__name__
    if isinstance(value, Tensor) and value.layout is torch.strided:
        plain = value.detach().cpu().contiguous()
        digest.update(f"tensor {plain.dtype} {tuple(plain.shape)} ".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b"")
    elif isinstance(value, np.ndarray) and value.dtype != object:
        digest.update(f"array {value.dtype.str} {value.shape} ".encode())
        digest.update(value.tobytes())
    elif isinstance(value, Mapping):
        digest.update(f"mapping {len(value)} ".encode())
        for name, part in value.items():
            digest.update(f"{name} ".encode())
            _add(digest, part)
    elif isinstance(value, list | tuple):
        digest.update(f"sequence {len(value)} ".encode())
        for part in value:
            _add(digest, part)
    elif isinstance(value, bytes):
        digest.update(value)
    elif isinstance(value, str | int | float | bool | None | np.generic):
        digest.update(f"{kind} {value} ".encode())
    else:
        digest.update(f"{kind} ".encode())
        if callable(tobytes := getattr(value, "tobytes", None)):  # an image
            digest.update(tobytes())
