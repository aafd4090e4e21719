"""The measurements: what a user would measure beforehand, and what was to be predicted."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path

import msgspec

from benchmarks.cluster import SERVER, EmulatedCluster
from benchmarks.measure import FailedError, Measurement, Window
from benchmarks.peers import python
from benchmarks.places import environment, last_words, name_of, part_of
from benchmarks.plan import WARM
from benchmarks.runners.job import Job
from benchmarks.systems import System
from evener.simulation.profile import Profile

from .plan import PROFILE_S, WORKLOAD, Case

PORTS = count(20_000, 100)
PATIENCE = 90.0
POLL = 0.02

SIZES = (16, 32, 64, 128)
"""Micro-batches that are profiled, beside the share of a batch that synchronous and asynchronous training give."""

SERVERS_S = 0.5
"""Seconds of the profile on the server's host: its computing matters to nobody."""


@dataclass(frozen=True, slots=True)
class Run:
    """A measured run; its record is in a folder of its own.

    Attributes:
        by_host: samples/s, each; a host that came back follows after the others.
        record_s: by the clock of the record, when measuring began.
        seconds: that were measured.
        server_cpu, host_cpu: cores; hosts' are not known where one died.
        problems: what is wrong with its accounting; empty: nothing.
        failed: why there is no measurement.
    """

    policy: str
    repetition: int
    folder: str
    samples_per_second: float = 0.0
    by_host: tuple[float, ...] = ()
    record_s: float = 0.0
    seconds: float = 0.0
    server_cpu: float = 0.0
    host_cpu: tuple[float, ...] = ()
    stale_fraction: float | None = None
    problems: str = ""
    failed: str = ""


def measure(case: Case, folder: Path, repetitions: int, factor: float) -> Iterator[Run | str]:
    """Profile the hosts of a cluster, then run each policy; yields runs as they end, and what else is to be said.

    Args:
        case: what.
        folder: takes the profiles and the records.
        repetitions: of each policy.
        factor: on the time that is measured.

    Raises:
        FailedError: the hosts could not be profiled.
    """
    with EmulatedCluster(case.cluster) as cluster:
        began = time.monotonic()
        profile(cluster, case, folder / "profile")
        yield f"profiled in {time.monotonic() - began:.0f} s"
        for repetition, system in case.order(repetitions):
            run = Run(system.name, repetition, f"{system.name}-{repetition}")
            yield _once(cluster, case, system, run, folder / run.folder, factor)


def _once(cluster: EmulatedCluster, case: Case, system: System, blank: Run, folder: Path, factor: float) -> Run:
    folder.mkdir(parents=True)
    job = _job(cluster, case, folder, system)
    try:
        outcome = Measurement(cluster, system, job).run(Window(WARM, factor * case.seconds))
    except FailedError as error:
        return replace(blank, failed=str(error))
    return replace(
        blank,
        samples_per_second=round(outcome.samples_per_second, 2),
        by_host=tuple(round(rate, 2) for rate in outcome.by_host),
        record_s=round(outcome.record_s, 4),
        seconds=round(outcome.seconds, 4),
        server_cpu=round(outcome.server_cpu, 4),
        host_cpu=tuple(round(cpu, 4) for cpu in outcome.host_cpu),
        stale_fraction=outcome.stale_fraction,
        problems=outcome.problems or outcome.ended_early,
    )


def _job(cluster: EmulatedCluster, case: Case, folder: Path, system: System | None = None) -> Job:
    hosts = len(case.cluster.shares)
    return Job(
        index=0,
        addresses=cluster.addresses,
        server=cluster.address(SERVER),
        port=next(PORTS),
        folder=str(folder.resolve()),
        door="",
        share=0.0,
        workload=WORKLOAD,
        batch=case.batch,
        parts=(case.batch // hosts,) * hosts,
        sizes=() if system is not None else tuple(sorted({*SIZES, case.batch // hosts})),
        options=dict(system.options) if system is not None else {"seconds": PROFILE_S},
    )


def profile(cluster: EmulatedCluster, case: Case, folder: Path) -> None:
    """Profile all hosts at once, each within its quota, and the server's host.

    Raises:
        FailedError: a process ended without a profile, or has none in time.
    """
    folder.mkdir(parents=True)
    job = _job(cluster, case, folder)
    hosts = (*range(len(case.cluster.shares)), SERVER)
    command = [str(python("")), "-m", "benchmarks.runners.profile"]
    processes = {}
    try:
        for host in hosts:
            part = part_of(job, cluster, host, job.sizes)
            if host == SERVER:
                part = replace(part, options={"seconds": SERVERS_S})
            processes[host] = cluster.start(host, command, environment(part), folder / f"log-{host}")
        until, ready = time.monotonic() + PATIENCE, set[int]()
        while any(process.poll() is None and not _answered(folder, host) for host, process in processes.items()):
            if len(ready) < len(hosts):
                ready = {host for host in hosts if (folder / f"ready-{host}").exists()}
                for host in hosts if len(ready) == len(hosts) else ():
                    if host != SERVER:
                        cluster.enter(host)
                    (folder / f"go-{host}").touch()
            if time.monotonic() > until:
                raise FailedError(f"the hosts were not profiled within {PATIENCE:.0f} s")
            time.sleep(POLL)
    finally:
        cluster.quiet()
        for process in processes.values():
            process.wait()
    for host in hosts:
        if not _answer(folder, host).exists():
            raise FailedError(f"{name_of(host)} was not profiled{last_words(folder / f'log-{host}')}")


def _answer(folder: Path, host: int) -> Path:
    return folder / f"profile-{host}" / "profile.json"


def _answered(folder: Path, host: int) -> bool:
    """Whether it has its profile; at a tenth of a core, Python takes seconds to end after that."""
    answer = _answer(folder, host)
    return answer.exists() and answer.read_bytes().endswith(b"}")


def profiles(folder: Path, hosts: int) -> list[Profile]:
    """Those that :func:`profile` left in its folder; the server's host's is the last."""
    return [msgspec.json.decode(_answer(folder, host).read_bytes(), type=Profile) for host in (*range(hosts), SERVER)]


def save(folder: Path, runs: list[Run]) -> None:
    """Keep what was measured on a cluster."""
    (folder / "runs.json").write_text(json.dumps([asdict(run) for run in runs], indent=1) + "\n")


def load(folder: Path) -> list[Run]:
    """What :func:`save` kept."""
    return [msgspec.convert(one, Run) for one in json.loads((folder / "runs.json").read_text())]
