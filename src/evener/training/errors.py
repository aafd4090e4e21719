"""The errors that tell a script what it does wrong, and how they are shown."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import torch

OTHERS = (Path(__file__).parents[1], Path(torch.__file__).parent)
"""Folders of code that is not the user's."""


class ScriptError(RuntimeError):
    """The training script does something that cannot be right; the message says what to do instead."""


class ScriptValueError(ScriptError, ValueError):
    """What the script hands over cannot work."""


class ScriptTypeError(ScriptError, TypeError):
    """What the script hands over is of a kind that cannot work."""


def in_a_line(error: ScriptError, trace: TracebackType | None) -> str:
    """What is wrong and where in the user's code: all else that a traceback shows is ours."""
    where = ""
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.is_file() and not any(file.is_relative_to(folder) for folder in OTHERS):
            where = f"{file.name}, line {trace.tb_lineno}: "
        trace = trace.tb_next
    return f"{where}{error}"
