"""What the measurements ran on: hardware and versions, and nothing that names the machine or its folders."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

from . import peers
from .systems import SYSTEMS

PACKAGES = ("evener", "torch", "numpy", "pyzmq")


def describe() -> dict[str, str | int | float]:
    """CPU, cores, memory, kernel, and the versions of Python and of all systems."""
    facts: dict[str, str | int | float] = {
        "cpu": _cpu(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
    }
    facts |= {package: metadata.version(package) for package in PACKAGES}
    for name in sorted({system.environment for system in SYSTEMS if system.environment}):
        if version := _version(name):
            facts[name] = version
    return facts


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(peer: str) -> str:
    site = peers.site_packages(peer)
    found = list(metadata.distributions(name=peer, path=[str(site)]))
    return found[0].version if found else ""
