"""A worker's end of bulk: versions come in, contributions go out."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from .. import protocol as p
from ..line import Line
from ..numeric import Buffer, Extent
from .choosing import Choosing
from .chunks import Assembly, cut
from .codec import AUTO
from .memory import Attachments, Pool, attach, fill, probe
from .packing import Followed, Outgoing

Bytes = Buffer | bytearray
"""Of a version: a frame as it came, or a buffer that is used again."""


class WorkerBulk:
    """Puts versions together and cuts contributions. Not locked: used with the line's lock held.

    Versions go round in few buffers: the one that is coming, the newest that is whole, and those handed out by
    :meth:`take` until they are given back.

    Args:
        size: bytes of one version.
        memory: share memory with a server that can.
        extent: of what may be packed; ``None``: nothing may.

    Attributes:
        at_hand: the newest whole version that nobody has taken, and its bytes.
        exact: whether it is what the server has, to the bit.
        constants: the state that is not trained.
        offer: what a server that can read this process's memory can map.
        reads: whether versions may lie in the server's memory.
        choosing: whether to pack, where that is to be chosen.
        line: to the server. It cannot be made before the offer that its greeting has.
    """

    line: Line

    def __init__(self, size: int, memory: bool = False, extent: Extent | None = None) -> None:
        self.at_hand: tuple[int, Bytes] | None = None
        self.exact = True
        self.constants = Assembly("the untrained state", bytearray())
        self._size = size
        self._free: list[bytearray] = []
        self._coming: tuple[p.Version | p.Change, Assembly] | None = None
        self._asked = -1
        self._exactly = False
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
        self.choosing = Choosing(extent)
        self._followed: Followed | None = None
        self._outgoing: Outgoing | None = None

    def welcomed(self, welcome: p.Welcome) -> None:
        """A membership begins: what was lent in the one before may still be read, and is never written again.

        What earlier contributions left out is forgotten with those of them that may be lost, and parameters come whole
        before they come as changes.
        """
        self._pack(welcome.compress)
        self.reads = self.offer is not None and attach(welcome.offer) is not None
        self._writes = self.offer is not None and welcome.reads
        self._life = welcome.life
        self._pool = None
        self._lent.clear()

    def _pack(self, compress: str) -> None:
        packing = self.choosing.packing(compress)
        self._followed = Followed(packing) if packing is not None else None
        self._outgoing = Outgoing(packing) if packing is not None else None

    def undecided(self, compress: str) -> bool:
        """Whether another transfer is wanted to choose by; with the last, it is chosen."""
        if compress != AUTO or self.reads:
            return False
        if self.choosing.wanted:
            return True
        self.choosing.choose()
        self._pack(compress)
        return False

    @property
    def packs(self) -> bool:
        """Whether anything goes packed, in either direction."""
        return self._outgoing is not None and not (self.reads and self._writes)

    # Down: versions and untrained state -----------------------------------------------------------------------

    def fetch(self, size: int) -> None:
        """Ask for the untrained state, which has so many bytes."""
        self.constants = Assembly("the untrained state", bytearray(size))
        self.line.ask(p.Fetch())

    @property
    def follows(self) -> bool:
        """Whether parameters come as changes, and not quite as the server has them."""
        return self._followed is not None and not self.reads

    def pull(self, newer_than: int, exact: bool = False) -> None:
        """Ask for anything newer than this version; ``exact``: to the bit as the server has it."""
        self._asked, self._exactly = newer_than, exact
        self._waiting = True
        base = self._followed.version if self._followed is not None and not (self.reads or exact) else None
        self.line.ask(p.Pull(newer_than, self.reads, base))

    def ask_again(self) -> None:
        """What was asked for may have been lost, or the answer."""
        if not self.constants.whole:
            self.fetch(len(self.constants.buffer))
        if self._waiting:
            self.pull(self._asked, self._exactly)

    def hear(self, message: p.Message, chunk: Buffer) -> bool:
        """Take a chunk. Whether what it belongs to is whole now.

        Raises:
            ProtocolError: it is no chunk, or does not fit.
        """
        match message:
            case p.Constants(offset):
                self.choosing.begins(time.monotonic())
                return self._constants(offset, chunk)
            case p.Version() | p.Change():
                # What a server that was lost had sent may be read after the greeting of the one that went on.
                return message.life == self._life and self._version(message, chunk)
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

    def _version(self, head: p.Version | p.Change, chunk: Buffer) -> bool:
        if head.offset == 0:
            self._drop()
            self._torn = False
            if isinstance(head, p.Change):
                buffer = self._room_for(head)
            elif len(chunk) == self._size:
                return self._arrived(head, chunk)  # all in one: it is used where it lies
            else:
                buffer = self._buffer()
            self._coming = head, Assembly(f"version {head.version}", buffer)
        elif self._coming is None or not _follows(*self._coming, head):
            # The chunks before it were lost with a connection. Its rest is of no use: ask again, once.
            self._drop()
            if not self._torn:
                self._torn = True
                self.pull(self._asked, self._exactly)
            return False
        assert self._coming is not None
        assembly = self._coming[1]
        if not assembly.add(head.offset, chunk):
            return False
        self._coming = None
        return self._arrived(head, assembly.buffer)

    def _arrived(self, head: p.Version | p.Change, data: Bytes) -> bool:
        if isinstance(head, p.Change):
            return self._changed(head, memoryview(data))
        if self._followed is not None and not head.exact:
            self._followed.begin(head.version, memoryview(data))
        self.choosing.ends(time.monotonic())
        return self._whole(head.version, data, head.exact)

    def _room_for(self, head: p.Change) -> bytearray:
        if self._followed is None or not 0 < head.changes <= self._followed.packing.most_changes():
            raise p.ProtocolError(f"{head.changes} changes were sent, which nobody asks for")
        return bytearray(head.changes * self._followed.packing.change_bytes)

    def _changed(self, head: p.Change, changes: Buffer) -> bool:
        assert self._followed is not None
        if head.base != self._followed.version:
            # Asked for twice, and overtaken by the other answer. Where nothing else is to come, whole it is.
            if self._waiting:
                self._followed.version = -1
                self.pull(self._asked, self._exactly)
            return False
        buffer = self._buffer()
        fill(memoryview(buffer), self._followed.move(head.version, changes))
        return self._whole(head.version, buffer, exact=False)

    def _in_memory(self, version: int, offer: p.Offer) -> bool:
        found = self._attached.get(offer) if offer.size == self._size else None
        buffer = None
        if found is not None:
            # Copied at once: until the main thread installs it, it would be kept from being written.
            fill(memoryview(buffer := self._buffer()), found)
        self.line.say(p.Taken(offer.key))
        if buffer is None:
            self.reads = False
            self.pull(self._asked, self._exactly)
            return False
        return self._whole(version, buffer)

    def _whole(self, version: int, buffer: Bytes, exact: bool = True) -> bool:
        if self.at_hand is not None and self.at_hand[0] > version:
            # Asked for twice, and overtaken by the later answer.
            self.give_back(buffer)
            return False
        self.discard()
        self.at_hand, self.exact = (version, buffer), exact
        self._waiting = self._waiting and (version <= self._asked or (self._exactly and not exact))
        return True

    def _buffer(self) -> bytearray:
        return self._free.pop() if self._free else bytearray(self._size)

    def _drop(self) -> None:
        if self._coming is not None and isinstance(self._coming[0], p.Version):
            self._free.append(self._coming[1].buffer)
        self._coming = None

    def coming(self, version: int) -> bool:
        """Whether this version, or a newer one, is here or under way."""
        coming = self._coming[0].version if self._coming is not None else -1
        return max(coming, self.at_hand[0] if self.at_hand is not None else -1) >= version

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
        packed = self._outgoing is not None and not self._writes
        head = p.Push(number, tickets, versions, weight, present, metrics, offer, packed)
        if self._outgoing is not None and packed:
            self.line.send(self._outgoing.cut(payload, head), copied)
        elif offer is None:
            self.line.send(cut(payload, lambda offset: p.Part(number, offset) if offset else head), copied)
        else:
            self._lent[offer.key] = payload
            # Not on the bulk connection: it would wait there for chunks, and could be lost with it alone.
            self.line.say(head)
            copied()

    def taken(self, key: bytes) -> None:
        """The server has read it."""
        self._lent.pop(key, None)  # nothing: it was lent in a membership that is over


def _follows(begun: p.Version | p.Change, assembly: Assembly, head: p.Version | p.Change) -> bool:
    """Whether ``head`` announces the next chunk of what was ``begun``."""
    return assembly.filled == head.offset and head == msgspec.structs.replace(begun, offset=head.offset)
