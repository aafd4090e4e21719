"""Fixtures: runs of real processes."""

from .harness import forge, launch
from .jobs import folder, tasks

__all__ = ["folder", "forge", "launch", "tasks"]
