"""The policies, by the name that ``--policy`` takes.

A policy is one file of this package: ``POLICIES`` finds every concrete :class:`Policy` that a module here defines.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from .asynchronous import Asynchronous
from .balanced import Balanced
from .base import Assignment, Late, Policy
from .delayed import Delayed
from .dynamic import Dynamic
from .per_push import PerPush
from .stale import Stale
from .synchronous import Synchronous


def discover() -> dict[str, type[Policy]]:
    """Every policy that a module of this package defines, by name, in alphabetical order.

    Raises:
        ValueError: two of them have the same name.
    """
    found: dict[str, type[Policy]] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for kind in vars(module).values():
            own = inspect.isclass(kind) and issubclass(kind, Policy) and kind.__module__ == module.__name__
            if not own or inspect.isabstract(kind):
                continue
            if kind.name in found:
                raise ValueError(f"two policies are called {kind.name!r}: {found[kind.name].__module__} and {module}")
            found[kind.name] = kind
    return dict(sorted(found.items()))


POLICIES = discover()

__all__ = [
    "POLICIES",
    "Assignment",
    "Asynchronous",
    "Balanced",
    "Delayed",
    "Dynamic",
    "Late",
    "PerPush",
    "Policy",
    "Stale",
    "Synchronous",
    "discover",
]
