"""What a run's record says of how the others went on, and what is left of a run that is over."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Collection, Sequence
from itertools import pairwise
from pathlib import Path

from evener.core import commands as c
from evener.core import events as e
from evener.trace import EventLine, Line, part_path, parts, read, record_path

WITHIN = 2.0
"""Seconds after a worker's death in which the others must be as fast as before."""

WINDOW = 1.0
"""Seconds over which throughput is measured."""

STEP = 0.05

AS_BEFORE = 0.75
"""Part of the throughput before that counts as the same: a window has some twenty steps, and they vary."""

NEVER = 99.0


def all_lines(record: Path, began: Sequence[float]) -> list[Line]:
    """A record's lines, of all its parts, by one clock; ``began``: when each part did."""
    record = record_path(record)
    paths = [*(part_path(record, number) for number in range(1, parts(record) + 1)), record]
    found: list[Line] = []
    for path, start in zip(paths, began, strict=True):
        found += [dataclasses.replace(line, t=line.t + start) for line in read(path) if hasattr(line, "t")]
    return found


def applied(lines: Sequence[Line], struck: Collection[int]) -> list[tuple[float, int]]:
    """When how many samples were applied of those to whom nothing is done."""
    return [
        (line.t, command.samples)
        for line in lines
        if isinstance(line, EventLine)
        for command in line.commands
        if isinstance(command, c.Accumulate) and command.worker not in struck
    ]


def longest_gap(lines: Sequence[Line], struck: Collection[int]) -> float:
    """Seconds, at most, in which nothing was applied of those to whom nothing is done."""
    times = [t for t, _ in applied(lines, struck)]
    return max((after - before for before, after in pairwise(times)), default=0.0)


def deaths(lines: Sequence[Line], struck: Collection[int]) -> list[float]:
    """When the server heard that one of these had gone."""
    lefts = (line for line in lines if isinstance(line, EventLine) and isinstance(line.event, e.Left))
    return [line.t for line in lefts if line.event.worker in struck]  # type: ignore[union-attr]


def recovery(
    lines: Sequence[Line], struck: Collection[int], spans: Sequence[tuple[float, float]], within: float = WITHIN
) -> list[float]:
    """For each span, the seconds from its end until those to whom nothing is done are as fast as before it.

    Spans too near the beginning or the end of the run to be measured are left out.
    """
    added = applied(lines, struck)
    if not added:
        return []
    first, last = added[0][0], added[-1][0]

    def rate(start: float) -> float:
        return sum(samples for t, samples in added if start <= t < start + WINDOW) / WINDOW

    found = []
    for start, end in spans:
        if start - WINDOW < first:
            continue
        before = rate(start - WINDOW)
        steps = range(max(0, int((last - WINDOW - end) / STEP)))
        back = next((step * STEP for step in steps if rate(end + step * STEP) >= AS_BEFORE * before), None)
        if back is not None:
            found.append(round(back, 2))
        elif end + within + WINDOW <= last:
            found.append(NEVER)
    return found


def shared_memory() -> set[str]:
    """The names of all shared memory of this machine."""
    with contextlib.suppress(OSError):
        return set(os.listdir("/dev/shm"))
    return set()


def left_behind(folder: Path, pids: set[int], before: set[str]) -> list[str]:
    """What is left of a run that is over: processes, sockets, shared memory that was not there ``before``."""
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, 0)
            found.append(f"somebody of the process group {pid} is left")
    # Other programs make some meanwhile; the name has its maker's process id.
    made = {name for name in shared_memory() - before if pids & set(map(int, re.findall(r"\d+", name)))}
    found += [f"shared memory is left: {name}" for name in sorted(made)]
    found += [f"a socket is left: {path}" for path in folder.rglob("*") if path.is_socket()]
    return found
