"""Scripted faults on real processes: signals, and ways to the server that can be cut.

The launcher follows the record, which the server then writes line by line, and strikes when a fault is due; so it comes
some milliseconds after what it waits for. A worker is slowed by stopping it for a part of each tenth of a second, which
needs no rights and goes with emulated speeds; a GPU finishes meanwhile what it was given. A way to the server is cut by
holding what passes through a proxy of the launcher's (:class:`~evener.launch._proxy.Proxy`).
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ..simulation.faults import CUT_OFF, DIES, HANGS, Fault
from ..simulation.moments import Moments
from ..trace import EventLine, Header, HeaderLine, NoteLine, RecordError, Tail, WorkerNote
from ._proxy import Proxy
from .crew import Child, send

PERIOD = 0.1
"""Seconds in which a slowed worker is stopped once."""

WAIT = 0.005
"""Seconds from one look to the next while faults are to come, or under way."""


class Injector:
    """Carries out a script of faults. A context manager: at its end nobody is stopped or cut off.

    Args:
        faults: the script.
        record: of the run.
        clock: seconds; monotonic.
        note: told what happens, in words.
    """

    def __init__(
        self, faults: Sequence[Fault], record: Path, clock: Callable[[], float], note: Callable[[str], None]
    ) -> None:
        self._moments = Moments(faults)
        self._tail = Tail(record)
        self._clock = clock
        self._note = note
        self._began: float | None = None
        self._before = 0.0  # seconds from the beginning to that of this part of the record
        self._cut_workers = sorted({fault.worker for fault in faults if fault.what == CUT_OFF})
        self._proxies: dict[int, Proxy] = {}
        self._pids: dict[int, int] = {}
        self._until: dict[tuple[str, int], float] = {}
        self._slowed: dict[int, tuple[float, float]] = {}  # by worker: the factor, and since when
        self._stopped: dict[int, Child] = {}
        self._over = False

    def __enter__(self) -> Injector:
        return self

    def __exit__(self, *_: object) -> None:
        for fault in self._moments.left:
            self._note(f"never came to it: {fault}")
        self.release()
        for proxy in self._proxies.values():
            proxy.close()
        self._tail.close()

    def ways(self, address: str) -> dict[int, str]:
        """For workers whose way to the server at ``address`` is to be cut, the address to give them instead."""
        port = urlsplit(address).port
        assert port is not None
        self._proxies = {worker: Proxy(port) for worker in self._cut_workers}
        return {worker: proxy.address for worker, proxy in self._proxies.items()}

    @property
    def wait(self) -> float | None:
        """Seconds until the next :meth:`attend`, at most; ``None``: there is nothing left to do."""
        return WAIT if not self._over and (self._moments.left or self._until) else None

    def attend(self, children: Sequence[Child]) -> None:
        """Do what is due to the run's server and workers: ``children``, the latest process of each."""
        if self.wait is None:
            return
        now = self._clock()
        due: list[Fault] = []
        try:
            for line in self._tail.lines():
                match line:
                    case HeaderLine(header=header):
                        self._part_begins(header, now)
                    case EventLine(t, event, commands):
                        due += self._moments.heard(event, commands, self._before + t)
                    case NoteLine(t, WorkerNote(worker=worker, pid=pid)):
                        self._pids[worker] = pid
                        due += self._moments.greeted(worker, self._before + t)
                    case _:
                        pass
        except RecordError:
            self._over = True  # whoever reads it for the user says so
        if self._began is not None:
            due += self._moments.passed(now - self._began)
        for fault in due:
            self._strike(fault, children, now)
        self._go_on(now)

    def follow_on(self, children: Sequence[Child]) -> None:
        """The server is lost, and another one goes on: its part of the record will be where this one was."""
        self.attend(children)
        self._tail.close()
        self._tail = Tail(self._tail.path)

    def release(self) -> None:
        """Nobody is stopped, slowed or cut off any more, and nothing else happens."""
        self._over = True
        for child in self._stopped.values():
            _signal(child, signal.SIGCONT)
        for proxy in self._proxies.values():
            proxy.mend()
        self._stopped.clear()
        self._slowed.clear()
        self._until.clear()

    def _part_begins(self, header: Header, now: float) -> None:
        if self._began is None:
            self._began = now
        self._before = now - self._began
        if header.resumed is not None:
            version = header.resumed.standing.version
            for fault in self._moments.resumed(version):
                self._note(f"not done, as the run goes on from version {version}: {fault}")

    # What is done -------------------------------------------------------------------------------------------

    def _strike(self, fault: Fault, children: Sequence[Child], now: float) -> None:
        worker, child = fault.worker, self._child(fault, children)
        if child is None:
            self._note(f"not done, as {fault.who} is not running: {fault}")
            return
        self._note(f"as scripted: {fault}")
        until = now + (fault.seconds or 0.0)
        if fault.what == DIES:
            child.struck = True
            _signal(child, signal.SIGKILL)
            return
        if fault.what == HANGS:
            _signal(child, signal.SIGSTOP)
            self._stopped[worker] = child
        elif fault.what == CUT_OFF:
            self._proxies[worker].cut()
        else:
            self._slowed[worker] = fault.factor or 1.0, now
            self._stopped[worker] = child
        self._until[fault.what, worker] = max(until, self._until.get((fault.what, worker), 0.0))

    def _child(self, fault: Fault, children: Sequence[Child]) -> Child | None:
        """Whose process it is: the one that said hello last, where one has."""
        living = [child for child in children if child.code is None]
        named = next((child for child in living if child.process.pid == self._pids.get(fault.worker)), None)
        return named or next((child for child in living if child.name == fault.who), None)

    def _go_on(self, now: float) -> None:
        """End what has lasted long enough, and give who is slowed its part of the time."""
        for (what, worker), until in list(self._until.items()):
            if now < until:
                continue
            del self._until[what, worker]
            if what == CUT_OFF:
                self._proxies[worker].mend()
                continue
            if what != HANGS:
                self._slowed.pop(worker, None)
            if not (worker in self._slowed or (HANGS, worker) in self._until):
                _signal(self._stopped.pop(worker), signal.SIGCONT)
        for worker, (factor, since) in self._slowed.items():
            if (HANGS, worker) not in self._until:
                runs = (now - since) % PERIOD < factor * PERIOD
                _signal(self._stopped[worker], signal.SIGCONT if runs else signal.SIGSTOP)


def _signal(child: Child, signum: signal.Signals) -> None:
    if child.code is None and child.exited is None:
        send(child, signum)
