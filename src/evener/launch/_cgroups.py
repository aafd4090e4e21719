"""CPU quotas for processes of ours: control groups, version 1 and 2.

One outer group per run, one inner group per worker. The outer group carries a high weight, so that the
quotas are really delivered while the server is busy; the inner ones carry the quotas. The launcher holds a
lock on the outer group's folder as long as it lives, which is how a later run tells what a dead run left
behind from what a living one is about to use.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PREFIX = "evener-"

PERIOD_US = 10_000
"""Short, so that a slow worker is slow evenly rather than fast and then frozen."""

LEAST_QUOTA_US = 1_000
"""The kernel's smallest quota. A smaller share gets a longer period instead."""

LONGEST_PERIOD_US = 1_000_000
LEAST_SHARE = LEAST_QUOTA_US / LONGEST_PERIOD_US

Version = Literal[1, 2]


@dataclass(frozen=True, slots=True)
class Parent:
    """A control group in which ours may be made."""

    version: Version
    path: Path


def quota(share: float) -> tuple[int, int]:
    """Quota and period in microseconds for a share of one core.

    Example:
        >>> quota(0.8), quota(0.05)
        ((8000, 10000), (1000, 20000))
    """
    if share * PERIOD_US >= LEAST_QUOTA_US:
        return round(share * PERIOD_US), PERIOD_US
    return LEAST_QUOTA_US, min(LONGEST_PERIOD_US, round(LEAST_QUOTA_US / share))


def ancestry(mountinfo: str, membership: str) -> list[Parent]:
    """The control groups that govern this process's CPU time: its own, then those above it, up to the root.

    Args:
        mountinfo: the text of ``/proc/self/mountinfo``.
        membership: the text of ``/proc/self/cgroup``.
    """
    found: list[Parent] = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        version: Version
        if kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            version = 1
        elif kind[0] == "cgroup2":
            version = 2
        else:
            continue
        inside = Path(_within(fields[3], _membership(membership, version)))
        found += [Parent(version, Path(fields[4]) / folder) for folder in (inside, *inside.parents)]
    return found


def _membership(text: str, version: Version) -> str:
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (number == "0") if version == 2 else ("cpu" in controllers.split(",")):
            return path
    return "/"


def _within(root: str, path: str) -> str:
    """``path`` relative to the mount, whose top is ``root``; the top itself when it lies elsewhere."""
    try:
        return str(Path(path).relative_to(root))
    except ValueError:
        return "."


def _gives_cpu(parent: Parent) -> bool:
    if parent.version == 1:
        return (parent.path / "cpu.cfs_quota_us").exists()
    try:
        return "cpu" in (parent.path / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _own() -> list[Parent]:
    try:
        return ancestry(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except OSError:
        return []  # not Linux


def here() -> list[Parent]:
    """Where this process might make groups with CPU quotas, nearest first; empty where there are none."""
    return [parent for parent in _own() if _gives_cpu(parent)]


class Groups:
    """The control groups of one run.

    Args:
        parent: where to make them.
        run: the run's id.
        shares: of one core, for each worker.

    Raises:
        OSError: they cannot be made here, or a process may not enter them. Nothing is left behind.
    """

    def __init__(self, parent: Parent, run: str, shares: Sequence[float]) -> None:
        self.version = parent.version
        self.outer = parent.path / f"{PREFIX}{run}"
        self.inner = [self.outer / f"worker-{index}" for index in range(len(shares))]
        self.outer.mkdir()
        self._lock = -1
        try:
            self._lock = os.open(self.outer, os.O_RDONLY)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._weigh()
            for folder, share in zip(self.inner, shares, strict=True):
                folder.mkdir()
                self._limit(folder, share)
            _try_entering(self.inner[0])
        except BaseException:
            self.close()
            raise

    def _weigh(self) -> None:
        if self.version == 1:
            (self.outer / "cpu.shares").write_text("16384")
        else:
            (self.outer / "cpu.weight").write_text("10000")
            (self.outer / "cgroup.subtree_control").write_text("+cpu")

    def _limit(self, folder: Path, share: float) -> None:
        allowed, period = quota(share)
        if self.version == 1:
            (folder / "cpu.cfs_period_us").write_text(str(period))
            (folder / "cpu.cfs_quota_us").write_text(str(allowed))
        else:
            (folder / "cpu.max").write_text(f"{allowed} {period}")

    def lift(self) -> None:
        """Take the quotas away, and leave the groups."""
        for folder in self.inner:
            with contextlib.suppress(OSError):
                if self.version == 1:
                    (folder / "cpu.cfs_quota_us").write_text("-1")
                else:
                    (folder / "cpu.max").write_text("max")

    @property
    def doors(self) -> list[Path]:
        """For each worker, the file to which it writes its process id."""
        return [folder / "cgroup.procs" for folder in self.inner]

    def close(self) -> None:
        """Remove the groups, and end what is still in them. May be called more than once."""
        for folder in (*self.inner, self.outer):
            _remove(folder, kill=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _try_entering(folder: Path) -> None:
    """Whether a process may enter is not in any permission bits; so try it with one that does nothing."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as idle:
        try:
            (folder / "cgroup.procs").write_text(str(idle.pid))
        finally:
            if idle.stdin is not None:
                idle.stdin.close()


def _remove(folder: Path, kill: bool = False) -> bool:
    # A process that has just ended may be listed for a moment yet, so a few tries: half a second at most.
    for _ in range(25):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            if not kill:
                return False
            for pid in _processes(folder):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        else:
            return True
    return False


def _processes(folder: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        yield from map(int, (folder / "cgroup.procs").read_text().split())


def sweep(parent: Parent) -> None:
    """Remove the groups of runs of ours that are dead: unlocked, and without any process in them."""
    with contextlib.suppress(OSError):
        for outer in parent.path.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                _sweep_one(outer)


def _sweep_one(outer: Path) -> None:
    lock = os.open(outer, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its launcher lives: BlockingIOError, an OSError
        inner = [folder for folder in outer.iterdir() if folder.is_dir()]
        if not any(pid for folder in (outer, *inner) for pid in _processes(folder)):
            for folder in (*inner, outer):
                _remove(folder)
    finally:
        os.close(lock)


def cores_allowed() -> float:
    """The cores that this process may use: its affinity, and the CPU quotas of the groups that it is in."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min([float(cores), *(_quota_of(group.path) for group in _own())])


def _quota_of(folder: Path) -> float:
    try:
        if (folder / "cpu.max").exists():
            allowed, period = (folder / "cpu.max").read_text().split()
        else:
            allowed = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(allowed) / int(period) if int(allowed) > 0 else float("inf")
    except (OSError, ValueError):  # no quota here, or "max"
        return float("inf")
