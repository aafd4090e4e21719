"""Hosts as network namespaces, joined by links: a bridge in a namespace of its own, or a user-space switch.

Nothing touches the network of the machine itself. The bridge is the kernel's and cheap, and so is its rate limit; delay
and loss are made by the switch, since not every kernel can.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from . import switch
from .clusters import Link

NET = "10.77.0"
BURST_S = 0.004
LEAST_BURST = 1 << 16
"""Bytes: what the kernel hands over at once must fit."""

QUEUE_MS = 200
"""What waits longer for a slow link is dropped."""


class NetworkError(RuntimeError):
    """A command that should have made a network failed; the message has its words."""


def ip(*words: str) -> str:
    """Run iproute2's ``ip``.

    Raises:
        NetworkError: it failed.
    """
    return _run("ip", *words)


def _run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"{' '.join(words)}: {done.stderr.strip() or f'exit code {done.returncode}'}")
    return done.stdout


class Network:
    """The namespaces ``NAME-0``, ``NAME-1`` … and between them the links.

    Args:
        name: of the cluster; nobody else's.
        links: by host.
        frame: bytes at most, where the switch passes them on.
    """

    def __init__(self, name: str, links: Sequence[Link], frame: int = 1500) -> None:
        self.name = name
        self.links = links
        self.frame = frame
        self.switch: subprocess.Popen[str] | None = None

    def open(self) -> None:
        """Make it all."""
        for index in range(len(self.links)):
            ip("netns", "add", self.space(index))
        if any(link.needs_switch for link in self.links):
            self.switch = switch.start([self.space(index) for index in range(len(self.links))], self.links)
        else:
            self._bridge()
        for index in range(len(self.links)):
            space = self.space(index)
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "addr", "add", f"{self.address(index)}/24", "dev", "eth0")
            if self.switch is not None:
                ip("-n", space, "link", "set", "eth0", "mtu", str(self.frame))
            ip("-n", space, "link", "set", "eth0", "up")

    def _bridge(self) -> None:
        middle = f"{self.name}-bridge"
        ip("netns", "add", middle)
        ip("-n", middle, "link", "add", "br0", "type", "bridge")
        ip("-n", middle, "link", "set", "br0", "up")
        for index, link in enumerate(self.links):
            space, port = self.space(index), f"port{index}"
            ip("-n", middle, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            ip("-n", middle, "link", "set", port, "master", "br0", "up")
            if link.rate_mbit:
                _limit(space, "eth0", link.rate_mbit)
                _limit(middle, port, link.rate_mbit)

    def space(self, index: int) -> str:
        """The name of a host's namespace."""
        return f"{self.name}-{index}"

    def address(self, index: int) -> str:
        """A host's address."""
        return f"{NET}.{index + 1}"

    def inside(self, index: int, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` on a host."""
        return ["nsenter", f"--net=/run/netns/{self.space(index)}", *command]

    def close(self) -> None:
        """Remove it all. May be called more than once."""
        if self.switch is not None:
            self.switch.kill()
            self.switch.wait()
        remove(self.name)


def _limit(space: str, device: str, rate_mbit: float) -> None:
    rate = int(rate_mbit * 1e6)
    burst = max(LEAST_BURST, int(rate / 8 * BURST_S))
    _run("tc", "-n", space, "qdisc", "add", "dev", device, "root", "tbf",
         "rate", f"{rate}bit", "burst", str(burst), "latency", f"{QUEUE_MS}ms")  # fmt: skip


def spaces() -> list[str]:
    """The names of all network namespaces."""
    return [line.split()[0] for line in ip("netns", "list").splitlines() if line.strip()]


def remove(name: str) -> None:
    """Remove the namespaces of the cluster ``name``."""
    for space in spaces():
        if space.startswith(f"{name}-"):
            ip("netns", "del", space)
