"""The error that tells a script what it does wrong."""

from __future__ import annotations


class ScriptError(RuntimeError):
    """The training script does something that cannot be right; the message says what to do instead."""
