"""How many samples had counted when: from the hosts' own files, or from evener's run record."""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from evener.core.commands import Accumulate
from evener.trace import read, record_path
from evener.trace.codec import decode_line
from evener.trace.schema import EventLine, NoteLine

STEP_DONE = b'"type":"StepDone"'
"""In a record's line, when a step is done."""

RECORD_DELAY = 0.5
"""Seconds after which a record surely tells what happened."""


@dataclass(slots=True)
class Curve:
    """Samples that have counted, over time. Points are added in the order of time."""

    times: list[float] = field(default_factory=list)
    totals: list[int] = field(default_factory=list)

    def add(self, moment: float, samples: int) -> None:
        """``samples`` more have counted at ``moment``, in seconds."""
        self.times.append(moment)
        self.totals.append(samples + (self.totals[-1] if self.totals else 0))

    def at(self, moment: float) -> float:
        """Samples until ``moment``; linear between two points, since they were computed between these.

        >>> curve = Curve()
        >>> for when, samples in ((1.0, 10), (2.0, 10), (4.0, 40)):
        ...     curve.add(when, samples)
        >>> curve.at(1.5), curve.at(3.0), curve.at(9.0), curve.at(0.5)
        (15.0, 40.0, 60.0, 0.0)
        """
        after = bisect_right(self.times, moment)
        if after == 0:
            return 0.0
        if after == len(self.times):
            return float(self.totals[-1])
        part = (moment - self.times[after - 1]) / (self.times[after] - self.times[after - 1])
        return self.totals[after - 1] + part * (self.totals[after] - self.totals[after - 1])

    def points(self, since: float) -> int:
        """How many there are after ``since``."""
        return len(self.times) - bisect_right(self.times, since)

    def between(self, start: float, stop: float) -> float:
        """Samples from ``start`` to ``stop``."""
        return self.at(stop) - self.at(start)


class Files:
    """The files in which the hosts note their progress: lines of a monotonic time and a number of samples.

    Args:
        folder: where they are.
        hosts: how many there will be.

    Attributes:
        opened: when the times in them are counted from, by the monotonic clock.
    """

    opened = 0.0

    def __init__(self, folder: Path, hosts: int) -> None:
        self._paths = [folder / f"progress-{index}" for index in range(hosts)]

    def started(self) -> bool:
        """Whether every host has got something done."""
        return all(path.exists() and path.stat().st_size > 0 for path in self._paths)

    def points(self, since: float, hosts: Iterable[int]) -> int:
        """How often each of these hosts has told of progress since then; the least."""
        curves = self.curves()
        return min((curves[host].points(since) for host in hosts), default=0)

    def curves(self) -> list[Curve]:
        """Each host's."""
        return [_curve(path) for path in self._paths]


def _curve(path: Path) -> Curve:
    curve = Curve()
    text = path.read_text() if path.exists() else ""
    # The last line of a process that was killed may be cut short.
    for line in text[: text.rfind("\n") + 1].splitlines():
        moment, samples = line.split()
        curve.add(float(moment), int(samples))
    return curve


class Record:
    """The progress of an evener run, read from its record. A sample counts for the host that computed it.

    Args:
        folder: where the record is, or will be.
        hosts: how many there will be.

    Attributes:
        opened: when the record was opened, by the monotonic clock; known once the first step is done.
    """

    def __init__(self, folder: Path, hosts: int) -> None:
        self._path = record_path(folder)
        self._hosts = hosts
        self.opened = 0.0

    def started(self) -> bool:
        """Whether the first step is done. Sets this run's clock against the machine's."""
        try:
            written = self._path.read_bytes()
        except FileNotFoundError:
            return False
        done = written.find(STEP_DONE)
        if done < 0 or (end := written.rfind(b"\n")) < done:
            return False
        # The record counts time from its opening. Its lines come within 0.2 s of what they tell, and never before it.
        last = decode_line(written[written.rfind(b"\n", 0, end) + 1 : end + 1], 2)
        self.opened = time.monotonic() - (last.t if isinstance(last, EventLine | NoteLine) else 0.0)
        return True

    def points(self, since: float, hosts: Iterable[int]) -> int:
        """As many as anyone wants, once the record has come past ``since``: it tells of every push."""
        return sys.maxsize if time.monotonic() > since + RECORD_DELAY else 0

    def curves(self) -> list[Curve]:
        """Each host's. A worker that came back under another number has its curve after those of the hosts."""
        curves: dict[int, Curve] = {host: Curve() for host in range(self._hosts)}
        for line in read(self._path):
            if isinstance(line, EventLine):
                for command in line.commands:
                    if isinstance(command, Accumulate):
                        curves.setdefault(command.worker, Curve()).add(self.opened + line.t, command.samples)
        return [curve for _, curve in sorted(curves.items())]
