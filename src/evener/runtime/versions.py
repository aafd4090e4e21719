"""Versions of what computes, and how far apart they may be in one run."""

from __future__ import annotations

import platform
import re
from importlib import metadata

import msgspec

PYTHON_APART, TORCH_APART = 3, 6
"""Minor releases by which server and worker may differ: a judgement, not a measurement (docs/how-to)."""


class Versions(msgspec.Struct, frozen=True, array_like=True):
    """Of one process; empty where it does not know."""

    evener: str = ""
    python: str = ""
    torch: str = ""


UNKNOWN = Versions()


def here() -> Versions:
    """Of this process, found without importing anything heavy."""
    return Versions(_of("evener"), platform.python_version(), _of("torch"))


def too_far(server: Versions, worker: Versions) -> str:
    """Why these two cannot be in one run, and what to install; empty if they can.

    >>> too_far(Versions("0.1.0", "3.11.7", "2.13.0+cpu"), Versions("0.1.4", "3.13.1", "2.9.1"))
    ''
    >>> too_far(Versions("0.1.0", "3.11.7", "2.13.0"), Versions("0.1.0", "3.11.7", "2.4.1"))
    'the server has torch 2.13.0, the worker 2.4.1: more than 6 releases apart. Install torch 2.7 to 2.19 there.'
    """
    if _differ(server.evener, worker.evener, 0):
        wanted = ".".join(map(str, _minor(server.evener) or ()))
        return f"the server has evener {server.evener}, the worker {worker.evener}: install evener {wanted}.* there."
    for name, apart, one, other in (
        ("Python", PYTHON_APART, server.python, worker.python),
        ("torch", TORCH_APART, server.torch, worker.torch),
    ):
        if _differ(one, other, apart):
            major, minor = _minor(one) or (0, 0)
            return (
                f"the server has {name} {one}, the worker {other}: more than {apart} releases apart. "
                f"Install {name} {major}.{max(0, minor - apart)} to {major}.{minor + apart} there."
            )
    return ""


def _differ(one: str, other: str, apart: int) -> bool:
    first, second = _minor(one), _minor(other)
    return first is not None and second is not None and (first[0] != second[0] or abs(first[1] - second[1]) > apart)


def _minor(version: str) -> tuple[int, int] | None:
    """Major and minor; ``None`` if these are not to be found."""
    found = re.match(r"(\d{1,6})\.(\d{1,6})", version)
    return (int(found[1]), int(found[2])) if found else None


def _of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
