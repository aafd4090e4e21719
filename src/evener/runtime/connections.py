"""The TCP connections under the server's socket: what each has sent that no message has come of, and ending one.

ZeroMQ bounds the whole messages that wait to be read, and the size of a frame, but not the frames of a message that
never ends. So what a connection has sent is compared with what has come out, and who is too far ahead is cut off.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass

HELD_MOST = 128 << 20
"""Bytes that a connection may have sent without a message that is whole: twice what may wait to be read."""

FRAME = 64
"""Bytes that a frame costs beside what is in it, at most: the framing, and encryption."""

SLACK = 1 << 20
"""Bytes below which what a connection holds is taken for nothing when it does deliver."""

_RECEIVED = struct.Struct("=128xQ")
"""Where Linux keeps the number of bytes received in its ``struct tcp_info``."""


@dataclass(slots=True)
class _Connection:
    peer: str
    base: int = 0
    got: int = 0
    fresh: bool = False


class Connections:
    """Those that are open, by descriptor. Where the system does not count bytes (not Linux), nothing is overfull."""

    def __init__(self) -> None:
        self._open: dict[int, _Connection] = {}

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, fd: int) -> None:
        """A connection was accepted."""
        self._open[fd] = _Connection(_peer(fd))

    def closed(self, fd: int) -> str:
        """It has ended. Returns whose it was."""
        found = self._open.pop(fd, None)
        return found.peer if found is not None else "?"

    def took(self, fd: int, size: int, frames: int) -> None:
        """A message of so many bytes came out of it."""
        if (connection := self._open.get(fd)) is not None:
            connection.got += size + frames * FRAME
            connection.fresh = True

    def overfull(self) -> list[tuple[int, str]]:
        """Descriptor and peer of those that hold too much. To be asked regularly, when all that came was taken."""
        found = []
        for fd, connection in self._open.items():
            received = _received(fd)
            held = max(0, received - connection.base - connection.got)
            if connection.fresh and held < SLACK:
                held = 0
            connection.base, connection.got, connection.fresh = received - held, 0, False
            if held > HELD_MOST:
                found.append((fd, connection.peer))
        return found

    def end(self, fd: int) -> None:
        """End it. Its peer may connect again, if it is let in."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:
            copy.shutdown(socket.SHUT_RDWR)


def _received(fd: int) -> int:
    with contextlib.suppress(OSError, AttributeError), socket.socket(fileno=os.dup(fd)) as copy:
        info = copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        if len(info) >= _RECEIVED.size:
            return int(_RECEIVED.unpack_from(info)[0])
    return 0


def _peer(fd: int) -> str:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as copy:
        return str(copy.getpeername()[0]).removeprefix("::ffff:")
    return "?"
