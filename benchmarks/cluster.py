"""An emulated cluster: hosts with a part of a core each, linked to each other and to a server's host. Linux, root."""

from __future__ import annotations

import fcntl
import itertools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from evener.launch import _cgroups

from . import groups, links
from .children import dies_with_us
from .clusters import Cluster

PREFIX = "bench-"
_NAME = re.compile(rf"{_cgroups.PREFIX}({PREFIX}(\d+)-\d+)(?:-|$)")
_numbers = itertools.count()

SERVER = -1


class ClusterError(RuntimeError):
    """Clusters cannot be emulated here; the message says what is missing."""


def check() -> None:
    """Whether a cluster can be emulated here.

    Raises:
        ClusterError: naming the first thing that is missing.
    """
    if not Path("/proc/self/ns/net").exists():
        raise ClusterError("an emulated cluster needs Linux: its hosts are network namespaces.")
    if os.geteuid() != 0:
        raise ClusterError("an emulated cluster needs root, for network namespaces and CPU quotas. Try with sudo.")
    for tool, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nsenter", "util-linux")):
        if shutil.which(tool) is None:
            raise ClusterError(f"the command '{tool}' is missing: install {package}.")
    if groups.parent() is None:
        raise ClusterError("this system has no control groups with CPU quotas (cgroup version 1 or 2, 'cpu').")


class EmulatedCluster:
    """Hosts 0, 1 … and the server's host (-1), which has no quota. A context manager: at its end all is gone.

    Args:
        cluster: what to emulate.

    Raises:
        ClusterError: it cannot be done here.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        self._groups: groups.HostGroups | None = None
        self._network = links.Network(_cgroups.PREFIX + self.name, cluster.links, cluster.frame)

    def __enter__(self) -> EmulatedCluster:
        check()
        sweep()
        parent = groups.parent()
        assert parent is not None
        try:
            self._groups = groups.HostGroups(parent, self.name, self.cluster.shares)
            self._network.open()
            if self._network.switch is not None:
                (self._groups.links / "cgroup.procs").write_text(str(self._network.switch.pid))
        except BaseException as error:
            self.close()
            if isinstance(error, links.NetworkError | OSError):
                raise ClusterError(f"the cluster cannot be made: {error}") from error
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def groups(self) -> groups.HostGroups:
        """The control groups."""
        assert self._groups is not None, "the cluster is not open"
        return self._groups

    def address(self, host: int) -> str:
        """A host's IPv4 address."""
        return self._network.address(host % len(self._network.links))

    @property
    def addresses(self) -> tuple[str, ...]:
        """All hosts', without the server's."""
        return tuple(map(self.address, range(len(self.cluster.shares))))

    def door(self, host: int) -> Path:
        """The file to which a process of the host writes its id to enter the quota."""
        return self.groups.doors[host]

    def start(
        self, host: int, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a process on a host, as yet without its quota.

        Args:
            host: its number; -1: the server's.
            command: the program and its arguments.
            environment: all of it.
            log: file for what it prints; appended to.
        """
        door = self.groups.of_host(host)[0] / "cgroup.procs"
        with log.open("ab") as output:
            return subprocess.Popen(
                self._network.inside(host % len(self._network.links), command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dies_with_us(signal.SIGKILL, lambda: _enter(door)),
            )

    def enter(self, host: int) -> None:
        """All processes of the host that are still warming up enter its quota."""
        self.groups.enter(host)

    def set_share(self, host: int, share: float) -> None:
        """From now on the host has this part of one core."""
        self.groups.set_share(host, share)

    def stall(self, host: int) -> None:
        """All processes of a host stand still."""
        groups.send(self.groups.of_host(host), signal.SIGSTOP)

    def resume(self, host: int) -> None:
        """They go on."""
        groups.send(self.groups.of_host(host), signal.SIGCONT)

    def kill(self, host: int) -> None:
        """End all processes of a host, and wait until they are gone."""
        groups.kill(self.groups.of_host(host))

    def cpu_seconds(self, host: int) -> float:
        """CPU time of the host's present processes."""
        return groups.cpu_seconds(self.groups.of_host(host))

    def quiet(self) -> None:
        """End all processes on all hosts, and give each its first speed again."""
        for host in (SERVER, *range(len(self.cluster.shares))):
            self.kill(host)
        for host, share in enumerate(self.cluster.shares):
            self.set_share(host, share)

    def close(self) -> None:
        """Remove everything. May be called more than once."""
        try:
            if self._groups is not None:
                self._groups.close()
        finally:
            self._network.close()


def _enter(door: Path) -> None:
    door.write_text(str(os.getpid()))


def sweep() -> None:
    """Remove what killed runs have left behind: groups, the processes in them, and namespaces."""
    parent = groups.parent()
    if parent is None:
        return
    names = {*links.spaces(), *(folder.name for folder in parent.path.glob(f"{_cgroups.PREFIX}{PREFIX}*"))}
    for match in filter(None, map(_NAME.match, names)):
        outer = parent.path / f"{_cgroups.PREFIX}{match[1]}"
        if not Path(f"/proc/{match[2]}").exists() and not _locked(outer):
            if outer.is_dir():
                inner = [folder for folder in outer.iterdir() if folder.is_dir()]
                groups.kill([*inner, outer])
                for folder in (*inner, outer):
                    _cgroups._remove(folder)
            links.remove(outer.name)


def _locked(folder: Path) -> bool:
    """Whether whoever made the group still lives."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
