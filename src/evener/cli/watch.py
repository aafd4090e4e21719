"""``evener watch``: a run as it goes on, or went, from any shell."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._screen import Lines

ROUND = 0.25
"""Seconds between two looks at the record."""

SETTLED = 2.0
"""Seconds without news after which it is asked whether anybody is writing: lines take up to 0.2 s to reach the file."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener watch DIR"
    parser.add_argument(
        "record", metavar="DIR", type=Path, help="the run's folder, or its record.jsonl; it need not exist yet"
    )


def execute(options: argparse.Namespace) -> int:
    """Watch: 0 if the run ended well, 1 if not, 2 if there is nothing to watch, 130 when Ctrl-C ended the watching."""
    from ..observe import summarise
    from ..trace import RecordError, record_path
    from . import _report, _screen

    record = record_path(options.record)
    if problem := _elsewhere(options.record, record):
        print(f"evener watch: error: {problem}", file=sys.stderr)
        return 2
    screen = _screen.choose()
    if not record.exists():
        screen.note(f"waiting for a run to begin in {record.parent}")
    screen.follow(record)
    try:
        dead = _follow(screen, record)
    except KeyboardInterrupt:
        screen.unfollow()
        screen.note("no longer watched; the run is left alone")
        return 128 + signal.SIGINT
    finally:
        screen.unfollow()
    if screen.problem is not None:
        return 2
    if dead:
        screen.note("nobody writes this record any more, and it has no end: the server's process was killed")
    try:
        summary = summarise(record)
    except RecordError as error:
        print(f"evener watch: there is no summary: {error}", file=sys.stderr)
        return 2
    _report.show([summary], "")
    return 0 if summary.ok else 1


def _elsewhere(named: Path, record: Path) -> str:
    """Whether ``named`` is rather a folder of runs than that of one, in words."""
    runs = sorted(named.glob(f"*/{record.name}")) if named.is_dir() and not record.exists() else []
    if not runs:
        return ""
    newest = max(runs, key=lambda run: run.stat().st_mtime)
    return f"{named} is no run's folder, but holds those of {len(runs)}. The last that was written is {newest.parent}"


def _follow(screen: Lines, record: Path) -> bool:
    """Show the run until its end; returns whether its writer is gone without having written one."""
    from ..trace import held

    lines, since = 0, time.monotonic()
    while True:
        screen.tick()
        if screen.over or screen.problem is not None:
            return False
        now = time.monotonic()
        if screen.lines > lines:
            lines, since = screen.lines, now
        elif lines and now - since >= SETTLED and held(record) is False:
            screen.tick()  # what it wrote between the last look and its end
            return not screen.over
        screen.silent(now - since if lines else 0.0)
        time.sleep(ROUND)
