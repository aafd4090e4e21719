"""One measurement: a system on a cluster, for some seconds."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from evener.observe import summarise
from evener.trace import RecordError

from . import peers, progress
from .cluster import SERVER
from .clusters import Happening
from .places import environment, last_words, name_of, part_of
from .runners.job import Job
from .systems import System
from .throttled import Hosts

POLL = 0.02
GLANCE = 0.2
"""Seconds between two looks at what has been told: reading it costs CPU time that the measured lack."""

START_PATIENCE = 150.0
"""Seconds until all hosts must have got something done."""

POINTS = 4
"""Times that each host must have told of progress while it was measured. Some systems count samples in large lumps."""

LONGEST = 4.0
"""So many times longer than planned is measured, at most, for there to be as many."""

OVERTIME = 10.0
"""Seconds, at most, to wait for every host's next word after the end: what it computes then began before."""


class FailedError(Exception):
    """The system did not get going. The message is the reason, with what it printed last."""


@dataclass(frozen=True, slots=True)
class Window:
    """What is measured of the time: after ``warm`` seconds, ``seconds`` of them."""

    warm: float
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What a measurement found.

    Attributes:
        samples_per_second: that counted, over all hosts.
        by_host: the same, each.
        host_cpu: cores that each host used; empty where a host died, and its CPU time with it.
        server_cpu: cores that the server's host used.
        seconds: that were measured.
        rates: samples/s by host and size of micro-batch, where these were measured.
        started_after: seconds from the start of the processes until all had got something done.
        ended_early: why processes ended while being measured; empty: none did.
        stale_fraction: of evener's samples, those with staleness of at least 1.
        counted_once: of evener's samples: whether each counted exactly once, all of them, in batches as large as asked.
        problems: what is not so, in words.
        sat_out: evener's workers that sat out at some time.
        record_s: by the clock of evener's record, when measuring began.
    """

    samples_per_second: float
    by_host: list[float]
    host_cpu: list[float]
    server_cpu: float
    seconds: float
    started_after: float
    rates: dict[int, dict[int, float]] = field(default_factory=dict)
    ended_early: str = ""
    stale_fraction: float | None = None
    counted_once: bool | None = None
    problems: str = ""
    sat_out: tuple[int, ...] = ()
    record_s: float = 0.0


class Measurement:
    """A system on a cluster.

    Args:
        cluster: open, and quiet.
        system: what to run.
        job: of the first host; those of the others differ by the obvious.
        sizes: of micro-batch, by host (the limit only).
    """

    def __init__(self, cluster: Hosts, system: System, job: Job, sizes: Sequence[tuple[int, ...]] = ()) -> None:
        self.cluster = cluster
        self.system = system
        self.job = job
        self.sizes = list(sizes) or [()] * job.hosts
        self.folder = Path(job.folder)
        kind = progress.Record if system.runner == "evener" else progress.Files
        self.progress = kind(self.folder, job.hosts)
        self._processes: dict[int, list[Popen[bytes]]] = {}  # by host
        self._warming: set[int] = set()
        self._killed: set[int] = set()
        self._hosts = range(job.hosts)

    def run(self, window: Window) -> Outcome:
        """Start it, measure it, end it.

        Raises:
            FailedError: it did not get going.
        """
        began = time.monotonic()
        try:
            for host in [SERVER, *self._hosts] if self.system.server else self._hosts:
                self._start(host)
            self._get_going()
            started = time.monotonic() - began
            outcome = self._measure(window)
            outcome.started_after = started
            return outcome
        finally:
            self.cluster.quiet()
            for process in self._all():
                process.wait()

    # Starting -----------------------------------------------------------------------------------------------

    def _start(self, host: int) -> None:
        module = f"benchmarks.runners.{self.system.runner}"
        command = [str(peers.python(self.system.environment)), "-m", module]
        self._processes[host] = []
        for member in range(self.job.processes[host] if self.job.processes and host != SERVER else 1):
            job = part_of(self.job, self.cluster, host, self.sizes[host] if host >= 0 else (), member)
            self._processes[host].append(self.cluster.start(host, command, environment(job), self._log(host)))
        if not self.system.enters:
            self._warming.add(host)

    def _get_going(self) -> None:
        until = time.monotonic() + START_PATIENCE
        together = True  # all of them start at one moment
        while not self.progress.started():
            together = self._let_in(together)
            if dead := self._dead():
                raise FailedError(dead)
            if time.monotonic() > until:
                raise FailedError(
                    f"not every host got something done within {START_PATIENCE:.0f} s{last_words(self._log(0))}"
                )
            time.sleep(POLL)

    def _let_in(self, together: bool = False) -> bool:
        """Slow down who is warm, and let them go; returns whether some of those who start together are not."""
        ready = {host for host in self._warming if (self.folder / f"ready-{host}").exists()}
        if together and ready != self._warming:
            return True
        for host in ready:
            if host != SERVER:
                self.cluster.enter(host)
        for host in ready:
            (self.folder / f"go-{host}").touch()
        self._warming -= ready
        return False

    # Measuring ----------------------------------------------------------------------------------------------

    def _measure(self, window: Window) -> Outcome:
        start = time.monotonic() + window.warm
        stop = start + window.seconds
        self._wait(start, [], window)
        cpu = self._cpu()
        self._wait(stop, list(self.cluster.cluster.happenings), window, start)
        if not self.cluster.cluster.changes:
            stop = self._until_enough(start, window)
        seconds = stop - start
        spent = {host: max(0.0, after - cpu[host]) / seconds for host, after in self._cpu().items()}
        ended = self._dead()
        last = time.monotonic() + OVERTIME
        while time.monotonic() < last and not ended and not self._points(stop, 1):
            time.sleep(GLANCE)
        self.cluster.quiet()
        rates = [curve.between(start, stop) / seconds for curve in self.progress.curves()]
        outcome = Outcome(
            samples_per_second=sum(rates),
            by_host=rates,
            host_cpu=[] if self._killed else [spent[host] for host in self._hosts],
            server_cpu=spent[SERVER],
            seconds=seconds,
            started_after=0.0,
            rates=self._rates(),
            ended_early=ended,
            record_s=start - self.progress.opened,
        )
        if self.system.runner == "evener":
            account(outcome, self.folder, self.job.batch)
        return outcome

    def _wait(self, until: float, happenings: list[Happening], window: Window, start: float = 0.0) -> None:
        """Wait, while what shall happen happens."""
        while (now := time.monotonic()) < until:
            while happenings and now >= start + happenings[0].at * window.seconds:
                self._happen(happenings.pop(0))
            self._let_in()
            due = start + happenings[0].at * window.seconds if happenings else until
            time.sleep(max(0.0, min(due, until, now + GLANCE) - time.monotonic()))

    def _until_enough(self, start: float, window: Window) -> float:
        """Go on until every host has told often enough; returns the end of what is measured."""
        until = start + LONGEST * window.seconds
        while time.monotonic() < until and not self._points(start, POINTS) and not self._dead():
            time.sleep(GLANCE)
        return time.monotonic()

    def _points(self, since: float, count: int) -> bool:
        return self.progress.points(since, set(self._hosts) - self._killed) >= count

    def _happen(self, happening: Happening) -> None:
        host = happening.host
        match happening.what:
            case "speed":
                self.cluster.set_share(host, happening.share)
            case "stall":
                self.cluster.stall(host)
            case "resume":
                self.cluster.resume(host)
            case "kill":
                self._killed.add(host)
                self.cluster.kill(host)
                for process in self._processes[host]:
                    process.wait()
            case "start":
                if sizes := self._rates().get(host):  # a host that measured all sizes does not do so again
                    self.sizes[host] = (max(sizes, key=lambda size: sizes[size]),)
                for name in ("ready", "go"):
                    (self.folder / f"{name}-{host}").unlink(missing_ok=True)
                self._start(host)

    def _cpu(self) -> dict[int, float]:
        return {host: self.cluster.cpu_seconds(host) for host in (SERVER, *self._hosts)}

    # Afterwards ---------------------------------------------------------------------------------------------

    def _rates(self) -> dict[int, dict[int, float]]:
        return {
            host: {int(size): rate for size, rate in json.loads(path.read_text()).items()}
            for host in self._hosts
            if (path := self.folder / f"rates-{host}.json").exists()
        }

    def _log(self, host: int) -> Path:
        return self.folder / f"log-{host}"

    def _dead(self) -> str:
        """What processes that should not have ended said last; empty: there are none."""
        for host, processes in self._processes.items():
            for process in processes:
                if host not in self._killed and process.poll() is not None:
                    return f"{name_of(host)} ended with exit code {process.returncode}{last_words(self._log(host))}"
        return ""

    def _all(self) -> list[Popen[bytes]]:
        return [process for processes in self._processes.values() for process in processes]


def account(outcome: Outcome, folder: Path, batch: int) -> None:
    """Hold an evener run's record against what was asked for, and note what does not fit.

    Args:
        outcome: takes what is found.
        folder: where the record is.
        batch: samples of a step.
    """
    try:
        summary = summarise(folder)
    except RecordError as error:
        outcome.counted_once, outcome.problems = False, f"there is no record to check: {error}"
        return
    problems = list(summary.problems[:3])
    if summary.batch != batch:
        problems.append(f"the batch was {summary.batch} and not {batch}")
    ends = ("declined", "refused", "dropped")
    lost = {end: count for end in ends if (count := getattr(summary, f"{end}_samples"))}
    problems += [f"{count} samples were {end}" for end, count in lost.items()]
    outcome.stale_fraction = summary.stale_fraction
    outcome.counted_once = not problems
    outcome.problems = "; ".join(problems)
    outcome.sat_out = tuple(worker.worker for worker in summary.workers if worker.sat_out is not None)
