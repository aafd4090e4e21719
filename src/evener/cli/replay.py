"""``evener replay``: do a recorded run's events bring the same commands again?"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..trace import Replay


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener replay DIR"
    parser.add_argument("record", metavar="DIR", type=Path, help="the run's folder, or its record.jsonl")


def execute(options: argparse.Namespace) -> int:
    """Replay, and say how it went: 0 if all agrees, 1 at the first command that differs, 2 if there is no replaying."""
    from ..observe import words
    from ..trace import RecordError, replayed

    began = time.perf_counter()
    try:
        again = replayed(options.record)
    except RecordError as error:
        print(f"evener replay: error: {error}", file=sys.stderr)
        return 2
    if again.difference is not None:
        print(f"evener replay: {options.record} differs: {again.difference}{_versions(again)}", file=sys.stderr)
        return 1
    took = words.duration(time.perf_counter() - began)
    print(
        f"{words.count(again.events, 'event')} bring the same {words.count(again.commands, 'command')} again: "
        f"{words.duration(again.seconds)} of a {_what(again)}, replayed in {took}"
    )
    if rest := _rest(again):
        print(rest)
    return 0


def _what(again: Replay) -> str:
    header = again.header
    return "run" if header is None else f"{header.kind} under {header.policy.name}"


def _rest(again: Replay) -> str:
    """What of the run the record does not have, in words."""
    if again.broken is not None:
        return f"The record is cut short in line {again.broken}: replayed up to there."
    if again.end is None:
        return "The record has no end: replayed as far as it goes. The server was killed, or the run still goes on."
    return ""


def _versions(again: Replay) -> str:
    """A hint, where another version wrote the record: that it decides otherwise may be its progress."""
    here = metadata.version("evener")
    if again.header is None or again.header.evener == here:
        return ""
    return f". It was written by evener {again.header.evener}, this is {here}: replay it with the version that wrote it"
