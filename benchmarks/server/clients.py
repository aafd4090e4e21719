"""Workers that compute nothing: they answer each version with the same gradient, at once. No torch in here.

One thread serves many of them, on sockets like those of real workers. What comes is counted and dropped, and what goes
out is one buffer that all share: so nearly all that the machine does is the server's.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable

import zmq

from evener.core import commands as c
from evener.core import events as e
from evener.core.worker import WorkerCore
from evener.runtime import protocol as p
from evener.runtime.bulk.chunks import cut
from evener.runtime.gate import USER
from evener.runtime.line import BEAT
from evener.runtime.transport import process_name

from .cells import LAYERS, Cell

TOKEN = "nobody else is here"
RUN = "the server's limit"
VALUE = 1e-6
"""Of every number of the gradient."""

OFFSET = struct.Struct("<q")
"""What a bare client and its server say before a chunk: where it begins."""


def entries(cell: Cell) -> list[p.Entry]:
    """What the model (:func:`benchmarks.server.servers.build`) looks like."""
    return [p.Entry(f"layers.{index}", (cell.shape,), "float32", "trained") for index in range(LAYERS)]


def gradient(cell: Cell) -> memoryview:
    """The bytes that every client pushes."""
    return memoryview(bytearray(struct.pack("<f", VALUE) * (cell.size // 4)))


class Replayer:
    """A worker of evener's, in all that the server sees of it: the same machine decides, the same messages go out.

    Args:
        context: of the process's sockets.
        address: of the server.
        cell: what is measured.
        index: of the worker.
        payload: what it pushes.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, cell: Cell, index: int,
                 payload: memoryview) -> None:  # fmt: skip
        name = process_name()
        self.control = _dial(context, address, f"{name}/control", TOKEN)
        self.bulk = _dial(context, address, f"{name}/bulk", TOKEN)
        self._size = cell.size
        self._payload = payload
        self._core: WorkerCore | None = None
        self._worker = index
        self._pushes = 0
        self._say(p.Hello(p.PROTOCOL, RUN, index, entries(cell), socket.gethostname(), os.getpid(), "cpu"))

    @property
    def sockets(self) -> dict[zmq.Socket[bytes], Callable[[list[zmq.Frame]], None]]:
        """What hears what comes on which."""
        return {self.control: self._on_control, self.bulk: self._on_bulk}

    def beat(self) -> None:
        """Give a sign of life."""
        self._say(p.Alive())

    def _on_control(self, frames: list[zmq.Frame]) -> None:
        match p.decode(frames[0].buffer):
            case p.Welcome(worker=worker):
                self._worker = worker
                self.bulk.send(p.encode(p.Pull(-1)))
            case e.Granted() | e.Revoked() | e.Landed() as message:
                self._drive(message)
            case p.Alive():
                pass
            case other:
                raise p.ProtocolError(f"a replaying worker does not expect {other}")

    def _on_bulk(self, frames: list[zmq.Frame]) -> None:
        message = p.decode(frames[0].buffer)
        assert isinstance(message, p.Version)
        if message.offset + len(frames[1].buffer) < self._size:
            return
        if self._core is None:
            self._core = WorkerCore(self._worker, message.version)
            self._say(p.Ready(message.version, None, 1))
        else:
            self._drive(e.VersionReady(message.version))

    def _drive(self, event: e.WorkerEvent) -> None:
        assert self._core is not None
        events = deque([event])
        while events:
            for command in self._core.handle(events.popleft(), time.monotonic()):
                match command:
                    case c.Tell(told):
                        assert isinstance(told, p.Message)
                        self._say(told)
                    case c.Pull(newer_than):
                        self.bulk.send(p.encode(p.Pull(newer_than)))
                    case c.Compute():
                        events.append(e.ComputeDone(False))
                    case c.Push(tickets, versions):
                        self._push(tickets, versions)

    def _push(self, tickets: tuple[int, ...], versions: tuple[int, ...]) -> None:
        # As if the script had logged its loss, as most do.
        weight = 2.0 * len(tickets)
        head = p.Push(self._pushes, tickets, versions, weight, b"", {"loss": (weight, weight)})
        for message, chunk in cut(self._payload, lambda offset: p.Part(head.push, offset) if offset else head):
            self.bulk.send_multipart([p.encode(message), chunk], copy=False)
        self._pushes += 1

    def _say(self, message: p.Message) -> None:
        self.control.send(p.encode(message))


class BareClient:
    """A client of the bare loop: sends its gradient whenever the last chunk of the weights is here."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str, cell: Cell, index: int,
                 payload: memoryview) -> None:  # fmt: skip
        self._socket = _dial(context, address, f"bare-{index}")
        self._size = cell.size
        self._payload = payload
        self._socket.send(b"")

    @property
    def sockets(self) -> dict[zmq.Socket[bytes], Callable[[list[zmq.Frame]], None]]:
        """What hears what comes on which."""
        return {self._socket: self._heard}

    def beat(self) -> None:
        """Nobody asks for signs of life."""

    def _heard(self, frames: list[zmq.Frame]) -> None:
        (offset,) = OFFSET.unpack(frames[0].buffer)
        if offset + len(frames[1].buffer) == self._size:
            for start, stop in p.chunks(self._size):
                self._socket.send_multipart([OFFSET.pack(start), self._payload[start:stop]], copy=False)


KINDS: dict[str, type[Replayer] | type[BareClient]] = {"evener": Replayer, "bare": BareClient}


def serve(system: str, address: str, cell: Cell, indices: range) -> None:
    """Be these workers until killed."""
    context = zmq.Context()
    payload = gradient(cell)
    workers = [KINDS[system](context, address, cell, index, payload) for index in indices]
    hears = {channel: hear for worker in workers for channel, hear in worker.sockets.items()}
    poller = zmq.Poller()
    for channel in hears:
        poller.register(channel, zmq.POLLIN)
    beaten = time.monotonic()
    while True:
        for channel, _ in poller.poll(int(BEAT * 1000)):
            hears[channel](channel.recv_multipart(copy=False))
        if (now := time.monotonic()) - beaten > BEAT:
            beaten = now
            for worker in workers:
                worker.beat()


def _dial(context: zmq.Context[zmq.Socket[bytes]], address: str, name: str, token: str = "") -> zmq.Socket[bytes]:
    """A connection with the options of a real worker's."""
    channel: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    channel.identity = name.encode()
    if token:
        channel.plain_username, channel.plain_password = USER.encode(), token.encode()
    channel.linger = 0
    channel.sndhwm = channel.rcvhwm = 0
    channel.connect(address)
    return channel
