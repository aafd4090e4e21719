"""A run as scalars for TensorBoard, from its record, while it goes on.

Needs the package ``tensorboard`` (``pip install 'evener[tensorboard]'``): who looks at scalars has it, and it writes
them without TensorFlow and without torch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from ..trace import Clock, HeaderLine, Line, LogNote, NoteLine
from .tally import Tally

EVERY = 1.0
"""Seconds of the run between two points, at first."""

POINTS = 1000
"""After so many points they become rarer: another ``POINTS`` for each e-fold of the run's time, so 5,500 for a day."""


class Board:
    """Writes the scalars of one run. Feed it the lines of a record.

    The step of each point is the number of samples applied until then, and its wall time is that of the event, so that
    TensorBoard shows each over samples (Step) and over time (Relative, Wall); a simulated run's times are virtual.

    ======================================  ====================================================================
    ``server/NAME``, ``workers/NAME``       what the script logged on the server; the mean over the workers
    ``run/samples_per_second``              applied since the point before
    ``run/stale_fraction``                  of the samples applied since the point before
    ``worker_I/pace``                       samples/s while it computes, averaged over its last tickets
    ``worker_I/share``                      its part of the samples applied since the point before
    ``worker_I/busy``                       the part of the last 3 s that it computed
    ======================================  ====================================================================

    Args:
        folder: where the event file is to be.

    Raises:
        ImportError: ``tensorboard`` cannot be imported.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        from tensorboard.summary import Writer

        self._writer: Any = Writer(os.fspath(folder))
        self._tally = Tally()
        self._clock = Clock()
        self._opened = 0.0
        self._due = EVERY
        self._before = 0.0
        self._applied = self._stale = 0
        self._samples: dict[int, int] = {}

    def update(self, lines: Iterable[Line]) -> None:
        """Take the next lines of the record, of its parts in order, and hand what became due to who reads along."""
        for line in map(self._clock, lines):
            self._tally.update(line)
            match line:
                case HeaderLine(t, header):
                    self._opened = _seconds(header.created) - t
                case NoteLine(_, LogNote() as log):
                    for name, value in log.values.items():
                        self._write(f"{log.source}/{name}", math.nan if value is None else value, log.samples, log.at)
                case _ if self._tally.now >= self._due:
                    self._point()
        self._writer.flush()

    def close(self) -> None:
        """Write the last point, and close the file."""
        self._point()
        self._writer.close()

    def _point(self) -> None:
        tally, now = self._tally, self._tally.now
        applied, stale = tally.applied - self._applied, tally.stale - self._stale
        begun = max(self._before, tally.first_grant or 0.0)
        self._due = now + max(EVERY, now / POINTS)
        if now <= begun or not tally.applied:
            return
        scalars = {"run/samples_per_second": applied / (now - begun)}
        if applied > 0:
            scalars["run/stale_fraction"] = stale / applied
        for index, work in tally.workers.items():
            if work.pace.known:
                scalars[f"worker_{index}/pace"] = work.pace.value
            if applied > 0:
                scalars[f"worker_{index}/share"] = (work.samples - self._samples.get(index, 0)) / applied
            if work.joined is not None:
                scalars[f"worker_{index}/busy"] = tally.busy(work)
            self._samples[index] = work.samples
        for tag, value in scalars.items():
            self._write(tag, value, tally.contained, now)
        self._before, self._applied, self._stale = now, tally.applied, tally.stale

    def _write(self, tag: str, value: float, samples: int, at: float) -> None:
        self._writer.add_scalar(tag, value, samples, wall_time=self._opened + at)


def _seconds(created: str) -> float:
    """The time at which a record was opened, since 1970; 0 where it has none, as a simulated run."""
    try:
        return datetime.fromisoformat(created).timestamp()
    except (ValueError, OverflowError):
        return 0.0
