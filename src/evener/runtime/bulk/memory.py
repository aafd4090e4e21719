"""Shared memory between two processes of one host. Nothing here knows sockets.

A segment is anonymous: it has no name that could outlive its processes, and the kernel frees it with the last one that
maps it. What names it for another process is an :class:`~evener.runtime.protocol.Offer`, which travels in messages.

Nothing is written while another process may read it. A writer hands a segment out for one use at a time, and takes it
back when it is told that the bytes were read; what a process that is given up may still be reading is retired instead.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import weakref
from typing import Any

import numpy as np

from .. import protocol as p
from ..numeric import Buffer

SEGMENTS = 8
"""Segments of one writer at most: the newest version, the one being written, snapshots that wait, and slow readers."""

NAME = "evener"

HEAD = 64
"""Bytes before the body, which is aligned by them: the key, and nothing else."""

KEY = 16

_SUPPORTED = hasattr(os, "memfd_create") and hasattr(fcntl, "F_ADD_SEALS")


class Segment:
    """Memory that this process writes, and others may map to read.

    Args:
        size: of the body, in bytes.

    Attributes:
        offer: tells others where it is.
        retired: it may still be read by who will not say when it has: never to be written again.

    Raises:
        OSError: there is no such thing on this system, or no memory, or no descriptor.
    """

    def __init__(self, size: int) -> None:
        if not _SUPPORTED:
            raise OSError("this system has no anonymous shared memory")
        self.retired = False
        fd = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # Others open it through this process's descriptor: it stays open as long as the segment is in use.
        weakref.finalize(self, os.close, fd).atexit = False
        # All of it now: where memory is short this fails, while a write to a page that is not to be had would end
        # the process.
        os.posix_fallocate(fd, 0, HEAD + size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _seals())
        self.mapping = mmap.mmap(fd, HEAD + size)
        key = os.urandom(KEY)
        self.mapping[:KEY] = key
        self.offer = p.Offer(os.getpid(), fd, key, size)


def probe() -> Segment | None:
    """A segment without a body: whoever can attach it can attach others of this process. ``None``: it has none."""
    try:
        return Segment(0)
    except OSError:
        return None


def attach(offer: p.Offer | None) -> Buffer | None:
    """The body of another process's segment, to read; ``None`` if it is not there, not as offered, or not permitted.

    >>> if (here := probe()) is not None:
    ...     assert attach(here.offer) == b""
    >>> attach(p.Offer(1, 0, b"?", 8))
    """
    if offer is None or not _SUPPORTED:
        return None
    path = f"/proc/{offer.pid}/fd/{offer.fd}"
    total = HEAD + offer.size
    try:
        # Looked at first: the numbers may mean another process here, and opening its terminal or pipe is no reading.
        if not os.readlink(path).startswith(f"/memfd:{NAME} "):
            return None
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # Without the seals its writer could cut it short, and reading beyond the end would end this process.
            sealed = fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _seals() == _seals()
            if not sealed or os.fstat(fd).st_size != total:
                return None
            mapping = mmap.mmap(fd, total, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
    except (OSError, OverflowError, ValueError):
        return None
    return memoryview(mapping)[HEAD:] if mapping[:KEY] == offer.key else None


def _seals() -> int:
    return fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Pool:
    """Few segments of one size, each in one use at a time.

    A buffer that was taken is free again when nothing refers to it any more: no slice of it, no tensor over it, no
    message that is queued with it. So one that is lent to several readers counts them by what is kept for each.

    Args:
        size: of each, in bytes.
        most: segments at once.

    >>> pool = Pool(8, most=1)
    >>> first = pool.take()
    >>> pool.take() is None
    True
    >>> del first
    >>> (None if (again := pool.take()) is None else len(again)) in (8, None)  # None: not on this system
    True
    """

    def __init__(self, size: int, most: int = SEGMENTS) -> None:
        self.size = size
        self._most = most
        self._made = 0
        self._free: list[Segment] = []
        self._used: dict[int, Segment] = {}

    def take(self) -> Buffer | None:
        """A buffer to fill; ``None`` when all are in use, or no more memory is to be had."""
        segment = self._free.pop() if self._free else self._make()
        if segment is None:
            return None
        # All that is made from this array keeps it alive. Its own memory is the segment's, not a copy.
        array: Any = np.frombuffer(segment.mapping, np.uint8, self.size, HEAD)
        self._used[id(array)] = segment
        weakref.finalize(array, self._back, id(array)).atexit = False
        return memoryview(array)

    def _make(self) -> Segment | None:
        if not self.size or self._made >= self._most:
            return None
        try:
            segment = Segment(self.size)
        except OSError:
            return None
        self._made += 1
        return segment

    def _back(self, identity: int) -> None:
        # In whichever thread drops the last reference.
        segment = self._used.pop(identity)
        if not segment.retired:
            self._free.append(segment)

    def offer(self, buffer: Buffer) -> p.Offer | None:
        """What tells others of this buffer; ``None`` if it is not of this pool."""
        segment = self._used.get(id(buffer.obj))
        return segment.offer if segment is not None else None

    def retire(self, buffer: Buffer) -> None:
        """Never hand this buffer's memory out again, but another segment's."""
        segment = self._used.get(id(buffer.obj))
        if segment is not None and not segment.retired:
            segment.retired = True
            self._made -= 1


class Attachments:
    """Segments of one peer, each mapped once; those not used for longest are let go."""

    def __init__(self, most: int = SEGMENTS) -> None:
        self._most = most
        self._mapped: dict[bytes, Buffer] = {}

    def __len__(self) -> int:
        return len(self._mapped)

    def get(self, offer: p.Offer) -> Buffer | None:
        """As :func:`attach`."""
        body = self._mapped.pop(offer.key, None)
        if body is None:
            body = attach(offer)
        if body is None or len(body) != offer.size:
            return None
        self._mapped[offer.key] = body
        if len(self._mapped) > self._most:
            del self._mapped[next(iter(self._mapped))]
        return body


def fill(room: Buffer, data: Buffer) -> None:
    """Copy ``data`` into ``room``, which is as long; other threads may run meanwhile."""
    np.copyto(np.frombuffer(room, np.uint8), np.frombuffer(data, np.uint8))
