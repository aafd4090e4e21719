"""A worker's end of bulk: versions come in, contributions go out."""

from __future__ import annotations

from collections.abc import Callable

from .. import protocol as p
from ..line import Line
from ..numeric import Buffer
from .chunks import Assembly, cut
from .memory import Attachments, Pool, attach, fill, probe

Bytes = Buffer | bytearray
"""Of a version: a frame as it came, or a buffer that is used again."""


class WorkerBulk:
    """Puts versions together and cuts contributions. Not locked: used with the line's lock held.

    Versions go round in few buffers: the one that is coming, the newest that is whole, and those handed out by
    :meth:`take` until they are given back.

    Args:
        size: bytes of one version.
        memory: share memory with a server that can.

    Attributes:
        at_hand: the newest whole version that nobody has taken, and its bytes.
        constants: the state that is not trained.
        offer: what a server that can read this process's memory can map.
        reads: whether versions may lie in the server's memory.
        line: to the server. It cannot be made before the offer that its greeting has.
    """

    line: Line

    def __init__(self, size: int, memory: bool = False) -> None:
        self.at_hand: tuple[int, Bytes] | None = None
        self.constants = Assembly("the untrained state", bytearray())
        self._size = size
        self._free: list[bytearray] = []
        self._coming: tuple[int, Assembly] | None = None
        self._asked = -1
        self._waiting = False
        self._torn = False
        self._pushes = 0
        self._probe = probe() if memory else None
        self.offer = self._probe.offer if self._probe is not None else None
        self.reads = False
        self._attached = Attachments()
        self._writes = False
        self._life = 0
        self._pool: Pool | None = None
        self._lent: dict[bytes, Buffer] = {}

    def welcomed(self, welcome: p.Welcome) -> None:
        """A membership begins: what was lent in the one before may still be read, and is never written again."""
        self.reads = self.offer is not None and attach(welcome.offer) is not None
        self._writes = self.offer is not None and welcome.reads
        self._life = welcome.life
        self._pool = None
        self._lent.clear()

    # Down: versions and untrained state -----------------------------------------------------------------------

    def fetch(self, size: int) -> None:
        """Ask for the untrained state, which has so many bytes."""
        self.constants = Assembly("the untrained state", bytearray(size))
        self.line.ask(p.Fetch())

    def pull(self, newer_than: int) -> None:
        """Ask for anything newer than this version."""
        self._asked = newer_than
        self._waiting = True
        self.line.ask(p.Pull(newer_than, self.reads))

    def ask_again(self) -> None:
        """What was asked for may have been lost, or the answer."""
        if not self.constants.whole:
            self.fetch(len(self.constants.buffer))
        if self._waiting:
            self.pull(self._asked)

    def hear(self, message: p.Message, chunk: Buffer) -> bool:
        """Take a chunk. Whether what it belongs to is whole now.

        Raises:
            ProtocolError: it is no chunk, or does not fit.
        """
        match message:
            case p.Constants(offset):
                return self._constants(offset, chunk)
            case p.Version(version, offset, life):
                # What a server that was lost had sent may be read after the greeting of the one that went on.
                return life == self._life and self._version(version, offset, chunk)
            case p.InMemory(version, offer):
                return self._in_memory(version, offer)
            case _:
                raise p.ProtocolError(f"{type(message).__name__} is not for a server to send")

    def _constants(self, offset: int, chunk: Buffer) -> bool:
        if self.constants.whole:
            return not chunk
        if offset == 0:
            self.constants = Assembly(self.constants.what, self.constants.buffer)
        elif offset != self.constants.filled:
            return False  # the chunks before it were lost with a connection, after which it is asked for again
        return self.constants.add(offset, chunk)

    def _version(self, version: int, offset: int, chunk: Buffer) -> bool:
        if offset == 0:
            self._drop()
            self._torn = False
            if len(chunk) == self._size:
                return self._whole(version, chunk)  # all in one: it is used where it lies
            self._coming = version, Assembly(f"version {version}", self._buffer())
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
        return self._whole(version, assembly.buffer)

    def _in_memory(self, version: int, offer: p.Offer) -> bool:
        found = self._attached.get(offer) if offer.size == self._size else None
        buffer = None
        if found is not None:
            # Copied at once: until the main thread installs it, it would be kept from being written.
            fill(memoryview(buffer := self._buffer()), found)
        self.line.say(p.Taken(offer.key))
        if buffer is None:
            self.reads = False
            self.pull(self._asked)
            return False
        return self._whole(version, buffer)

    def _whole(self, version: int, buffer: Bytes) -> bool:
        if self.at_hand is not None and self.at_hand[0] > version:
            # Asked for twice, and overtaken by the later answer.
            self.give_back(buffer)
            return False
        self.discard()
        self.at_hand = version, buffer
        self._waiting = self._waiting and version <= self._asked
        return True

    def _buffer(self) -> bytearray:
        return self._free.pop() if self._free else bytearray(self._size)

    def _drop(self) -> None:
        if self._coming is not None:
            self._free.append(self._coming[1].buffer)
            self._coming = None

    def coming(self, version: int) -> bool:
        """Whether this version, or a newer one, is here or under way."""
        return any(one is not None and one[0] >= version for one in (self._coming, self.at_hand))

    def take(self) -> tuple[int, Bytes]:
        """The version at hand, now the caller's until it gives the bytes back."""
        assert self.at_hand is not None
        taken, self.at_hand = self.at_hand, None
        return taken

    def give_back(self, buffer: Bytes) -> None:
        """These bytes are no longer needed: they may be overwritten."""
        if isinstance(buffer, bytearray):
            self._free.append(buffer)

    def start_over(self) -> None:
        """Another server answers: no version that is here, or coming, is one of its own."""
        self.discard()
        self._drop()
        self._attached = Attachments()
        self.pull(-1)

    def discard(self) -> None:
        """Nobody will take the version at hand."""
        if self.at_hand is not None:
            self.give_back(self.take()[1])

    # Up: contributions ----------------------------------------------------------------------------------------

    def room(self, size: int) -> Buffer | None:
        """Memory for a contribution of so many bytes, to be filled and pushed; ``None``: it goes in chunks."""
        if not self._writes:
            return None
        if self._pool is None:
            self._pool = Pool(size)
        return self._pool.take()

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
        """Send a contribution; ``copied`` is called when no byte of ``payload`` is needed any more.

        A ``payload`` that is :meth:`room` stays where it is, and is kept until the server has read it.
        """
        number = self._pushes
        self._pushes += 1
        offer = self._pool.offer(payload) if self._pool is not None else None
        head = p.Push(number, tickets, versions, weight, present, metrics, offer)
        if offer is None:
            self.line.send(cut(payload, lambda offset: p.Part(number, offset) if offset else head), copied)
        else:
            self._lent[offer.key] = payload
            # Not on the bulk connection: it would wait there for chunks, and could be lost with it alone.
            self.line.say(head)
            copied()

    def taken(self, key: bytes) -> None:
        """The server has read it."""
        self._lent.pop(key, None)  # nothing: it was lent in a membership that is over
