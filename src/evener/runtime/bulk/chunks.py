"""Chunks: how bulk is cut for the wire, and how it is put together again. Nothing here knows sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .. import protocol as p
from ..numeric import Buffer


def cut(data: Buffer, head: Callable[[int], p.Message]) -> Iterator[tuple[p.Message, Buffer]]:
    """``data`` in chunks, each behind the message ``head(offset)`` that announces it. No chunk is a copy.

    >>> [(head, bytes(chunk)) for head, chunk in cut(memoryview(b"little"), p.Constants)]
    [(Constants(offset=0), b'little')]
    """
    for start, stop in p.chunks(len(data)):
        yield head(start), data[start:stop]


class Assembly:
    """Fills a buffer with chunks, which must come in order.

    Args:
        what: is put together, for error messages.
        buffer: as long as the whole; may be one that was used before.

    >>> name = Assembly("a name", bytearray(6))
    >>> name.add(0, memoryview(b"eve"))
    False
    >>> name.add(3, memoryview(b"ner"))
    True
    >>> name.buffer
    bytearray(b'evener')
    """

    def __init__(self, what: str, buffer: bytearray) -> None:
        self.what = what
        self.buffer = buffer
        self.filled = 0

    @property
    def whole(self) -> bool:
        """Whether every byte is here."""
        return self.filled == len(self.buffer)

    def add(self, offset: int, chunk: Buffer) -> bool:
        """Copy ``chunk`` to where it belongs; returns :attr:`whole`.

        Raises:
            ProtocolError: it does not follow on what is here, or there is no room for it.
        """
        if offset != self.filled:
            raise p.ProtocolError(f"part {offset} of {self.what} is out of order")
        stop = offset + len(chunk)
        if stop > len(self.buffer):
            raise p.ProtocolError(f"{self.what} is longer than its {len(self.buffer)} bytes")
        # Through a view: assigned to a bytearray itself, the chunk would first become a bytearray of its own.
        memoryview(self.buffer)[offset:stop] = chunk
        self.filled = stop
        return self.whole
