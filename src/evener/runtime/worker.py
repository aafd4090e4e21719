"""A worker's link to the server: one I/O thread that talks, and a main thread that computes meanwhile.

The worker's machine (:class:`~evener.core.worker.WorkerCore`) is driven by both threads under one lock. What it
wants said goes to the I/O thread; what it wants done with tensors (install, compute, push) goes to the main thread,
which asks for it between two micro-batches.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass

import zmq

from ..core import commands as c
from ..core import events as e
from ..core.ranges import Range
from ..core.worker import WorkerCore
from . import protocol as p
from .numeric import Buffer
from .transport import Dialer, process_name

SILENCE = 20.0
"""Seconds without a word from the server after which it counts as gone."""

PATIENCE = 120.0
"""Seconds to wait for the server to be up: its script may load a large data set first."""

BEAT = 1.0
"""Seconds between two signs of life."""


class RunError(RuntimeError):
    """This worker cannot take part (any more); the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Install:
    """Copy ``data`` over the model's parameters; they are ``version``."""

    version: int
    data: bytearray


@dataclass(frozen=True, slots=True)
class Compute:
    """Compute the gradient of the samples ``indices`` (int64 bytes), at the positions ``ranges`` of ``epoch``.

    ``generation`` is that of the membership (:attr:`Link.generation`) in which the ticket was granted. ``early`` is by
    how many steps the parameters installed are older than those that the gradient will change.
    """

    ticket: int
    epoch: int
    ranges: tuple[Range, ...]
    indices: bytes
    generation: int
    early: int = 0


@dataclass(frozen=True, slots=True)
class Push:
    """Hand over what was summed up for ``tickets``."""

    tickets: tuple[int, ...]
    versions: tuple[int, ...]


Work = Install | Compute | Push


class Link:
    """The connection of one worker process.

    Args:
        address, token, run: of the server and the run.
        index: this worker's number in the launch.
        entries: what the model looks like.
        parameter_bytes: size of one set of parameters.
        device: for the record.
    """

    def __init__(
        self, address: str, token: str, run: str, index: int, entries: list[p.Entry], parameter_bytes: int, device: str
    ) -> None:
        self.address = address
        self.finished: p.Finished | None = None
        self.welcome: p.Welcome | None = None
        self.constants: bytearray | None = None
        self.generation = 0
        self._hello = p.Hello(p.PROTOCOL, run, index, entries, socket.gethostname(), os.getpid(), device)
        self._size = parameter_bytes
        self._dialer = Dialer(address, token, process_name())
        self._core: WorkerCore | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._work: deque[Work] = deque()
        self._outbox: deque[tuple[bool, list[bytes | Buffer]]] = deque()
        self._indices: dict[int, bytes] = {}
        self._free: list[bytearray] = []
        self._incoming: tuple[int, bytearray] | None = None
        self._at_hand: tuple[int, bytearray] | None = None
        self._ready: p.Ready | None = None
        self._pushes = 0
        self._unsent = 0
        self._fetched = 0
        self._error: BaseException | None = None
        self._closing = False
        self._heard = self._beaten = self._awake = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="evener-io", daemon=True)

    # For the main thread ------------------------------------------------------------------------------------

    def open(self) -> tuple[p.Welcome, bytearray, Install]:
        """Join: returns the server's terms, the untrained state, and the first parameters.

        Raises:
            RunError: refused, or nobody answers.
        """
        self._thread.start()
        self._say(False, self._hello)
        with self._changed:
            self._wait(lambda: self.welcome is not None)
            assert self.welcome is not None
            self.constants = bytearray(self.welcome.constants)
            self._say(True, p.Fetch())
            self._say(True, p.Pull(-1))
            self._wait(lambda: self._at_hand is not None and self._fetched >= len(self.constants or b""))
            assert self._at_hand is not None
            version, data = self._at_hand
            self._at_hand = None
        return self.welcome, self.constants, Install(version, data)

    def ready(
        self, version: int, pace: float | None, lookahead: int, imports_s: float = 0.0, probe_s: float = 0.0
    ) -> None:
        """Warmed up: from now on tickets come. See :class:`~evener.runtime.protocol.Ready`."""
        assert self.welcome is not None
        with self._lock:
            self._core = WorkerCore(self.welcome.worker, version)
            self._ready = p.Ready(version, pace, lookahead, imports_s, probe_s)
        self._say(False, self._ready)

    def work(self) -> Work | None:
        """The next thing to do; ``None`` when the run is over. Blocks until there is one.

        Raises:
            RunError: the server is gone, or refused this worker.
        """
        with self._changed:
            self._wait(lambda: bool(self._work) or self.finished is not None)
            return self._work.popleft() if self._work else None

    def queued(self) -> list[Compute]:
        """Tickets granted and not started, in the order they are likely to run."""
        with self._lock:
            queue = self._core.queue if self._core else []
            return [Compute(t.ticket, t.epoch, t.ranges, self._indices[t.ticket], self.generation) for t in queue]

    def done(self, declined: bool, generation: int) -> bool:
        """The micro-batch under way is computed, or skipped. False: it was of a membership that is over."""
        with self._lock:
            if generation != self.generation or self._core is None or self._core.current is None:
                return False
            self._carry_out(self._core.handle(e.ComputeDone(declined), time.monotonic()))
            return True

    def push(
        self, work: Push, payload: Buffer, weight: float, present: bytes, metrics: dict[str, tuple[float, float]]
    ) -> None:
        """Send a contribution.

        ``payload`` is copied by the I/O thread, chunk by chunk: not to be touched before :meth:`sent`.
        """
        with self._lock:
            number = self._pushes
            self._pushes += 1
            self._unsent += 1
            for start, stop in p.chunks(len(payload)):
                message: p.Message = (
                    p.Push(number, work.tickets, work.versions, weight, present, metrics)
                    if start == 0
                    else p.Part(number, start)
                )
                self._outbox.append((True, [p.encode(message), payload[start:stop]]))
            self._outbox.append((True, []))
        self._dialer.wake.ring()

    def sent(self) -> bool:
        """Whether every payload handed to :meth:`push` was copied out."""
        with self._lock:
            return self._unsent == 0

    def wait_sent(self) -> None:
        """Block until :meth:`sent`."""
        with self._changed:
            self._wait(lambda: self._unsent == 0)

    def final(self) -> Install | None:
        """After the end: the final parameters, if newer than those installed last."""
        with self._changed:
            assert self.finished is not None
            goal = self.finished.version
            pending = [work for work in self._work if isinstance(work, Install)]
            self._work.clear()
            if pending and pending[-1].version >= goal:
                return pending[-1]
            have = self._core.installed if self._core else -1
            if self.welcome is None or have >= goal:
                return None
            coming = self._incoming is not None and self._incoming[0] >= goal
            if not coming and (self._at_hand is None or self._at_hand[0] < goal):
                self._outbox.append((True, [p.encode(p.Pull(goal - 1))]))
                self._dialer.wake.ring()
            self._wait(lambda: self._at_hand is not None and self._at_hand[0] >= goal)
            assert self._at_hand is not None
            version, data = self._at_hand
            self._at_hand = None
            return Install(version, data)

    def give_back(self, install: Install) -> None:
        """The parameters were copied: their buffer may be filled again."""
        with self._lock:
            self._free.append(install.data)

    def close(self, reason: str) -> None:
        """Say goodbye and end the I/O thread."""
        if self._closing:
            return
        times = os.times()
        if self._error is None:
            self._say(False, p.Leave(reason, times.user + times.system))
        self._closing = True
        self._dialer.wake.ring()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _wait(self, condition: object) -> None:
        assert callable(condition)
        while not condition():
            if self._error is not None:
                raise self._error
            # Bounded, so that Ctrl-C is heard on every platform.
            self._changed.wait(0.5)
        if self._error is not None:
            raise self._error

    # The machine's commands (lock held) ---------------------------------------------------------------------

    def _carry_out(self, commands: list[c.WorkerCommand]) -> None:
        for command in commands:
            match command:
                case c.Tell(event):
                    assert isinstance(event, p.Message)
                    self._outbox.append((False, [p.encode(event)]))
                case c.Pull(newer_than):
                    self._outbox.append((True, [p.encode(p.Pull(newer_than))]))
                case c.Install(version):
                    assert self._at_hand is not None and self._at_hand[0] == version
                    self._work.append(Install(*self._at_hand))
                    self._at_hand = None
                case c.Compute(ticket, epoch, ranges, version, step):
                    indices, early = self._indices.pop(ticket), max(0, step - version)
                    self._work.append(Compute(ticket, epoch, ranges, indices, self.generation, early))
                case c.Push(tickets, versions):
                    self._work.append(Push(tickets, versions))
        self._changed.notify_all()
        self._dialer.wake.ring()

    # The I/O thread -----------------------------------------------------------------------------------------

    def _say(self, bulk: bool, message: p.Message) -> None:
        self._outbox.append((bulk, [p.encode(message)]))
        self._dialer.wake.ring()

    def _run(self) -> None:
        try:
            self._loop()
        except BaseException as error:
            self._fail(error)
        finally:
            self._dialer.close()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _loop(self) -> None:
        dialer = self._dialer
        poller = zmq.Poller()
        for channel in (dialer.control, dialer.bulk, dialer.wake.socket, dialer.events):
            poller.register(channel, zmq.POLLIN)
        while True:
            ready = dict(poller.poll(int(BEAT * 1000)))
            if dialer.wake.socket in ready:
                dialer.wake.hear()
            if dialer.control in ready:
                self._heard = time.monotonic()
                while dialer.control.poll(0):
                    self._control(dialer.control.recv_multipart())
            if dialer.bulk in ready:
                self._heard = time.monotonic()
                # One frame a round: a control message that arrives meanwhile is heard before the rest.
                self._bulk(dialer.bulk.recv_multipart(copy=False))
            if dialer.events in ready and dialer.refused():
                raise RunError(
                    f"the server at {self.address} refused this run's token: is another run listening on that port?"
                )
            self._flush()
            self._beat()
            if self._closing and not self._outbox:
                return

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._awake > 3 * BEAT:
            # This process was stopped for a while: what came meanwhile may not have been read yet.
            self._heard = now
        self._awake = now
        # After the end the server says that it is there every second, until it leaves.
        patience = PATIENCE if self.welcome is None else SILENCE if self.finished is None else 5 * BEAT
        if now - self._heard > patience:
            where = "answers" if self.welcome is None else "speaks any more"
            raise RunError(f"nobody at {self.address} {where}: is the server's process alive?")
        if now - self._beaten > BEAT:
            self._beaten = now
            times = os.times()
            self._dialer.control.send(p.encode(p.Alive(times.user + times.system)))

    def _flush(self) -> None:
        while self._outbox:
            bulk, frames = self._outbox.popleft()
            if not frames:
                with self._changed:
                    self._unsent -= 1
                    self._changed.notify_all()
                continue
            (self._dialer.bulk if bulk else self._dialer.control).send_multipart(frames)

    def _control(self, frames: list[bytes]) -> None:
        message = p.decode(frames[0])
        with self._changed:
            match message:
                case p.Welcome():
                    self.welcome = message
                    if self._ready is not None:  # welcomed again: take part from the parameters at hand
                        self._rejoin(message)
                case p.Refusal(why):
                    raise RunError(why)
                case e.Granted(ticket=ticket):
                    self._indices[ticket] = frames[1]
                    self._drive(message)
                case e.Revoked(ticket):
                    self._drive(message)
                    if self._core and all(t.ticket != ticket for t in self._core.queue):
                        self._indices.pop(ticket, None)
                case p.Rejoin():
                    if self.welcome is not None:
                        self.welcome = None
                        self._outbox.append((False, [p.encode(self._hello)]))
                case p.Finished():
                    self.finished = message
                    # What was handed out no longer counts; parameters that were to be installed still are.
                    self._work = deque(work for work in self._work if isinstance(work, Install))
                    if self._core is not None:
                        self._core.queue.clear()
                case p.Alive():
                    pass
                case _:
                    raise p.ProtocolError(f"{type(message).__name__} is not for a server to say")
            self._changed.notify_all()

    def _rejoin(self, welcome: p.Welcome) -> None:
        """A new membership: what was under way in the old one no longer counts."""
        old = self._core
        assert self._ready is not None and old is not None
        self.generation += 1
        # Parameters that were to be installed still are: the machine counts on them.
        self._work = deque(work for work in self._work if isinstance(work, Install))
        self._indices.clear()
        version = old.installed
        self._at_hand = None
        self._core = WorkerCore(welcome.worker, version)
        self._outbox.append((False, [p.encode(p.Ready(version, self._ready.pace, self._ready.lookahead))]))

    def _drive(self, event: e.WorkerEvent) -> None:
        if self._core is not None:
            self._carry_out(self._core.handle(event, time.monotonic()))

    def _bulk(self, frames: list[zmq.Frame]) -> None:
        message = p.decode(frames[0].buffer)
        data = frames[1].buffer
        with self._changed:
            match message:
                case p.Constants(offset):
                    assert self.constants is not None
                    self.constants[offset : offset + len(data)] = data
                    self._fetched = offset + len(data)
                case p.Version(version, offset):
                    if self._incoming is None or self._incoming[0] != version:
                        self._incoming = version, self._free.pop() if self._free else bytearray(self._size)
                    buffer = self._incoming[1]
                    buffer[offset : offset + len(data)] = data
                    if offset + len(data) >= self._size:
                        self._complete(version, buffer)
                case _:
                    raise p.ProtocolError(f"{type(message).__name__} is not for a server to send")
            self._changed.notify_all()

    def _complete(self, version: int, buffer: bytearray) -> None:
        self._incoming = None
        if self._at_hand is not None:
            self._free.append(self._at_hand[1])
        self._at_hand = version, buffer
        if self._core is not None:
            self._drive(e.VersionReady(version))
