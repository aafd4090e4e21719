"""The server's end of bulk: versions that workers pull, contributions that they push."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .. import protocol as p
from ..numeric import Buffer
from .chunks import Assembly, cut
from .codec import NONE, unpack
from .memory import Attachments, Pool, attach, fill, probe
from .packing import Changes, Packing

Send = Callable[[bytes, p.Message, Buffer], bool]
"""Queues a message and its chunk for a worker, without copying the chunk; whether the worker is still connected."""

Say = Callable[[bytes, p.Message], bool]
"""Queues a control message for a worker; whether it is still connected."""


class LostError(Exception):
    """A contribution, or a part of it, did not get here, and nobody is to blame."""


@dataclass(slots=True)
class _Worker:
    """One worker's bulk: what it wants (``pull``), and the push that it has begun to send (``coming``).

    ``lent`` is what it has not read yet of our memory, in order; ``attached`` is its own, where we can read that.
    """

    pull: p.Pull | None = None
    lent: deque[tuple[bytes, Buffer]] = field(default_factory=deque)
    coming: tuple[p.Push, Assembly] | None = None
    pushed: bool = False
    attached: Attachments | None = None


class ServerBulk:
    """Answers pulls and receives pushes. Workers are known by the name their connections carry.

    Args:
        parameters: the first version, as bytes that never change.
        constants: state that is not trained.
        push_bytes: of one contribution.
        send: to a worker's bulk connection.
        say: to its control connection.
        memory: share memory with those workers that can.
        version: the one whose parameters these are.
        life: how often the run was resumed.
        packing: of what goes in chunks to and from those that cannot; ``None``: it goes as it is.

    Attributes:
        version: the newest published.
        offer: what a worker that can read this process's memory can map.
    """

    def __init__(
        self,
        parameters: Buffer,
        constants: Buffer,
        push_bytes: int,
        send: Send,
        say: Say,
        memory: bool = False,
        version: int = 0,
        life: int = 0,
        packing: Packing | None = None,
    ) -> None:
        self.version = version
        self._life = life
        self.constants = constants
        self._parameters = parameters
        self._push_bytes = push_bytes
        self._send = send
        self._say = say
        self._workers: dict[bytes, _Worker] = {}
        self._probe = probe() if memory else None
        self.offer = self._probe.offer if self._probe is not None else None
        self._pool = Pool(len(parameters))
        self._unread: set[bytes] = set()
        self._spare: list[bytearray] = []
        self._packing = packing
        self._changes = Changes(packing) if packing is not None else None
        if (room := self.room()) is not None:
            fill(room, parameters)
            self._parameters = room

    @property
    def compress(self) -> str:
        """What workers are told of packing."""
        return self._packing.word if self._packing is not None else NONE

    @property
    def codec(self) -> str:
        """The name of what packs, where something is packed."""
        return self._packing.codec.name if self._packing is not None else NONE

    def join(self, name: bytes, offer: p.Offer | None = None) -> bool:
        """From now on this worker is served; whatever was under way under its name no longer counts.

        Args:
            name: its connections' name.
            offer: of its memory. Returns whether its contributions may lie there.
        """
        reads = self._probe is not None and name not in self._unread and attach(offer) is not None
        self._workers[name] = _Worker(attached=Attachments() if reads else None)
        return reads

    def forget(self, name: bytes) -> None:
        """The worker is gone."""
        worker = self._workers.pop(name, None)
        # Its process may be alive and reading, for all we know: others must not find new bytes there under it.
        for _, buffer in worker.lent if worker is not None else ():
            self._pool.retire(buffer)

    # Down: versions and untrained state -----------------------------------------------------------------------

    def room(self) -> Buffer | None:
        """Where the next version may be written, to be published from there; ``None``: anywhere."""
        return self._pool.take() if self._probe is not None else None

    def publish(self, version: int, parameters: Buffer) -> None:
        """These parameters (bytes that never change) are the newest: send them to all who wait."""
        self.version, self._parameters = version, parameters
        for name in self._workers:
            self._answer(name)

    def pull(self, name: bytes, newer_than: int, reads: bool = False, base: int | None = None) -> None:
        """The worker wants anything newer than this, now or when there is something."""
        self._workers[name].pull = p.Pull(newer_than, reads, base)
        self._answer(name)

    def fetch(self, name: bytes) -> None:
        """The worker wants the untrained state."""
        self._send_all(name, self.constants, p.Constants)

    def taken(self, name: bytes, key: bytes) -> None:
        """The worker has read what was lent to it there.

        It may say so after it has joined again. What was lent before that is retired: nothing waits for this.
        """
        lent = self._workers[name].lent
        if lent and lent[0][0] == key:
            lent.popleft()

    def _answer(self, name: bytes) -> None:
        worker = self._workers[name]
        # Who could not be sent it all still waits: its connection may come back before the next version.
        if (asked := worker.pull) is not None and self.version > asked.newer_than and self._send_version(name, asked):
            worker.pull = None

    def _send_version(self, name: bytes, asked: p.Pull) -> bool:
        version, data = self.version, self._parameters
        offer = self._pool.offer(data) if asked.reads else None
        if offer is not None:
            if not self._say(name, p.InMemory(version, offer)):
                return False
            self._workers[name].lent.append((offer.key, data))
            return True
        if self._changes is None or asked.reads or asked.base is None:
            return self._send_all(name, data, lambda offset: p.Version(version, offset, self._life))
        self._changes.follow(version, data)
        return self._send_followed(name, asked.base, self._changes)

    def _send_followed(self, name: bytes, base: int, changes: Changes) -> bool:
        version, way, life = changes.version, changes.since(base), self._life
        if not way:
            return self._send_all(name, changes.whole(), lambda offset: p.Version(version, offset, life, False))

        def head(before: int) -> Callable[[int], p.Message]:
            return lambda offset: p.Change(version, base, len(way), before + offset, life)

        size = len(way[0])
        return all(self._send_all(name, data, head(number * size)) for number, data in enumerate(way))

    def _send_all(self, name: bytes, data: Buffer, head: Callable[[int], p.Message]) -> bool:
        return all(self._send(name, message, chunk) for message, chunk in cut(data, head))

    # Up: contributions ----------------------------------------------------------------------------------------

    def push(self, name: bytes, message: p.Push | p.Part, chunk: Buffer) -> tuple[p.Push, Buffer] | None:
        """Take a contribution, or a chunk of it. Returns head and bytes of what is whole now.

        The bytes may be kept until :meth:`give_back`. Those of a head with an offer are the worker's memory, which it
        leaves alone until it is told :class:`Taken`.

        Raises:
            LostError: what was pushed is not here, or not all of it. The worker has to join again.
            ProtocolError: it is longer than a contribution.
        """
        worker = self._workers[name]
        if isinstance(message, p.Push):
            if message.offer is not None and message.packed:
                raise p.ProtocolError("a contribution in memory came packed")
            if message.offer is not None:
                return message, self._read(name, worker, message.offer)
            worker.coming = None
            worker.pushed = True
            size = self._size(message)
            if len(chunk) == size:
                return message, self._unpacked(message, chunk)  # all in one: it is used where it lies
            buffer = bytearray(size) if message.packed else self._buffer()
            worker.coming = message, Assembly(f"push {message.push}", buffer)
            offset = 0
        else:
            if not worker.pushed:
                # Its beginning came before the worker was given up and welcomed back. Its tickets are others' now.
                return None
            offset = message.offset
            if worker.coming is None or worker.coming[0].push != message.push or worker.coming[1].filled != offset:
                raise LostError(f"what comes before part {offset} of push {message.push} was lost")
        head, assembly = worker.coming
        if not assembly.add(offset, chunk):
            return None
        worker.coming = None
        return head, self._unpacked(head, memoryview(assembly.buffer))

    def _size(self, head: p.Push) -> int:
        if not head.packed:
            return self._push_bytes
        if self._packing is None:
            raise p.ProtocolError("a contribution came packed, which this run's are not")
        return self._packing.push_bytes

    def _unpacked(self, head: p.Push, data: Buffer) -> Buffer:
        if not head.packed or self._packing is None:
            return data
        start = self._packing.extent.push_head
        whole = memoryview(self._buffer())
        whole[:start] = data[:start]
        unpack(self._packing.codec, data[start:], np.frombuffer(whole, np.float32, offset=start))
        return whole

    def give_back(self, contribution: Buffer) -> None:
        """The bytes of a contribution that :meth:`push` returned are not needed any more."""
        # One for each worker, at most, waits for the next: fresh memory costs a page fault for each of its pages.
        if isinstance(contribution.obj, bytearray) and len(self._spare) < len(self._workers):
            self._spare.append(contribution.obj)

    def _buffer(self) -> bytearray:
        return self._spare.pop() if self._spare else bytearray(self._push_bytes)

    def _read(self, name: bytes, worker: _Worker, offer: p.Offer) -> Buffer:
        if offer.size != self._push_bytes:
            raise p.ProtocolError(f"{offer.size} bytes were pushed instead of {self._push_bytes}")
        found = worker.attached.get(offer) if worker.attached is not None else None
        if found is None:
            self._unread.add(name)
            raise LostError("its memory cannot be read")
        return found
