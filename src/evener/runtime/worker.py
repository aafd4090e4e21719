"""A worker's link to the server, as the thread that computes sees it.

The worker's machine (:class:`~evener.core.worker.WorkerCore`) is driven by both threads under one lock. What it wants
said goes to the I/O thread (:mod:`~evener.runtime.line`); what it wants done with tensors (install, compute, push) goes
to the main thread, which asks for it between two micro-batches.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable

from ..core import commands as c
from ..core import events as e
from ..core.worker import WorkerCore
from . import protocol as p
from .bulk.memory import fill
from .bulk.worker import WorkerBulk
from .keys import WorkerKeys
from .line import PATIENCE, Line, RunError
from .numeric import Buffer, Extent
from .versions import here
from .work import Compute, Install, Push, Work

__all__ = ["Link", "RunError"]


class Link:
    """What this worker is to do, and what has come of it.

    Args:
        address: of the server.
        secret: the run's token, or this worker's keys.
        run: the run's id; empty: whichever is there.
        index: this worker's number in the launch.
        entries: what the model looks like.
        parameter_bytes: size of one set of parameters.
        device: for the record.
        memory: share memory with the server, where that can be.
        data: what its data set must have in common with the server's.
        plain_outside: as the dialer's.
        extent: of what may be packed, if the server says so; ``None``: nothing may.
        wait, over, tell: as the line's.

    Attributes:
        generation: how often the server has given this worker up and taken it back.
    """

    def __init__(
        self,
        address: str,
        secret: str | WorkerKeys,
        run: str,
        index: int,
        entries: list[p.Entry],
        parameter_bytes: int,
        device: str,
        memory: bool = False,
        data: p.DataMark | None = None,
        plain_outside: bool = False,
        extent: Extent | None = None,
        wait: float = PATIENCE,
        over: Callable[[], str] = lambda: "",
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.generation = 0
        self._bulk = WorkerBulk(parameter_bytes, memory, extent)
        host, pid = socket.gethostname(), os.getpid()
        offer = self._bulk.offer
        hello = p.Hello(p.PROTOCOL, run, index, entries, host, pid, device, offer, here(), data)
        self._line = Line(
            address, secret, hello, self._hear, self._hear_bulk, self._lost_bulk, plain_outside, wait, over, tell
        )
        self._bulk.line = self._line
        self._changed = self._line.changed
        self._core: WorkerCore | None = None
        self._ready: p.Ready | None = None
        self._work: deque[Work] = deque()
        self._indices: dict[int, bytes] = {}
        self._unsent = 0
        self._life: int | None = None
        self._opened = False
        self._outdated = False  # what the main thread has is of a server that was lost
        self._anew: int | None = None  # the worker that begins once it has parameters

    # For the main thread: joining and leaving ---------------------------------------------------------------

    def open(self) -> tuple[p.Welcome, bytearray, Install]:
        """Join: returns the server's terms, the untrained state, and the first parameters.

        Raises:
            RunError: refused, or nobody answers.
        """
        bulk = self._bulk
        self._line.open()
        with self._changed:
            self._line.wait(lambda: self._line.welcome is not None)
            assert self._line.welcome is not None
            welcome = self._line.welcome
            while not self._opened or bulk.undecided(welcome.compress):
                bulk.discard()
                bulk.fetch(welcome.constants)
                bulk.pull(-1)
                self._line.wait(lambda: bulk.at_hand is not None and bulk.constants.whole)
                self._opened = True
            return welcome, bulk.constants.buffer, Install(*bulk.take())

    def ready(
        self,
        version: int,
        pace: float | None,
        lookahead: int,
        imports_s: float = 0.0,
        probe_s: float = 0.0,
        channels_last: bool = False,
    ) -> None:
        """Warmed up: from now on tickets come. See :class:`~evener.runtime.protocol.Ready`."""
        with self._changed:
            self._line.wait(lambda: self._line.welcome is not None)
            assert self._line.welcome is not None
            worker = self._line.welcome.worker
            how = self._bulk.reads, channels_last, self._bulk.packs, *self._bulk.choosing.choice[1:]
            self._ready = p.Ready(version, pace, lookahead, imports_s, probe_s, *how)
            if self._outdated:
                self._start_over(worker)
            else:
                self._core = WorkerCore(worker, version)
                self._line.say(self._ready)

    def final(self) -> Install | None:
        """After the end: the final parameters, if newer than those installed last."""
        bulk = self._bulk
        with self._changed:
            assert self._line.finished is not None
            goal = self._line.finished.version
            pending = [work for work in self._work if isinstance(work, Install)]
            self._work.clear()
            if pending and pending[-1].version >= goal and not bulk.follows:
                return pending[-1]
            have = self._core.installed if self._core else -1
            if have >= goal and not bulk.follows:
                return None
            self._line.wait(lambda: self._line.welcome is not None)
            if bulk.follows:
                bulk.pull(goal - 1, exact=True)
            elif not bulk.coming(goal):
                bulk.pull(goal - 1)
            self._line.wait(lambda: bulk.at_hand is not None and bulk.at_hand[0] >= goal and bulk.exact)
            return Install(*bulk.take())

    def close(self, reason: str) -> None:
        """Say goodbye and end the I/O thread."""
        self._line.close(reason)

    # For the main thread: work ------------------------------------------------------------------------------

    def work(self) -> Work | None:
        """The next thing to do; ``None`` when the run is over. Blocks until there is one.

        Raises:
            RunError: the server is gone, or refused this worker.
        """
        with self._changed:
            self._line.wait(lambda: bool(self._work) or self._line.finished is not None)
            return self._work.popleft() if self._work else None

    def queued(self) -> list[Compute]:
        """Tickets granted and not started, in the order they are likely to run."""
        with self._changed:
            queue = self._core.queue if self._core else []
            return [Compute(t.ticket, t.epoch, t.ranges, self._indices[t.ticket], self.generation) for t in queue]

    def counts(self, generation: int) -> bool:
        """Whether what was computed in that membership is still waited for."""
        return generation == self.generation

    def done(self, declined: bool, generation: int) -> bool:
        """The micro-batch under way is computed, or skipped. False: it was of a membership that is over."""
        with self._changed:
            if generation != self.generation or self._core is None or self._core.current is None:
                return False
            self._drive(e.ComputeDone(declined))
            return True

    def push(
        self, work: Push, payload: Buffer, weight: float, present: bytes, metrics: dict[str, tuple[float, float]]
    ) -> None:
        """Send a contribution.

        ``payload`` is copied by the I/O thread, chunk by chunk: not to be touched before :meth:`sent`. Where the
        server reads this process's memory it is copied there at once.
        """
        with self._changed:
            generation = self.generation
            room = self._bulk.room(len(payload))
        if room is not None:
            fill(room, payload)
        with self._changed:
            if self._line.welcome is None or generation != self.generation:
                return  # of a membership that is over: its tickets are others' now
            self._unsent += 1
            what = payload if room is None else room
            self._bulk.push(work.tickets, work.versions, weight, present, metrics, what, self._copied)

    def sent(self) -> bool:
        """Whether every payload handed to :meth:`push` was copied out."""
        with self._changed:
            return self._unsent == 0

    def wait_sent(self) -> None:
        """Block until :meth:`sent`."""
        with self._changed:
            self._line.wait(lambda: self._unsent == 0)

    def give_back(self, install: Install) -> None:
        """The parameters were copied: their buffer may be filled again."""
        with self._changed:
            self._bulk.give_back(install.data)

    # The machine, and what it hears (lock held) -------------------------------------------------------------

    def _drive(self, event: e.WorkerEvent) -> None:
        if self._core is None:
            return
        for command in self._core.handle(event, time.monotonic()):
            match command:
                case c.Tell(told):
                    assert isinstance(told, p.Message)
                    self._line.say(told)
                case c.Pull(newer_than):
                    self._bulk.pull(newer_than)
                case c.Install(version):
                    taken = Install(*self._bulk.take())
                    assert taken.version == version
                    self._work.append(taken)
                case c.Compute(ticket, epoch, ranges, version, step):
                    indices, early = self._indices.pop(ticket), max(0, step - version)
                    self._work.append(Compute(ticket, epoch, ranges, indices, self.generation, early))
                case c.Push(tickets, versions):
                    self._work.append(Push(tickets, versions))

    def _hear(self, message: p.Message, payload: Buffer) -> None:
        match message:
            case p.Welcome():
                self._bulk.welcomed(message)
                self._welcomed(message)
            case p.InMemory():
                self._hear_bulk(message, payload)
            case p.Taken(key):
                self._bulk.taken(key)
            case e.Granted(ticket=ticket):
                self._indices[ticket] = bytes(payload)
                self._drive(message)
            case e.Revoked(ticket):
                self._drive(message)
                if self._core and all(t.ticket != ticket for t in self._core.queue):
                    self._indices.pop(ticket, None)
            case e.Landed():
                self._drive(message)
            case p.Finished():
                # What was handed out no longer counts; parameters that were to be installed still are.
                self._keep_installs()
                if self._core is not None:
                    self._core.queue.clear()
            case _:
                raise p.ProtocolError(f"{type(message).__name__} is not for a server to say")

    def _hear_bulk(self, message: p.Message, chunk: Buffer) -> None:
        if self._bulk.hear(message, chunk):
            if isinstance(message, p.Version | p.Change | p.InMemory):
                if self._anew is not None and self._line.finished is None:
                    self._begin(self._anew)
                else:
                    self._drive(e.VersionReady(message.version))
            self._changed.notify_all()

    def _lost_bulk(self) -> None:
        if self._core is not None and self._line.finished is None:
            # A contribution may be lost, or half of it. Who joins anew gives its tickets back.
            self._line.greet_again()
        else:
            self._bulk.ask_again()

    def _copied(self) -> None:
        self._unsent -= 1

    def _welcomed(self, welcome: p.Welcome) -> None:
        """The server answers: the first time, once more, or another one that went on from a checkpoint."""
        other = self._life not in (None, welcome.life)
        self._life = welcome.life
        if self._line.finished is not None:
            self._bulk.ask_again()
        elif self._ready is not None and (other or self._anew is not None):
            self._start_over(welcome.worker)
        elif self._core is not None:
            self._rejoin(self._core.installed, welcome)  # from the parameters at hand
        else:
            self._outdated |= other and self._opened
            if other and not self._opened:
                self._bulk.start_over()
            self._bulk.ask_again()

    def _start_over(self, worker: int) -> None:
        """Nothing that is here counts: the server's newest parameters come first, and then tickets."""
        self.generation += 1
        self._work.clear()
        self._indices.clear()
        self._core, self._anew, self._outdated = None, worker, False
        self._bulk.start_over()

    def _begin(self, worker: int) -> None:
        """The parameters to start over with are here."""
        assert self._ready is not None
        taken = Install(*self._bulk.take())
        self._work.append(taken)
        self._core, self._anew = WorkerCore(worker, taken.version), None
        self._line.say(self._once_more(taken.version, self._ready))

    def _rejoin(self, version: int, welcome: p.Welcome) -> None:
        """A new membership: what was under way in the old one no longer counts."""
        assert self._ready is not None
        self.generation += 1
        # Parameters that were to be installed still are: the machine counts on them.
        self._keep_installs()
        self._indices.clear()
        self._bulk.discard()
        self._core = WorkerCore(welcome.worker, version)
        self._line.say(self._once_more(version, self._ready))

    def _once_more(self, version: int, first: p.Ready) -> p.Ready:
        bulk = self._bulk
        return p.Ready(version, first.pace, first.lookahead, reads=bulk.reads, packed=bulk.packs)

    def _keep_installs(self) -> None:
        self._work = deque(work for work in self._work if isinstance(work, Install))
