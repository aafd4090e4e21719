"""Who is connected to the server: by the name that a process's connections carry, and by its number as a worker."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import zmq

from . import protocol as p
from .numeric import Buffer

SILENCE = 15.0
"""Seconds after which a worker that says nothing counts as gone (its I/O thread speaks every second)."""

ROLL_CALL = 1.0
"""Seconds between two signs of life, and between two looks for workers that give none."""


@dataclass(slots=True)
class Peer:
    """A worker's process.

    ``heard`` is when it last said something; ``joined`` whether it is ready for tickets; ``readable`` whether its
    memory can be read here.
    """

    name: bytes
    worker: int
    heard: float
    joined: bool = False
    readable: bool = False


class Peers:
    """Those who were welcomed, and the way to them. Times are the server's, in seconds.

    Args:
        socket: of the listener; a process ``name`` has the connections ``name/control`` and ``name/bulk`` to it.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.next_call = 0.0
        self._called = 0.0
        self._socket = socket
        self._by_name: dict[bytes, Peer] = {}
        self._by_worker: dict[int, Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(list(self._by_name.values()))

    def __len__(self) -> int:
        return len(self._by_name)

    def named(self, name: bytes) -> Peer | None:
        """The peer whose connections carry this name."""
        return self._by_name.get(name)

    def numbered(self, worker: int) -> Peer | None:
        """The peer that is this worker."""
        return self._by_worker.get(worker)

    def add(self, name: bytes, index: int, now: float) -> Peer:
        """Welcome a process: as the worker ``index`` that it asks to be, or another where there is one."""
        worker = index
        if worker < 0 or worker in self._by_worker:
            worker = max([-1, *self._by_worker]) + 1
        peer = Peer(name, worker, now)
        self._by_name[name] = self._by_worker[worker] = peer
        return peer

    def remove(self, peer: Peer) -> None:
        """It is gone."""
        self._by_name.pop(peer.name, None)
        self._by_worker.pop(peer.worker, None)

    # Signs of life ------------------------------------------------------------------------------------------

    def unreachable(self) -> list[Peer]:
        """Those whose connection has ended."""
        return [peer for peer in self if not self.say(peer.name, p.Alive())]

    def roll_call(self, now: float) -> list[tuple[Peer, str]]:
        """Give all a sign of life. Returns who is gone, and how that shows."""
        stopped = now - self._called > 3 * ROLL_CALL
        self._called = now
        self.next_call = now + ROLL_CALL
        gone: list[tuple[Peer, str]] = []
        for peer in self:
            if stopped:
                # This process was, for a while: what workers said meanwhile may not have been read yet.
                peer.heard = now
            if now - peer.heard > SILENCE:
                gone.append((peer, f"silent for {SILENCE:.0f} s"))
            elif not self.say(peer.name, p.Alive()):
                gone.append((peer, "its connection ended"))
        return gone

    # Sending: to any name, for who is refused is told so ----------------------------------------------------

    def say(self, name: bytes, message: p.Message, payload: bytes | None = None) -> bool:
        """Send on the control connection; whether it is there."""
        frames = [p.encode(message)] if payload is None else [p.encode(message), payload]
        return self._send(name + b"/control", frames)

    def send(self, name: bytes, message: p.Message, chunk: Buffer) -> bool:
        """Send on the bulk connection; whether it is there. The chunk is not copied: it must never change."""
        return self._send(name + b"/bulk", [p.encode(message)], chunk)

    def _send(self, connection: bytes, frames: list[bytes], chunk: Buffer | None = None) -> bool:
        try:
            self._socket.send_multipart([connection, *frames], 0 if chunk is None else zmq.SNDMORE)
            if chunk is not None:
                self._socket.send(chunk, copy=False)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True


def objection(hello: p.Hello, run: str, entries: list[p.Entry]) -> str:
    """Why who says this cannot take part in the run with a model of these ``entries``; empty if it can."""
    if hello.protocol != p.PROTOCOL:
        return f"the server speaks protocol {p.PROTOCOL}, this worker {hello.protocol}: install the same evener"
    if hello.run != run:
        return f"this server runs {run}, not {hello.run}"
    if difference := p.mismatch(entries, hello.entries):
        return f"the model differs: {difference}. Every process must build the same model."
    return ""


def flaw(ready: p.Ready, version: int) -> str:
    """Why nobody can be ready like this, of whose run ``version`` is the newest; empty if one can."""
    if not 0 <= ready.version <= version:
        return f"it holds version {ready.version}, of {version} that there are"
    numbers = [ready.imports_s, ready.probe_s, *([] if ready.pace is None else [ready.pace])]
    if not all(math.isfinite(number) and number >= 0 for number in numbers) or ready.pace == 0:
        return "its pace is no positive number, or a time no number of seconds"
    return ""


def way(down: bool, up: bool) -> str:
    """How bulk travels, in words for the record; ``down`` and ``up`` say whether it goes through memory.

    >>> way(True, True), way(False, True)
    ('memory', 'tcp down, memory up')
    """
    words = [("tcp", "memory")[through] for through in (down, up)]
    return words[0] if down == up else f"{words[0]} down, {words[1]} up"
