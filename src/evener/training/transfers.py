"""What a push and a pull cost on this machine: the runtime's own sockets over loopback, tensors at both ends."""

from __future__ import annotations

import secrets
import statistics
import threading
import time
from collections.abc import Callable

import zmq

from ..runtime import protocol as p
from ..runtime.numeric import Buffer
from ..runtime.transport import Dialer, Listener, process_name
from ..simulation.profile import Transfers
from .master import Master
from .store import FlatStore

REPEATS = 3, 200
"""Pushes and pulls at least, and at most."""

PATIENCE = 60.0
"""Seconds to wait for any one answer."""


def measure_transfers(
    store: FlatStore,
    master: Master,
    contribution: tuple[p.Push, memoryview],
    seconds: float,
    between: Callable[[], object] = lambda: None,
) -> Transfers:
    """Push a contribution to ``master`` and pull its parameters into ``store``, for about ``seconds``.

    ``between`` comes before each: after a micro-batch, caches hold other things than after the last transfer.

    Worker and server are two threads of this process, so on a machine of one core they share it.

    Raises:
        TimeoutError: this machine does not reach itself.
    """
    listener = Listener("tcp://127.0.0.1:*", token := secrets.token_urlsafe(24))
    address = listener.socket.getsockopt_string(zmq.LAST_ENDPOINT)
    server = threading.Thread(target=_serve, args=(listener, master), name="evener-server", daemon=True)
    server.start()
    worker = _Worker(Dialer(address, token, process_name()), store, contribution)
    try:
        worker.message()  # not counted: it connects
        messages = [_timed(worker.message) for _ in range(20)]
        worker.push()
        worker.pull()
        pushes: list[float] = []
        pulls: list[float] = []
        began, cpu = time.perf_counter(), 0.0
        least, most = REPEATS
        while len(pulls) < least or (len(pulls) < most and time.perf_counter() - began < seconds):
            between()
            used = time.process_time()
            pushes.append(_timed(worker.push))
            cpu += time.process_time() - used
            between()
            used = time.process_time()
            pulls.append(_timed(worker.pull))
            cpu += time.process_time() - used
    finally:
        worker.leave()
        server.join(PATIENCE)
        if not server.is_alive():
            listener.close()
    message = statistics.median(messages) / 2
    return Transfers(
        push_bytes=len(contribution[1]),
        pull_bytes=store.parameter_bytes,
        # One way of each is a control message: the server's answer, the worker's request.
        push=max(0.0, _mean(pushes) - message),
        pull=max(0.0, _mean(pulls) - message),
        message=message,
        cpu=cpu / len(pulls),
    )


def _mean(values: list[float]) -> float:
    """Without the tenth part at either end: sums are to be predicted, but not by a single hold-up."""
    ordered = sorted(values)
    cut = len(ordered) // 10
    return statistics.fmean(ordered[cut : len(ordered) - cut])


def _timed(action: Callable[[], None]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


class _Worker:
    """A worker's end."""

    def __init__(self, dialer: Dialer, store: FlatStore, contribution: tuple[p.Push, memoryview]) -> None:
        self._dialer = dialer
        self._store = store
        self._head, self._payload = contribution
        self._buffer = bytearray(store.parameter_bytes)

    def message(self) -> None:
        """To the server and back."""
        self._dialer.control.send(p.encode(p.Alive()))
        _receive(self._dialer.control)

    def push(self) -> None:
        """Until the server has it."""
        for start, stop in p.chunks(len(self._payload)):
            message = self._head if start == 0 else p.Part(self._head.push, start)
            self._dialer.bulk.send_multipart([p.encode(message), self._payload[start:stop]])
        _receive(self._dialer.bulk)

    def pull(self) -> None:
        """Until it is installed."""
        self._dialer.bulk.send(p.encode(p.Pull(-1)))
        got = 0
        while got < len(self._buffer):
            head, data = _receive(self._dialer.bulk)
            message = p.decode(head.buffer)
            assert isinstance(message, p.Version)
            got = message.offset + len(data.buffer)
            self._buffer[message.offset : got] = data.buffer
        self._store.install(self._buffer)

    def leave(self) -> None:
        """The server's thread ends."""
        self._dialer.control.send(p.encode(p.Leave("measured")))
        self._dialer.close()


def _receive(socket: zmq.Socket[bytes]) -> list[zmq.Frame]:
    if not socket.poll(int(PATIENCE * 1000)):
        raise TimeoutError(f"no answer over the loopback address for {PATIENCE:.0f} s")
    return socket.recv_multipart(copy=False)


def _serve(listener: Listener, master: Master) -> None:
    """A server's end: answers what is asked, until the worker leaves."""
    socket = listener.socket
    head: p.Push | None = None
    buffer = memoryview(bytearray(master.push_bytes))
    while True:
        name, body, *bulk = socket.recv_multipart(copy=False)
        match p.decode(body.buffer):
            case p.Alive():
                socket.send_multipart([name, p.encode(p.Alive())])
            case p.Pull():
                data = master.published
                for start, stop in p.chunks(len(data)):
                    socket.send_multipart([name, p.encode(p.Version(0, start))], zmq.SNDMORE)
                    socket.send(data[start:stop], copy=False)
            case p.Push() as message:
                head = message
                if _part(buffer, 0, bulk[0].buffer):
                    _added(master, head, buffer, socket, name)
            case p.Part(_, offset) if head is not None:
                if _part(buffer, offset, bulk[0].buffer):
                    _added(master, head, buffer, socket, name)
            case _:
                return


def _part(buffer: Buffer, offset: int, data: Buffer) -> bool:
    """Whether it was the last."""
    buffer[offset : offset + len(data)] = data
    return offset + len(data) >= len(buffer)


def _added(master: Master, head: p.Push, payload: Buffer, socket: zmq.Socket[bytes], name: zmq.Frame) -> None:
    master.verdict(head, payload)
    master.accumulate(0, head, payload, 1e-3)  # small: hundreds of them are to stay finite
    socket.send_multipart([name, p.encode(p.Alive())])
