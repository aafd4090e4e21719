"""The policies, by the name that ``--policy`` takes."""

from __future__ import annotations

from .asynchronous import Asynchronous
from .balanced import Balanced
from .base import Assignment, Late, Policy
from .synchronous import Synchronous

POLICIES: dict[str, type[Policy]] = {policy.name: policy for policy in (Synchronous, Asynchronous, Balanced)}

__all__ = ["POLICIES", "Assignment", "Asynchronous", "Balanced", "Late", "Policy", "Synchronous"]
