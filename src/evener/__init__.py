"""Evener trains one PyTorch model on machines of unequal and changing speed, at the speed of all of them together.

The public face is small: :func:`join` and what it returns, :class:`Session`. Importing this package loads nothing
heavy; torch comes with the first use of those names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .training import RunError, ScriptError, Session, join

__version__ = "0.1.0"
__all__ = ["RunError", "ScriptError", "Session", "join"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from . import training

        return getattr(training, name)
    raise AttributeError(f"module 'evener' has no attribute {name!r}")
