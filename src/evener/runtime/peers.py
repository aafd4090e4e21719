"""Who is connected to the server: by the name that a process's connections carry, and by its number as a worker."""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import zmq

from . import protocol as p
from .bulk.codec import NONE
from .numeric import Buffer
from .refusals import printable
from .versions import UNKNOWN, Versions, too_far

SILENCE = 15.0
"""Seconds after which a worker that says nothing counts as gone (its I/O thread speaks every second)."""

ROLL_CALL = 1.0
"""Seconds between two signs of life, and between two looks for workers that give none."""


ALLOWANCE, PER_TICKET = 50, 6
"""Reports that a worker may make from the beginning, and more for each ticket: it began, ended, was pushed ..."""


@dataclass(slots=True)
class Peer:
    """A worker's process.

    ``heard`` is when it last said something; ``user`` what its connections were let in as; ``near`` whether it is on
    this machine; ``joined`` whether it is ready for tickets; ``readable`` whether its memory can be read here;
    ``allowance`` how much it may still report.
    """

    name: bytes
    worker: int
    heard: float
    user: str = ""
    near: bool = False
    joined: bool = False
    readable: bool = False
    allowance: int = ALLOWANCE

    def spend(self) -> None:
        """It reports something, which is recorded.

        Raises:
            ProtocolError: more than its tickets, and the versions that there were, give reason for.
        """
        self.allowance -= 1
        if self.allowance < 0:
            raise p.ProtocolError("it reports more than there is to report")


class Peers:
    """Those who were welcomed, and the way to them. Times are the server's, in seconds.

    Args:
        socket: of the listener; a process ``name`` has the connections ``name/control`` and ``name/bulk`` to it.

    Attributes:
        next_call: when to give the next sign of life.
        awake_since: the end of the last time for which this process was stopped, as the roll call has seen.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.next_call = 0.0
        self.awake_since = -math.inf
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

    def of(self, user: str) -> int:
        """How many came with this key."""
        return sum(peer.user == user for peer in self._by_name.values())

    def add(self, name: bytes, index: int, now: float, user: str = "", near: bool = False) -> Peer:
        """Welcome a process: as the worker ``index`` that it asks to be, or another where there is one."""
        worker = index
        if worker < 0 or worker in self._by_worker:
            worker = max([-1, *self._by_worker]) + 1
        peer = Peer(name, worker, now, user, near)
        self._by_name[name] = self._by_worker[worker] = peer
        return peer

    def allow(self, reports: int) -> None:
        """There is something to report for all."""
        for peer in self._by_name.values():
            peer.allowance += reports

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
        if stopped:
            self.awake_since = now
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
            # Never waiting: who has stopped reading is not to stop all.
            self._socket.send_multipart([connection, *frames], zmq.DONTWAIT | (0 if chunk is None else zmq.SNDMORE))
            if chunk is not None:
                self._socket.send(chunk, zmq.DONTWAIT, copy=False)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True


def objection(
    hello: p.Hello, run: str, entries: list[p.Entry], versions: Versions = UNKNOWN, data: p.DataMark | None = None
) -> str:
    """Why who says this cannot take part in the run with a model of these ``entries``; empty if it can.

    It is read on both machines, so it says whose is what.

    ``versions`` are the server's; ``data`` is its data set, where that is compared.
    """
    if hello.protocol != p.PROTOCOL:
        return f"the server speaks protocol {p.PROTOCOL}, the worker {hello.protocol}: install the same evener"
    if hello.run and hello.run != run:
        return f"this server runs {run}, not {hello.run}"
    if why := too_far(versions, hello.versions):
        return why
    if data is not None and hello.data is not None and (why := _other_data(data, hello.data)):
        return why
    if difference := p.mismatch(entries, hello.entries):
        return f"the model differs: {difference}. Every process must build the same model."
    return ""


def _other_data(server: p.DataMark, worker: p.DataMark) -> str:
    host = socket.gethostname()
    remedy = (
        f"Copy the server's to the worker's machine, where the script looks for it (rsync -a {host}:DIR/ DIR/, or "
        "scp -r), or let the script fetch what is not there, as evener.data.har() does."
    )
    if server.samples != worker.samples:
        return f"the worker's data set has {worker.samples} samples, the server's {server.samples}. {remedy}"
    if server.digest and worker.digest.startswith("!"):
        return f"the worker cannot load its data set ({printable(worker.digest[1:])}). {remedy}"
    if server.digest and worker.digest and server.digest != worker.digest:
        return (
            f"the worker's data set has as many samples as the server's ({server.samples}), but others. {remedy} If "
            "the data are the same and only decoded otherwise, start the server with --compare-data length."
        )
    return ""


def way(down: bool, up: bool, compress: str = NONE) -> str:
    """How bulk travels, in words for the record; ``down`` and ``up`` say whether it goes through memory.

    >>> way(True, True), way(False, True), way(False, False, "int8")
    ('memory', 'tcp down, memory up', 'tcp int8')
    """
    tcp = "tcp" if compress == NONE else f"tcp {compress}"
    words = [(tcp, "memory")[through] for through in (down, up)]
    return words[0] if down == up else f"{words[0]} down, {words[1]} up"
