"""CPU quotas for the hosts: evener's control groups, with speeds that change and hosts that warm up outside."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from evener.launch import _cgroups

TICKS = os.sysconf("SC_CLK_TCK")


class HostGroups(_cgroups.Groups):
    """The groups of one emulated cluster.

    Each host has two: one without a quota, in which its processes start (``import torch`` takes 17 s at a tenth of a
    core), and the one with its quota. The server's host has one without, and so has the switch. Together they have a
    high weight against the rest of the machine.

    Args:
        parent: where to make them.
        name: of the cluster; nobody else's.
        shares: of one core, by host.
    """

    def __init__(self, parent: _cgroups.Parent, name: str, shares: Sequence[float]) -> None:
        self.warming: list[Path] = []
        self.server = self.links = Path()
        super().__init__(parent, name, shares)
        try:
            self.warming = [self.outer / f"warming-{index}" for index in range(len(shares))]
            self.server, self.links = self.outer / "server", self.outer / "links"
            for folder in (*self.warming, self.server, self.links):
                folder.mkdir()
        except BaseException:
            self.close()
            raise

    def set_share(self, host: int, share: float) -> None:
        """From now on the host has this part of one core."""
        folder = self.inner[host]
        if self.version == 1:
            # The kernel refuses a period that is too short for the quota in force; so without one in between.
            (folder / "cpu.cfs_quota_us").write_text("-1")
        self._limit(folder, share)

    def enter(self, host: int) -> None:
        """All processes of the host that are still warming up enter its quota."""
        # Again and again: a process may start another while it is being moved.
        while pids := processes(self.warming[host]):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    (self.inner[host] / "cgroup.procs").write_text(str(pid))

    def of_host(self, host: int) -> list[Path]:
        """The groups that hold this host's processes; -1: the server's."""
        return [self.server] if host < 0 else [self.warming[host], self.inner[host]]

    def close(self) -> None:
        """Remove the groups, and end what is still in them. May be called more than once."""
        for folder in (*self.warming, self.server, self.links):
            if folder.parent == self.outer:
                kill([folder])
                with contextlib.suppress(OSError):
                    folder.rmdir()
        super().close()


def processes(folder: Path) -> list[int]:
    """The ids of the processes in a group."""
    return list(_cgroups._processes(folder))


def send(folders: Sequence[Path], signum: signal.Signals) -> None:
    """Send a signal to all processes of these groups."""
    for pid in (pid for folder in folders for pid in processes(folder)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)


def kill(folders: Sequence[Path], seconds: float = 10.0) -> None:
    """End all processes of these groups, and wait until they are gone.

    Raises:
        TimeoutError: some are still there.
    """
    until = time.monotonic() + seconds
    while pids := [pid for folder in folders for pid in processes(folder)]:
        if time.monotonic() > until:
            raise TimeoutError(f"{len(pids)} processes do not end")
        send(folders, signal.SIGKILL)
        time.sleep(0.02)


def cpu_seconds(folders: Sequence[Path]) -> float:
    """CPU time of the processes that are in these groups now, and of their children that have ended."""
    return sum(cpu_of(pid) for folder in folders for pid in processes(folder))


def cpu_of(pid: int) -> float:
    """CPU time in seconds of a process, and of its children that have ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS  # utime, stime, cutime, cstime


def parent() -> _cgroups.Parent | None:
    """Where groups with CPU quotas can be made; ``None``: nowhere."""
    found = _cgroups.here()
    return found[-1] if found else None  # the highest: the quotas must not count against one of our own
