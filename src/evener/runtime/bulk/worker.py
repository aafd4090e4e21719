"""A worker's end of bulk: versions come in, contributions go out."""

from __future__ import annotations

from collections.abc import Callable

from .. import protocol as p
from ..line import Line
from ..numeric import Buffer
from .chunks import Assembly, cut


class WorkerBulk:
    """Puts versions together and cuts contributions. Not locked: used with the line's lock held.

    Versions go round in few buffers: the one that is coming, the newest that is whole, and those handed out by
    :meth:`take` until they are given back.

    Args:
        line: to the server.
        size: bytes of one version.

    Attributes:
        at_hand: the newest whole version that nobody has taken, and its bytes.
        constants: the state that is not trained.
    """

    def __init__(self, line: Line, size: int) -> None:
        self.at_hand: tuple[int, bytearray] | None = None
        self.constants = Assembly("the untrained state", bytearray())
        self._line = line
        self._size = size
        self._free: list[bytearray] = []
        self._coming: tuple[int, Assembly] | None = None
        self._asked = -1
        self._torn = False
        self._pushes = 0

    # Down: versions and untrained state -----------------------------------------------------------------------

    def fetch(self, size: int) -> None:
        """Ask for the untrained state, which has so many bytes."""
        self.constants = Assembly("the untrained state", bytearray(size))
        self._line.ask(p.Fetch())

    def pull(self, newer_than: int) -> None:
        """Ask for anything newer than this version."""
        self._asked = newer_than
        self._line.ask(p.Pull(newer_than))

    def hear(self, message: p.Message, chunk: Buffer) -> bool:
        """Take a chunk. Whether what it belongs to is whole now.

        Raises:
            ProtocolError: it is no chunk, or fits nowhere.
        """
        match message:
            case p.Constants(offset):
                return self.constants.add(offset, chunk)
            case p.Version(version, offset):
                return self._version(version, offset, chunk)
            case _:
                raise p.ProtocolError(f"{type(message).__name__} is not for a server to send")

    def _version(self, version: int, offset: int, chunk: Buffer) -> bool:
        if offset == 0:
            self._drop()
            buffer = self._free.pop() if self._free else bytearray(self._size)
            self._coming = version, Assembly(f"version {version}", buffer)
            self._torn = False
        elif self._coming is None or self._coming[0] != version or self._coming[1].filled != offset:
            # The chunks before it were lost with a connection. Its rest is of no use: ask again, once.
            self._drop()
            if not self._torn:
                self._torn = True
                self.pull(self._asked)
            return False
        assert self._coming is not None
        assembly = self._coming[1]
        if not assembly.add(offset, chunk):
            return False
        self._coming = None
        self.discard()
        self.at_hand = version, assembly.buffer
        return True

    def _drop(self) -> None:
        if self._coming is not None:
            self._free.append(self._coming[1].buffer)
            self._coming = None

    def coming(self, version: int) -> bool:
        """Whether this version, or a newer one, is here or under way."""
        return any(one is not None and one[0] >= version for one in (self._coming, self.at_hand))

    def take(self) -> tuple[int, bytearray]:
        """The version at hand, now the caller's until it gives the bytes back."""
        assert self.at_hand is not None
        taken, self.at_hand = self.at_hand, None
        return taken

    def give_back(self, buffer: bytearray) -> None:
        """These bytes are no longer needed: they may be overwritten."""
        self._free.append(buffer)

    def discard(self) -> None:
        """Nobody will take the version at hand."""
        if self.at_hand is not None:
            self.give_back(self.take()[1])

    # Up: contributions ----------------------------------------------------------------------------------------

    def push(
        self,
        tickets: tuple[int, ...],
        versions: tuple[int, ...],
        weight: float,
        present: bytes,
        metrics: dict[str, tuple[float, float]],
        payload: Buffer,
        copied: Callable[[], None],
    ) -> None:
        """Send a contribution; ``copied`` is called when no byte of ``payload`` is needed any more."""
        number = self._pushes
        self._pushes += 1
        head = p.Push(number, tickets, versions, weight, present, metrics)
        self._line.send(cut(payload, lambda offset: p.Part(number, offset) if offset else head), copied)
