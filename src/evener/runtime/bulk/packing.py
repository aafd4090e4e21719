"""What is packed for the wire, in both directions, and what becomes of what that leaves out.

Down: versions go as changes. Those that get them *follow* the parameters ``w``: they hold values ``ŵ`` which are not
quite the same. The change that is packed is always that from ``ŵ`` to ``w``, so what one leaves out is part of the
next. The server keeps ``ŵ`` too, moved by the same operations: whoever holds a version that way holds the same bits.

Up: what a contribution leaves out is kept by its worker, and comes with the next.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .. import protocol as p
from ..numeric import Buffer, Extent
from .codec import AUTO, CODECS, NONE, OF_CHOICE, Codec, Floats, apply_change, pack_change, pack_gradient


@dataclass(frozen=True, slots=True)
class Packing:
    """How versions and contributions are packed: their float32 values; the heads before these stay as they are.

    ``auto``: each worker chooses whether its own are.

    >>> from evener.runtime.bulk.codec import Bf16
    >>> packing = Packing(Bf16(), Extent(8, 16, 400))
    >>> packing.change_bytes, packing.push_bytes
    (208, 216)
    """

    codec: Codec
    extent: Extent
    auto: bool = False

    @classmethod
    def of(cls, compress: str, extent: Extent) -> Packing | None:
        """As a run's option says; ``None``: nothing is packed.

        Raises:
            KeyError: there is no such codec.
        """
        if compress == NONE:
            return None
        return cls(OF_CHOICE, extent, auto=True) if compress == AUTO else cls(CODECS[compress], extent)

    @property
    def word(self) -> str:
        """The run's option."""
        return AUTO if self.auto else self.codec.name

    @property
    def count(self) -> int:
        """Values."""
        return self.extent.values // 4

    @property
    def change_bytes(self) -> int:
        """Bytes of the change from one version to another: the newer one's head, and the values' change."""
        return self.extent.version_head + self.codec.size(self.count)

    @property
    def push_bytes(self) -> int:
        """Bytes of a contribution."""
        return self.extent.push_head + self.codec.size(self.count)

    def most_changes(self) -> int:
        """So many together are shorter than the version itself (0: not even one is)."""
        return (self.extent.version_head + self.extent.values - 1) // self.change_bytes


@dataclass(frozen=True, slots=True)
class _Change:
    base: int
    version: int
    data: Buffer


class Changes:
    """The server's: what those hold who follow it, and the last few changes.

    Only versions that somebody wants are packed, so a change may be that of several steps.
    """

    def __init__(self, packing: Packing) -> None:
        self.version = -1
        self._packing = packing
        self._head = b""
        self._values: Floats = np.empty(0, np.float32)
        self._last: deque[_Change] = deque(maxlen=packing.most_changes())
        self._whole: Buffer | None = None

    def follow(self, version: int, parameters: Buffer) -> None:
        """``parameters`` are ``version``: pack the change from the version before, unless it was."""
        if version == self.version:
            return
        start = self._packing.extent.version_head
        exact = np.frombuffer(parameters, np.float32, offset=start)
        change = None
        if self.version < 0:
            self._values = exact.copy()
        else:
            change = memoryview(bytearray(self._packing.change_bytes))
            change[:start] = parameters[:start]
            if not pack_change(self._packing.codec, exact, self._values, change[start:]):
                # Not finite, which no change is a way to or from.
                change = None
                np.copyto(self._values, exact)
        if change is None:
            self._last.clear()
        else:
            self._last.append(_Change(self.version, version, change))
        self.version, self._head, self._whole = version, bytes(parameters[:start]), None

    def since(self, base: int) -> list[Buffer]:
        """What leads from version ``base`` to :attr:`version`, in order; nothing if that would be longer than it is."""
        way: list[Buffer] = []
        for change in self._last:
            if way or change.base == base:
                way.append(change.data)
        return way

    def whole(self) -> Buffer:
        """:attr:`version` as its receivers hold it, as bytes that never change."""
        if self._whole is None:
            self._whole = memoryview(b"".join((self._head, self._values.tobytes())))
        return self._whole


class Followed:
    """A worker's: the version that it holds of those that come as changes; ``version`` -1: none."""

    def __init__(self, packing: Packing) -> None:
        self.version = -1
        self.packing = packing
        self._data = bytearray()

    def begin(self, version: int, data: Buffer) -> None:
        """This is ``version``, whole."""
        if not self._data:
            self._data = bytearray(len(data))
        memoryview(self._data)[:] = data
        self.version = version

    def move(self, version: int, changes: Buffer) -> Buffer:
        """Take the ``changes`` that lead to ``version``; returns what it is, which is overwritten by the next."""
        packing, size = self.packing, self.packing.change_bytes
        start = packing.extent.version_head
        data = memoryview(self._data)
        values = np.frombuffer(data, np.float32, offset=start)
        for at in range(0, len(changes), size):
            data[:start] = changes[at : at + start]
            apply_change(packing.codec, changes[at + start : at + size], values)
        self.version = version
        return data


class Outgoing:
    """A worker's: packs contributions, and keeps what they leave out for the next ones.

    What becomes of a contribution is not known here. When one is refused or discarded, what it took over from those
    before is lost with it, and what it left out comes with the next: either is less than a step of the codec a value.
    """

    def __init__(self, packing: Packing) -> None:
        self._packing = packing
        self._residual: Floats = np.zeros(0, np.float32)
        self._packed = bytearray()

    def cut(self, payload: Buffer, head: p.Push) -> Iterator[tuple[p.Message, Buffer]]:
        """As :func:`~evener.runtime.bulk.chunks.cut`; each chunk is packed when its turn comes: others leave meanwhile.

        All go into the same memory, so one must be cut to its end before the next is.
        """
        if not self._packed:
            self._packed = bytearray(self._packing.push_bytes)
            self._residual = np.zeros(self._packing.count, np.float32)
        out, start = memoryview(self._packed), self._packing.extent.push_head
        out[:start] = payload[:start]
        gradient = np.frombuffer(payload, np.float32, offset=start)
        slabs = pack_gradient(self._packing.codec, gradient, head.weight, self._residual, out[start:])
        ready = start
        for begin, end in p.chunks(len(out)):
            while ready < end:
                ready = start + next(slabs)
            yield (p.Part(head.push, begin) if begin else head), out[begin:end]
