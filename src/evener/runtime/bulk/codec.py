"""Codecs: float32 values in fewer bytes, and what that leaves out. Pure functions of arrays.

Whoever packs is told what the other side will unpack, to the bit, so that what was left out can be sent later: *error
feedback* (Seide, Fu, Droppo, Li and Yu 2014, 1-bit SGD; that SGD then converges at the rate that it has without
compression, and need not converge without the feedback: Karimireddy, Rebjock, Stich and Jaggi 2019).

Values are packed a slab at a time, so that the passes over them stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..numeric import Buffer

Floats = NDArray[np.float32]

SLAB = 1 << 16
"""Values that are packed at once: 256 KB, of which two or three lie in a core's second-level cache."""

BLOCK = 512
"""Values with one scale in ``int8``: it costs 0.8% of their bytes, and a large value spoils few others."""

_RECORD = np.dtype([("scale", "<f4"), ("codes", "i1", (BLOCK,))])

_LIGHTEST, _HEAVIEST = 1e-30, 1e30
"""Weights within which residuals are numbers."""

_ROUNDER = np.float32(3 << 22)
"""Added to a number of less than 2**22, leaves its nearest whole number (ties to even) in the sum's lowest bits."""

_LEAST = np.float32(127 * np.finfo(np.float32).tiny)
"""Blocks of smaller values than this are left out: their scale would have no inverse."""

_BF16_MOST = np.float32(np.uint32(0x7F7F7FFF).view(np.float32))
"""What is larger rounds to infinity in bfloat16."""


class Codec(Protocol):
    """A way to pack values."""

    name: str

    def size(self, count: int) -> int:
        """Bytes of ``count`` values, packed."""

    def pack(self, values: Floats, out: Buffer) -> bool:
        """Pack ``values``, shape ``(n,)``, into ``out`` (``size(n)`` bytes), and replace them by what arrives.

        Returns whether all of them are finite, and small enough to stay so. If not, NaN arrives for each of these
        ``values``, and zeros are what is left of them here.
        """

    def unpack(self, data: Buffer, values: Floats) -> None:
        """Write what ``data`` (``size(n)`` bytes) holds to ``values``, shape ``(n,)``."""


class Int8:
    """Whole numbers from -127 to 127 in blocks of :data:`BLOCK`, each times its block's scale, ``max|x| / 127``.

    A value is off by at most half a scale. The last block is filled up with zeros.

    >>> values = np.array([1.0, -0.5, 0.001], np.float32)
    >>> packed = memoryview(bytearray(Int8().size(3)))
    >>> Int8().pack(values, packed), len(packed)
    (True, 516)
    >>> (values * 127).round(3).tolist()
    [127.0, -64.0, 0.0]
    """

    name = "int8"

    def size(self, count: int) -> int:
        """Bytes of ``count`` values, packed."""
        return -(-count // BLOCK) * _RECORD.itemsize

    def pack(self, values: Floats, out: Buffer) -> bool:
        """See :class:`Codec`."""
        records = np.frombuffer(out, _RECORD)
        whole = len(values) // BLOCK
        end = whole * BLOCK
        with np.errstate(all="ignore"):
            finite = _pack_blocks(values[:end].reshape(whole, BLOCK), records[:whole])
            if end < len(values):
                last = np.zeros((1, BLOCK), np.float32)
                last[0, : len(values) - end] = values[end:]
                finite = _pack_blocks(last, records[whole:]) and finite
                values[end:] = last[0, : len(values) - end]
        if not finite:
            records["scale"], records["codes"] = np.nan, 0
            values.fill(0)
        return finite

    def unpack(self, data: Buffer, values: Floats) -> None:
        """See :class:`Codec`."""
        records = np.frombuffer(data, _RECORD)
        whole = len(values) // BLOCK
        end = whole * BLOCK
        with np.errstate(all="ignore"):
            _unpack_blocks(records[:whole], values[:end].reshape(whole, BLOCK))
            if end < len(values):
                last = np.empty((1, BLOCK), np.float32)
                _unpack_blocks(records[whole:], last)
                values[end:] = last[0, : len(values) - end]


def _pack_blocks(values: Floats, records: NDArray[Any]) -> bool:
    """One block a row. The steps on ``values`` are done in place, and end with those of :func:`_unpack_blocks`."""
    if not len(values):
        return True
    most = values.max(axis=1)
    np.maximum(most, -values.min(axis=1), out=most)
    if not np.isfinite(most).all():
        return False
    most[most < _LEAST] = 0
    scale = most / np.float32(127)
    inverse = np.zeros_like(scale)
    np.divide(1, scale, out=inverse, where=scale > 0)
    values *= inverse[:, None]
    values += _ROUNDER
    np.copyto(records["codes"], values.view(np.int32), casting="unsafe")  # the lowest byte of each
    values -= _ROUNDER  # never -0, as no code is: adding either would not be the same
    values *= scale[:, None]
    records["scale"] = scale
    return True


def _unpack_blocks(records: NDArray[Any], values: Floats) -> None:
    np.copyto(values, records["codes"])
    values *= records["scale"].astype(np.float32)[:, None]


class Bf16:
    """The upper half of each float32 (8 of 24 bits of its significand), rounded to the nearest, ties to even.

    A value is off by at most 2**-8 of itself.

    >>> values = np.array([1.0, 1.01], np.float32)
    >>> Bf16().pack(values, memoryview(bytearray(4)))
    True
    >>> values.tolist()
    [1.0, 1.0078125]
    """

    name = "bf16"

    def size(self, count: int) -> int:
        """Bytes of ``count`` values, packed."""
        return 2 * count

    def pack(self, values: Floats, out: Buffer) -> bool:
        """See :class:`Codec`."""
        halves = np.frombuffer(out, "<u2")
        # False for NaN as well.
        if len(values) and not (values.max() <= _BF16_MOST and values.min() >= -_BF16_MOST):
            halves.fill(0x7FC0)
            values.fill(0)
            return False
        bits = values.view(np.uint32)
        odd = bits >> 16
        odd &= 1
        odd += 0x7FFF
        bits += odd
        np.right_shift(bits, 16, out=odd)
        np.copyto(halves, odd, casting="unsafe")
        np.left_shift(odd, 16, out=bits)
        return True

    def unpack(self, data: Buffer, values: Floats) -> None:
        """See :class:`Codec`."""
        bits = values.view(np.uint32)
        np.copyto(bits, np.frombuffer(data, "<u2"))
        bits <<= 16


CODECS: dict[str, Codec] = {codec.name: codec for codec in (Bf16(), Int8())}
NONE = "none"
"""The name of no codec at all."""

AUTO = "auto"
"""Each worker's own choice: :data:`OF_CHOICE`, or none. ``bf16`` costs little less than that, and saves less."""

OF_CHOICE = CODECS["int8"]


def pack_gradient(codec: Codec, gradient: Floats, weight: float, residual: Floats, out: Buffer) -> Iterator[int]:
    """Pack ``gradient`` and what earlier ones left; yields how many bytes of ``out`` are done, after each slab.

    With ``Q`` what arrives, ``w`` the weight and ``e`` the residual (in place, units of weight times gradient):

        c = g + e/w        e ← w (c − Q(c))

    so ``Σ w Q(c)`` is ``Σ w g`` less the residual of the last one alone, whatever the weights: a server adds gradients
    up in proportion to theirs. What is not finite is refused as a whole: it leaves no residual behind.

    Args:
        codec: packs.
        gradient: mean gradient, shape ``(n,)``; not changed.
        weight: of it; what it is a mean over.
        residual: shape ``(n,)``; zeros at first.
        out: ``codec.size(n)`` bytes.
    """
    # A weight that is no number is refused as well, and is not to spoil what is left of others.
    w = np.float32(weight) if _LIGHTEST <= weight <= _HEAVIEST else np.float32(1)
    total = np.empty(min(SLAB, len(gradient)), np.float32)
    arrives = np.empty_like(total)
    done = 0
    for start in range(0, len(gradient), SLAB):
        part, left = gradient[start : start + SLAB], residual[start : start + SLAB]
        c, q = total[: len(part)], arrives[: len(part)]
        with np.errstate(all="ignore"):
            np.divide(left, w, out=c)
            c += part
        np.copyto(q, c)
        stop = done + codec.size(len(part))
        if codec.pack(q, out[done:stop]):
            np.subtract(c, q, out=c)
            np.multiply(c, w, out=left)
        else:
            left.fill(0)
        done = stop
        yield done


def pack_change(codec: Codec, new: Floats, old: Floats, out: Buffer) -> bool:
    """Pack ``new − old``, and move ``old`` by what arrives, as :func:`apply_change` does elsewhere, to the bit.

    What is left out now is part of the next change: ``old`` is never further from ``new`` than what one leaves out.
    Returns whether the change is finite; if not, ``old`` and ``out`` hold nothing of use.
    """
    scratch = np.empty(min(SLAB, len(new)), np.float32)
    done = 0
    for start in range(0, len(new), SLAB):
        part, moved = new[start : start + SLAB], old[start : start + SLAB]
        change = scratch[: len(part)]
        with np.errstate(all="ignore"):
            np.subtract(part, moved, out=change)
        stop = done + codec.size(len(part))
        if not codec.pack(change, out[done:stop]):
            return False
        moved += change
        done = stop
    return True


def apply_change(codec: Codec, data: Buffer, values: Floats) -> None:
    """Move ``values`` by the change in ``data``."""
    scratch = np.empty(min(SLAB, len(values)), np.float32)
    for moved, packed in _slabs(codec, data, values):
        change = scratch[: len(moved)]
        codec.unpack(packed, change)
        with np.errstate(all="ignore"):
            moved += change


def unpack(codec: Codec, data: Buffer, values: Floats) -> None:
    """Overwrite ``values``, shape ``(n,)``, with what ``data`` holds."""
    for part, packed in _slabs(codec, data, values):
        codec.unpack(packed, part)


def _slabs(codec: Codec, data: Buffer, values: Floats) -> Iterator[tuple[Floats, Buffer]]:
    done = 0
    for start in range(0, len(values), SLAB):
        part = values[start : start + SLAB]
        stop = done + codec.size(len(part))
        yield part, data[done:stop]
        done = stop
