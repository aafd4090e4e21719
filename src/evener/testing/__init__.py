"""What users and tests share: invariants of a run, and random schedules to try policies on.

:class:`Invariants` watches a coordinator and fails at the first event that breaks a promise. The module
``evener.testing.strategies`` makes random clusters and schedules; it needs ``hypothesis`` and is imported by name.
"""

from __future__ import annotations

from ._books import BrokenPromise
from .invariants import Invariants
from .promises import PROMISES, Promises, promises_of

__all__ = ["PROMISES", "BrokenPromise", "Invariants", "Promises", "promises_of"]
