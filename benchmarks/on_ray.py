"""What Ray costs, and what a run does when Ray's nodes go and come, on an emulated cluster. Root, and Ray, are needed.

python -m benchmarks.on_ray                    # the same processes by Ray and by hand, in turn: six minutes
python -m benchmarks.on_ray --nodes            # a node is killed in the middle, and another one is added: two minutes
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evener.observe import RunSummary, summarise
from evener.runtime import keys

from .cluster import SERVER, EmulatedCluster
from .clusters import Cluster
from .places import ROOT, last_words
from .progress import Curve, Record
from .rays import RayCluster

EVENER = [sys.executable, "-c", "import sys; from evener.cli import main; sys.exit(main())"]
SCRIPT = str(ROOT / "benchmarks" / "scripts" / "session.py")
WORK = ["--", "small", "512"]
ENDLESS = "10000"
PORT = 4000
WARM = 3.0
"""Seconds after the first step before anything is measured: quotas are entered in them."""

GIVEN_UP = 22.0
"""Seconds after which Ray, as it is set up by default, has given up a node that was killed, and its workers wait."""

PATIENCE = 120.0


class Training:
    """A run under way, and its progress by worker.

    Args:
        hosts: where.
        folder: for its record and its logs.
    """

    def __init__(self, hosts: EmulatedCluster, folder: Path) -> None:
        self.hosts = hosts
        self.folder = folder
        self.record = folder / "run"
        self.progress = Record(self.record, len(hosts.cluster.shares))
        self.processes: list[subprocess.Popen[bytes]] = []

    def by_hand(self, ray: RayCluster, epochs: str) -> None:
        """``evener serve`` on the server's host, and ``evener join`` on the others."""
        names = [f"host-{host}" for host in range(len(self.hosts.cluster.shares))]
        keys.make(self.folder / "keys", names)
        address = f"{self.hosts.address(SERVER)}:{PORT}"
        serve = [
            "serve",
            SCRIPT,
            "--listen",
            address,
            "--keys",
            str(self.folder / "keys"),
            "--record",
            str(self.record),
        ]
        self._start(ray, SERVER, [*serve, "--workers", str(len(names)), *WORK, epochs])
        for host, name in enumerate(names):
            join = ["join", address, SCRIPT, "--keys", str(self.folder / "keys" / name), "--wait", "60"]
            self._start(ray, host, [*join, *WORK, epochs])

    def by_ray(self, ray: RayCluster, workers: int, epochs: str) -> None:
        """``evener run --on ray`` on the server's host."""
        run = ["run", "--on", "ray", SCRIPT, "--workers", str(workers), "--record", str(self.record)]
        self._start(ray, SERVER, [*run, *WORK, epochs])

    def _start(self, ray: RayCluster, host: int, words: Sequence[str]) -> None:
        log = self.folder / f"log-{host}"
        self.processes.append(ray.start(host, [*EVENER, *words], ray.environment(), log))

    def get_going(self) -> None:
        """Wait for the first step."""
        until = time.monotonic() + PATIENCE
        while not self.progress.started():
            if time.monotonic() > until or any(process.poll() is not None for process in self.processes):
                raise RuntimeError(f"the run does not get going{last_words(self.folder / f'log-{SERVER}')}")
            time.sleep(0.1)

    def curves(self) -> list[Curve]:
        """Samples that have counted, by worker."""
        return self.progress.curves()

    def first_of_others(self, start: float, stop: float, since: float) -> float:
        """When somebody else than who worked from ``start`` to ``stop`` first counted after ``since``; 0: not yet."""
        others = [curve for curve in self.curves() if not curve.between(start, stop)]
        return min((moment for curve in others for moment in curve.times if moment > since), default=0.0)

    def rate(self, start: float, stop: float) -> float:
        """Samples per second between two moments that are over."""
        return sum(curve.between(start, stop) for curve in self.curves()) / (stop - start)


@contextmanager
def nodes(
    shares: tuple[float, ...], folder: Path, ray: bool, present: int
) -> Iterator[tuple[EmulatedCluster, RayCluster]]:
    """An emulated cluster; with ``ray``, Ray's head and its first ``present`` nodes are up."""
    with EmulatedCluster(Cluster("ray", "Ray's", shares)) as hosts:
        cluster = RayCluster(hosts, folder)
        if ray:
            cluster.head()
            for host in range(present):
                cluster.add(host)
        yield hosts, cluster


def one(ray: bool, shares: tuple[float, ...], seconds: float) -> tuple[float, float]:
    """Samples/s, and the CPU seconds per second that the hosts' daemons took."""
    with tempfile.TemporaryDirectory() as name, nodes(shares, Path(name), ray, len(shares)) as (hosts, cluster):
        training = Training(hosts, Path(name))
        if ray:
            training.by_ray(cluster, len(shares), ENDLESS)
        else:
            training.by_hand(cluster, ENDLESS)
        training.get_going()
        for host in range(len(shares)):
            hosts.enter(host)
        time.sleep(WARM)
        start, before = time.monotonic(), hosts.cpu_seconds(SERVER)
        time.sleep(seconds)
        stop, after = time.monotonic(), hosts.cpu_seconds(SERVER)
        time.sleep(1.0)
        return training.rate(start, stop), (after - before) / seconds


def cost(shares: tuple[float, ...], seconds: float, repetitions: int) -> None:
    """Print what Ray costs."""
    ratios = []
    for repetition in range(repetitions):
        found: dict[bool, tuple[float, float]] = {}
        for ray in (False, True) if repetition % 2 else (True, False):
            found[ray] = one(ray, shares, seconds)
        ratios.append(found[True][0] / found[False][0])
        print(
            f"by Ray {found[True][0]:7.0f} samples/s, by hand {found[False][0]:7.0f}: {ratios[-1]:.3f}   "
            f"(server's host: {found[True][1]:.2f} and {found[False][1]:.2f} cores)",
            flush=True,
        )
    print(f"median {statistics.median(ratios):.3f} of {repetitions}, from {min(ratios):.3f} to {max(ratios):.3f}")


def coming_and_going(share: float, seconds: float) -> RunSummary:
    """Print what a run does when one of two nodes is killed, and when a third is added."""
    with tempfile.TemporaryDirectory() as name, nodes((share,) * 3, Path(name), True, 2) as (hosts, cluster):
        training = Training(hosts, Path(name))
        training.by_ray(cluster, 2, "5")
        training.get_going()
        for host in (0, 1):
            hosts.enter(host)
        time.sleep(WARM)
        began = time.monotonic()
        time.sleep(seconds)
        killed = time.monotonic()
        cluster.kill(1)
        time.sleep(max(seconds, GIVEN_UP))
        asked = time.monotonic()
        cluster.add(2)
        up = time.monotonic()
        while not (first := training.first_of_others(killed + 1.0, asked, up)):
            if time.monotonic() > up + PATIENCE:
                raise RuntimeError(f"nobody came{last_words(Path(name) / f'log-{SERVER}')}")
            time.sleep(0.1)
        hosts.enter(2)
        came = first
        time.sleep(seconds)
        now = time.monotonic() - 0.5
        before, alone, after = (
            training.rate(*span) for span in ((began, killed), (killed + 1, asked), (came + 1, now))
        )
        print(f"two nodes: {before:.0f} samples/s; one killed: {alone:.0f}; another added: {after:.0f}")
        print(f"the added one counts {came - up:.1f} s after Ray has it, {came - asked:.1f} s after 'ray start'")
        training.processes[0].wait(PATIENCE)
        print((Path(name) / f"log-{SERVER}").read_text(errors="replace"))
        return summarise(training.record)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_ray", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", action="store_true", help="kill a node and add one, instead")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (default: 20)")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    if options.nodes:
        summary = coming_and_going(0.45, options.seconds)
        print(f"each sample exactly once: {'yes' if summary.counted_once else 'NO'}")
    else:
        cost((0.75, 0.75), options.seconds, options.repetitions)


if __name__ == "__main__":
    main()
