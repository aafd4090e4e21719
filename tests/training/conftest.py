"""Fixtures: runs of real processes."""

from .harness import forge, launch

__all__ = ["forge", "launch"]
