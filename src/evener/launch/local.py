"""Run a script as one server and some workers on this machine."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Iterable
from contextlib import nullcontext

from ..runtime import addresses, keeping
from ..runtime.keeping import CheckpointError
from ..trace import HeldError, record_path, set_aside
from . import folders, slowness
from ._opening import opened
from ._places import Plan
from ._signals import Signals
from .crew import ROUND, Child, Crew, Steps, send
from .ending import (
    CLOSE_SERVER,
    FAREWELL,
    LAST_WORD,
    NEVER_JOINED,
    STOP_NOW,
    STOP_WORKER,
    WORKERS_FAREWELL,
    RunResult,
    see_above,
    to_stop_a_server,
)
from .faults import Injector
from .options import RunOptions
from .restarts import Restarts
from .resuming import room_for_a_part, to_go_on
from .screen import Screen

TRIES = 3
"""How often a server that is killed is started again from one version."""


def run(options: RunOptions, screen: Screen | None = None) -> RunResult:
    """Run a script on this machine, and wait for its end.

    When this returns or raises, every process of the run has ended. Ctrl-C ends the run within three seconds; SIGTERM
    and SIGHUP leave the server the time to write a last checkpoint. SIGUSR1 asks for one while the run goes on.

    Args:
        options: what to run.
        screen: where output goes; by default as the processes print it.

    Raises:
        LaunchError: the run cannot be started; nothing was.
    """
    resumed = options.resume
    with opened(options, screen, resumed.place.run if resumed is not None else "") as run:
        plan = Plan.of(options, run.name, run.folder)
        record = record_path(plan.folder)
        with (
            room_for_a_part(run.folder) if resumed is not None else nullcontext(),
            slowness.emulate(options.speeds, run.name, quotas=not plan.devices) as emulation,
        ):
            if emulation.words:
                run.screen.note(emulation.words)
            with run.crew() as crew, Injector(options.faults, record, crew.clock, crew.screen.note) as injector:
                plan = dataclasses.replace(plan, through=injector.ways(plan.address))
                return _Run(plan, crew, run.signals, emulation, injector).go()


class _Run:
    """One run under way."""

    def __init__(
        self, plan: Plan, crew: Crew, signals: Signals, emulation: slowness.Emulation, injector: Injector
    ) -> None:
        self.plan = plan
        self.crew = crew
        self.signals = signals
        self.emulation = emulation
        self.injector = injector
        self.problems: list[str] = []
        self.code = 0
        self.record = record_path(plan.folder)
        self._server: Child | None = None
        self._workers: list[Child] = []  # by index: the latest of each
        self._restarts = Restarts(plan.options.restarts)
        self._stopping = False
        self._asked = 0
        self._deserted: float | None = None
        self._wanted = 0
        self._tries = 0
        self._gone_on_from = -1

    def go(self) -> RunResult:
        """Start everything, and attend to it until it has ended."""
        plan, crew = self.plan, self.crew
        self._start_server(resume=plan.options.resume is not None)
        for index in range(plan.options.workers):
            self._workers.append(self._start(index))
        while crew.alive:
            for child in crew.attend(self.injector.wait or ROUND):
                self._ended(child)
            self.injector.attend(self._all)
            self._heed_signals()
            self._heed_restarts()
            self._heed_desertion()
        crew.screen.tick()
        words = ["evener", "run", str(plan.options.script)]
        untouched = plan.options.resume is not None and not self._tries and not self.record.exists()
        note = to_go_on(plan.folder, words, plan.options.arguments, untouched=untouched)
        if note and (self.signals.received or self.code):
            crew.screen.note(note)
        code = self.signals.exit_code or self.code
        return RunResult(code, plan.run, plan.folder, tuple(self.problems), self.record.exists())

    def _start_server(self, resume: bool) -> None:
        place = self.plan.place("server", emulation=self.emulation, resume=resume)
        environment = self.plan.environment(place)
        self._server = self.crew.start("the server", self.plan.command, environment, if_orphaned=signal.SIGTERM)

    @property
    def _all(self) -> list[Child]:
        return self._workers if self._server is None else [self._server, *self._workers]

    def _start(self, index: int) -> Child:
        place = self.plan.place("worker", index, self.emulation)
        name = f"worker {index}"
        return self.crew.start(name, self.plan.command, self.plan.environment(place), f"[{name}] ")

    # Processes that end -------------------------------------------------------------------------------------

    def _ended(self, child: Child) -> None:
        if child is self._server:
            self._server_ended(child)
        elif child.asked:
            if not self._stopping:
                after = f"{WORKERS_FAREWELL:.0f} s after the end of the run"
                self.crew.screen.note(f"{child.name} was still busy {after}, and was ended.")
        elif child.code != 0:
            self._failed(child)

    def _failed(self, child: Child) -> None:
        """A worker ended with an error; that ends nobody else."""
        serving = not self._stopping and self._server is not None and self._server.code is None
        if serving and (pause := self._restarts.failed(self._workers.index(child), self.crew.clock())) is not None:
            self.crew.screen.note(f"{child.name} {child.how}; it is started again in {pause:g} s.")
            return
        others = any(worker.code is None for worker in self._workers)
        problem = f"{child.name} {child.how}" + ("; the others go on." if others else ".")
        if child.struck:  # as was asked for
            self.crew.screen.note(problem)
        else:
            self._fail(1, problem)

    def _server_ended(self, server: Child) -> None:
        if self._goes_on(server):
            return
        self.emulation.lift()
        self.injector.release()
        self._restarts.forget()
        living = [worker for worker in self._workers if worker.code is None]
        if self._stopping:
            self._end(living, STOP_NOW)
        elif server.code != 0:
            self._stopping = True
            self._fail(1, f"the server {server.how}, which ends the run." + see_above(server))
            self._end(living, STOP_NOW)
        elif not self.record.exists():
            self._stopping = True
            self._fail(2, NEVER_JOINED.format(script=self.plan.options.script))
            self._end(living, STOP_NOW)
        else:
            self._end(living, FAREWELL)

    def _goes_on(self, server: Child) -> bool:
        """A server that was killed is started again, from its newest checkpoint: its workers wait for it.

        Not for ever from the same version: whatever kills it there will do so again.
        """
        killed = server.code is not None and server.code < 0 and not server.asked and not self._stopping
        waited_for = self._restarts.waiting or any(worker.code is None for worker in self._workers)
        if not killed or not waited_for or folders.finished(self.record):
            return False
        try:
            head = keeping.newest(self.plan.folder).head
            version = head.standing.version
            self._tries = self._tries + 1 if version == self._gone_on_from else 1
            if self._tries > TRIES:
                return False
            self.injector.follow_on(self._all)
            set_aside(self.plan.folder)
        except (CheckpointError, HeldError, OSError):
            return False
        self._gone_on_from = version
        self.crew.screen.note(f"the server {server.how}; it goes on from checkpoint {head.number} (version {version}).")
        self._start_server(resume=True)
        return True

    def _end(self, children: Iterable[Child], steps: Steps) -> None:
        for child in children:
            self.crew.end(child, steps)

    def _fail(self, code: int, problem: str) -> None:
        self.code = self.code or code
        self.problems.append(problem)
        self.crew.screen.note(problem)

    # Reasons to stop ----------------------------------------------------------------------------------------

    def _heed_signals(self) -> None:
        if self.signals.wanted > self._wanted:
            self._wanted = self.signals.wanted
            if self._server is not None and self._server.code is None:
                send(self._server, signal.SIGUSR1)
        received = self.signals.received
        if len(received) == self._asked:
            return
        self._asked = len(received)
        if self._asked > 1:
            self.crew.kill()
            return
        self._stopping = True
        self.emulation.lift()
        self.injector.release()
        self._restarts.forget()
        self.crew.screen.note(f"stopping, as {received[0].name} asks. Once more ends everything at once.")
        # Without a record there is nothing to close.
        closing = self._server is not None and self._server.code is None and self.record.exists()
        stop_server = to_stop_a_server(self.plan.folder, received[0])
        for child in self.crew.alive:
            steps = stop_server if child is self._server else STOP_WORKER
            self.crew.end(child, steps if closing else STOP_NOW)

    def _heed_restarts(self) -> None:
        for index in self._restarts.due(self.crew.clock()):
            self._workers[index] = self._start(index)

    def _heed_desertion(self) -> None:
        """A server whose workers have all gone would wait for ever."""
        server = self._server
        if server is None or server.code is not None or self._stopping:
            return
        if any(worker.code is None for worker in self._workers) or self._restarts.waiting:
            self._deserted = None
            return
        if not self.record.exists() and all(worker.code == 0 for worker in self._workers):
            return  # a script that never joins: the server, too, will come to its end
        now = self.crew.clock()
        if self._deserted is None:
            self._deserted = now
        elif now - self._deserted >= LAST_WORD and not folders.finished(self.record) and self._waits:
            self._stopping = True
            self._fail(1, "all workers are gone before the end of the run: stopping the server.")
            self._end([server], CLOSE_SERVER)

    @property
    def _waits(self) -> bool:
        """Whether the server waits for workers: after the end it does not, though a disk may keep that from us."""
        return addresses.listens(self.plan.address)
