"""Fixtures: runs of real processes."""

from training.harness import forge, launch

__all__ = ["forge", "launch"]
