"""Where there are no quotas: the hosts are processes of this machine, and pause after computing. Evener alone can.

One network, no namespaces, no links. What is left of a cluster is its speeds, its stalls and its deaths.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from . import groups
from .children import dies_with_us
from .cluster import SERVER, EmulatedCluster
from .clusters import Cluster, Link
from .plan import Block

RUNNERS = ("limit", "evener", "plain")
"""Those that can pause after computing."""

HERE = "127.0.0.1"


def possible() -> bool:
    """Whether it is possible here: ending processes with this one, and their CPU time, are Linux's."""
    return sys.platform == "linux"


def fit(blocks: Sequence[Block]) -> tuple[list[Block], list[str]]:
    """What can be measured of these blocks, and what is left out, in words."""
    kept: list[Block] = []
    left: list[str] = []
    for one in blocks:
        cluster = one.cluster
        if any(link != Link() for link in cluster.links) or any(what.what == "speed" for what in cluster.happenings):
            left.append(f"cluster {cluster.name}: it needs links or speeds that change")
            continue
        systems = tuple(system for system in one.systems if system.runner in RUNNERS)
        left += [f"{system.title}: it cannot be slowed" for system in one.systems if system not in systems]
        if systems:
            kept.append(replace(one, systems=systems))
    return kept, list(dict.fromkeys(left))


class ThrottledCluster:
    """Hosts 0, 1 … and the server's (-1), all on this machine; used like an :class:`EmulatedCluster`.

    Args:
        cluster: its shares are parts of a core that a host computes for, and pauses for the rest.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._processes: dict[int, list[subprocess.Popen[bytes]]] = {}

    def __enter__(self) -> ThrottledCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.quiet()

    def address(self, host: int) -> str:
        """The same for all."""
        return HERE

    @property
    def addresses(self) -> tuple[str, ...]:
        """All hosts', without the server's."""
        return (HERE,) * len(self.cluster.shares)

    def door(self, host: int) -> None:
        """There is no quota to enter: processes that are told of none pause instead."""

    def start(
        self, host: int, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a process of a host; as :meth:`EmulatedCluster.start`."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_us(signal.SIGKILL),
            )
        self._processes.setdefault(host, []).append(process)
        return process

    def enter(self, host: int) -> None:
        """Nothing to enter."""

    def set_share(self, host: int, share: float) -> None:
        """Speeds do not change (:func:`fit`)."""
        raise NotImplementedError("the speed of a process that pauses cannot be changed from outside")

    def stall(self, host: int) -> None:
        """All processes of a host stand still."""
        self._send(host, signal.SIGSTOP)

    def resume(self, host: int) -> None:
        """They go on."""
        self._send(host, signal.SIGCONT)

    def kill(self, host: int) -> None:
        """End all processes of a host, and wait until they are gone."""
        self._send(host, signal.SIGKILL)
        for process in self._processes.pop(host, []):
            process.wait()

    def _send(self, host: int, signum: signal.Signals) -> None:
        for process in self._processes.get(host, []):
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signum)

    def cpu_seconds(self, host: int) -> float:
        """CPU time of the host's present processes."""
        return sum(groups.cpu_of(process.pid) for process in self._processes.get(host, []))

    def quiet(self) -> None:
        """End all processes on all hosts."""
        for host in (SERVER, *range(len(self.cluster.shares))):
            self.kill(host)


Hosts = EmulatedCluster | ThrottledCluster
"""Something to measure on."""
