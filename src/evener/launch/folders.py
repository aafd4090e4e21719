"""Where a run keeps its record, and what it is called."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from .options import LaunchError

_LAST = 1 << 16
"""Bytes of a record's end in which its last command is."""


def new_run_id() -> str:
    """Short, and sorts by the time of the run's start: ``20260131-142530-9f3c`` (UTC)."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def make(run: str, chosen: Path | None) -> Path:
    """The run's folder, made if need be: ``chosen``, or ``runs/<run>`` below the current folder.

    Raises:
        LaunchError: it cannot be made.
    """
    folder = chosen if chosen is not None else Path("runs") / run
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LaunchError(
            f"the folder {folder} for the run's record cannot be made: {error.strerror}. Choose another with --record."
        ) from None
    return folder


def finished(record: Path) -> bool:
    """Whether the record says that the run is over, be it that the script still goes on."""
    try:
        with record.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST))
            last = file.read()
    except OSError:
        return False
    return b'"type":"Finish"' in last or b'"end":' in last
