"""One measurement: a server, its clients, and a look at both before and after some seconds."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.children import dies_with_us
from evener.core.commands import Accumulate, Discard
from evener.core.commands import Step as Stepped
from evener.launch.options import free_port
from evener.trace import Line, check, read
from evener.trace.schema import EventLine

from . import clients, servers
from .cells import Cell
from .results import Result

SECONDS = 3.0
"""Measured, each time; longer where a step takes longer."""

WARM = 1.0
"""Seconds after the first step."""

STEPS = 2
"""Done before it is measured, and while it is, at least."""

PATIENCE = 90.0
"""Seconds until there are as many steps, at most."""

PER_PROCESS = 16
"""Clients that one process plays."""

POLL = 0.02

_fork = multiprocessing.get_context("fork")


class FailedError(Exception):
    """It did not get going, or ended early."""


class Note(NamedTuple):
    """What the server noted after a step; see :func:`benchmarks.server.servers.build`."""

    step: int
    moment: float
    cpu_s: float

    @classmethod
    def last(cls, path: Path) -> Note:
        """The newest."""
        # The last line may not be written whole.
        text = path.read_text().rpartition("\n")[0] if path.exists() else ""
        step, moment, cpu = (text.rpartition("\n")[2] or "0 0 0").split()
        return cls(int(step), float(moment), float(cpu))


class Threads(NamedTuple):
    """Of a process, by id: the time on a core and that spent waiting for one, in seconds; and when it was looked."""

    moment: float
    times: dict[int, tuple[float, float]]

    @classmethod
    def of(cls, pid: int, proc: Path = Path("/proc")) -> Threads:
        """Now."""
        times = {}
        for folder in (proc / str(pid) / "task").iterdir():
            ran, waited, _ = (folder / "schedstat").read_text().split()
            times[int(folder.name)] = int(ran) / 1e9, int(waited) / 1e9
        return cls(time.monotonic(), times)

    def busiest(self, before: Threads) -> tuple[float, float]:
        """Of the thread that ran most since then: the part of the time that it ran, and that it wanted to.

        >>> Threads(12.0, {1: (5.0, 1.0), 2: (3.5, 0.0)}).busiest(Threads(10.0, {1: (4.0, 0.5), 2: (3.0, 0.0)}))
        (0.5, 0.75)
        """
        nothing = (0.0, 0.0)
        grown = [
            (ran - before.times.get(thread, nothing)[0], waited - before.times.get(thread, nothing)[1])
            for thread, (ran, waited) in self.times.items()
        ]
        ran, waited = max(grown)
        seconds = self.moment - before.moment
        return ran / seconds, (ran + waited) / seconds

    def cores(self, before: Threads) -> float:
        """Used by all of them since then."""
        ran = sum(ran for ran, _ in self.times.values()) - sum(ran for ran, _ in before.times.values())
        return ran / (self.moment - before.moment)


def measure(cell: Cell, system: str, repetition: int, seconds: float = SECONDS) -> Result:
    """Measure a system once."""
    blank = Result(cell.workers, cell.parameters, system, repetition)
    try:
        with tempfile.TemporaryDirectory(prefix="evener-bench-") as folder:
            with running(cell, system, Path(folder)) as (server, players):
                taken = _window(server, players, Path(folder) / "progress", seconds)
            counted = _counted(Path(folder), cell) if system == "evener" else None
    except FailedError as error:
        return blank._replace(failed=str(error))
    return blank._replace(**taken, problems=counted or "", counted_once=None if counted is None else not counted)


@contextmanager
def running(
    cell: Cell, system: str, folder: Path, serve: Callable[[str, Cell, Path], None] | None = None
) -> Iterator[tuple[ForkProcess, list[ForkProcess]]]:
    """The server (``serve``, by default the system's) and its clients; they are killed in the end."""
    # Forked: each would need seconds to import torch. Nothing has been computed in this process, so no thread is lost.
    address = f"tcp://127.0.0.1:{free_port()}"
    parts = range(0, cell.workers, PER_PROCESS)
    server = _start(serve or servers.SERVERS[system], address, cell, folder)
    players = [
        _start(clients.serve, system, address, cell, range(first, min(first + PER_PROCESS, cell.workers)))
        for first in parts
    ]
    try:
        yield server, players
    finally:
        for process in (server, *players):
            process.kill()
            process.join()


def _start(target: Callable[..., None], *parts: Any) -> ForkProcess:
    process = _fork.Process(target=_child, args=(dies_with_us(signal.SIGKILL), target, parts), daemon=True)
    process.start()
    return process


def _child(first: Callable[[], None], target: Callable[..., None], parts: tuple[Any, ...]) -> None:
    first()
    target(*parts)


def _window(server: ForkProcess, players: list[ForkProcess], progress: Path, seconds: float) -> dict[str, Any]:
    """What is found between two steps that are so far apart, at least."""

    def after(steps: int, moment: float) -> Note:
        until = time.monotonic() + PATIENCE
        while (note := Note.last(progress)).step < steps or note.moment < moment:
            for process, name in ((server, "the server"), *((player, "a client") for player in players)):
                if process.exitcode is not None:
                    raise FailedError(f"{name} ended with code {process.exitcode}")
            if time.monotonic() > until:
                raise FailedError(f"{note.step} steps in {PATIENCE:.0f} s")
            time.sleep(POLL)
        return note

    def look() -> list[Threads]:
        return [Threads.of(process.pid) for process in (server, *players) if process.pid is not None]

    first = after(STEPS, after(1, 0.0).moment + WARM)
    before = look()
    last = after(first.step + STEPS, first.moment + seconds)
    own, *others = zip(look(), before, strict=True)
    busy, wanted = own[0].busiest(own[1])
    return {
        "steps": last.step - first.step,
        "seconds": round(last.moment - first.moment, 4),
        "cpu_s": round(last.cpu_s - first.cpu_s, 4),
        "busiest_thread": round(busy, 4),
        "busiest_thread_wanted": round(wanted, 4),
        "clients_cores": round(sum(now.cores(then) for now, then in others), 4),
    }


def _counted(folder: Path, cell: Cell) -> str:
    """What the accounting finds wrong in the run's record; empty: nothing."""
    lines = list(read(folder))
    accounting = check(lines)
    wrong = list(accounting.problems[:1])
    if lost := sum(accounting.total(end) for end in ("declined", "refused", "dropped")) + accounting.discarded:
        wrong.append(f"{lost} samples were declined, refused, dropped or discarded")
    if odd := uneven(lines, cell.workers):
        wrong.append(odd)
    return "; ".join(wrong)


def uneven(lines: list[Line], workers: int) -> str:
    """Which step, if any, had not exactly one contribution from each worker, in words."""
    added: list[int] = []
    for command in (command for line in lines if isinstance(line, EventLine) for command in line.commands):
        match command:
            case Accumulate(worker=worker):
                added.append(worker)
            case Stepped(step=step):
                if sorted(added) != list(range(workers)):
                    return f"step {step} has contributions from workers {added}, of {workers}"
                added.clear()
            case Discard(worker=worker, why=why):
                return f"a contribution of worker {worker} did not count: {why}"
    return ""
