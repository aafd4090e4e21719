"""What verbs do with the results of runs: show them, and write them for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType

from ..observe import RunSummary, render, summarise
from ..trace import RecordError
from ._screen import Lines

if TYPE_CHECKING:
    from ..launch import RunResult

STOPPED = 128
"""Exit codes above it name the signal that ended a run."""

WIDTH = 100
"""Columns of a table that goes to a file or a pipe."""


def conclude(
    result: RunResult,
    screen: Lines,
    next_command: str,
    results: Path | None,
    judged: Callable[[RunSummary], RunSummary] = lambda summary: summary,
) -> int:
    """Show how a run went, and write it to ``results`` for programs; returns the exit code.

    ``judged`` adds to the summary what the record does not tell.
    """
    if result.record is None:
        return result.code
    if result.code >= STOPPED:
        # Who asked it to stop wants it gone, and a long record takes its time to read.
        screen.note(f"the run was broken off. Its record is {result.record}")
        return result.code
    try:
        summary = judged(summarise(result.record))
    except RecordError as error:
        print(f"evener: there is no summary: {error}", file=sys.stderr)
        return result.code
    show([summary], next_command)
    write_json(results, summary.to_dict())
    return result.code


def show(runs: Sequence[RunSummary], next_command: str, title: str = "") -> None:
    """Print the table."""
    print_table(render(runs, next_command, title))


def print_table(table: RenderableType) -> None:
    """Print it at a width that suits where it goes."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print()
    console.print(table)


def check_json(path: Path | None) -> str:
    """Why results could not be written to ``path``, in words; empty if they could. To be asked beforehand."""
    if path is None:
        return ""
    if path.is_dir():
        return f"--json {path} is a folder. Give the name of a file."
    if not path.absolute().parent.is_dir():
        return f"--json {path}: there is no folder {path.parent}. Make it, or choose another place."
    return ""


def write_json(path: Path | None, results: dict[str, Any]) -> None:
    """Write results for programs."""
    if path is not None:
        path.write_text(json.dumps(results, indent=1) + "\n")
