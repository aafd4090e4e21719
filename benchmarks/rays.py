"""A Ray cluster of emulated hosts: each has a network, a temporary folder and a part of a core of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from evener.launch._places import THREADS

from .cluster import SERVER, EmulatedCluster

PORT = 6379
STORE = 100_000_000
"""Bytes of each node's object store: the least that Ray likes. Evener puts nothing into it."""

PATIENCE = 60.0
"""Seconds within which a node must be up."""


class RayCluster:
    """Ray on an emulated cluster: its head on the server's host, without a CPU to give away.

    Args:
        hosts: open. Closing it ends everything that was started here.
        folder: for logs.
        settings: of Ray's own, as environment variables of its nodes.
    """

    def __init__(self, hosts: EmulatedCluster, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.hosts = hosts
        self.folder = folder
        self.settings = settings or {}
        self._disks: dict[int, int] = {}

    def head(self) -> None:
        """Start it, and wait until it is up."""
        self._node(SERVER, "--head", f"--port={PORT}", "--num-cpus=0", "--include-dashboard=false")

    def add(self, host: int, *words: str) -> None:
        """A host becomes a node of one CPU, as long as no other number is among ``words``; wait until it is up."""
        cpus = () if any(word.startswith("--num-cpus") for word in words) else ("--num-cpus=1",)
        self._node(host, f"--address={self.hosts.address(SERVER)}:{PORT}", *cpus, *words)

    def kill(self, host: int) -> None:
        """The host's machine fails: all of its processes end at once."""
        self.hosts.kill(host)
        self._disks.pop(host, None)

    def start(
        self, host: int, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        """Start a process on a host, with its disk. Its log tells what it prints."""
        disk = self._disks.get(host)
        if disk is not None:
            command = ["nsenter", f"--mount=/proc/{disk}/ns/mnt", f"--wdns={Path.cwd()}", "--", *command]
        return self.hosts.start(host, command, environment, log)

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process that speaks to Ray."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVENER_", "RAY_"))}
        ray = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS": "0",
            "RAY_ADDRESS": f"{self.hosts.address(SERVER)}:{PORT}",
        }
        return {**kept, **dict.fromkeys(THREADS, "1"), "PYTHONUNBUFFERED": "1", **ray, **more}

    def _node(self, host: int, *words: str) -> None:
        log = self.folder / f"ray-{host}.log"
        log.unlink(missing_ok=True)
        environment = self.environment(EMULATED_HOST=str(host), **self.settings)
        # Ray keeps sockets, ports and logs of a node in one folder, which other machines do not share.
        disk = f"mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray && echo up && exec sleep {10**6}"
        self._disks[host] = self.hosts.start(host, ["unshare", "--mount", "sh", "-c", disk], environment, log).pid
        _wait_for(log, "^up$")
        ip = self.hosts.address(host)
        started = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={ip}",
                   f"--object-store-memory={STORE}", "--disable-usage-stats", *words]  # fmt: skip
        del environment["RAY_ADDRESS"]
        self.start(host, started, environment, log)
        _wait_for(log, "Ray runtime started")


def _wait_for(log: Path, pattern: str) -> None:
    until = time.monotonic() + PATIENCE
    while not (log.exists() and re.search(pattern, log.read_text(errors="replace"), re.MULTILINE)):
        if time.monotonic() > until:
            raise TimeoutError(f"a node did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.05)
