"""From a run's record to its result."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from evener.core import commands as c
from evener.core import events as e
from evener.observe import summarise
from evener.trace import EventLine, LogNote, NoteLine, read

from .results import Point, Result

BIN = 0.25
"""Width of the staleness histogram's bins, in batches."""


class Reading:
    """What the summary does not have: the curve, and staleness in batches."""

    def __init__(self, record: Path, batch: int) -> None:
        self.batch = batch
        self.start: float | None = None
        self.final_accuracy: float | None = None
        self._losses: dict[int, float | None] = {}
        self._tests: list[LogNote] = []
        self._sizes: dict[int, int] = {}
        self._pushes: dict[tuple[int, int], e.Arrived] = {}
        self._seen: list[tuple[int, int, int]] = []  # samples, step, version
        self._applied = {0: 0}  # version → samples in it
        for line in read(record):
            match line:
                case EventLine(t, event, commands):
                    if isinstance(event, e.Arrived):
                        self._pushes[event.worker, event.push] = event
                    for command in commands:
                        self._obey(command, t)
                case NoteLine(_, LogNote() as log):
                    self._log(log)
                case _:
                    pass

    def _obey(self, command: c.Command, t: float) -> None:
        match command:
            case c.Grant(ticket=ticket, ranges=ranges):
                self.start = t if self.start is None else self.start
                self._sizes[ticket] = sum(stop - start for start, stop in ranges)
            case c.Accumulate(worker, push, step):
                arrived = self._pushes.pop((worker, push))
                for ticket, version in zip(arrived.tickets, arrived.versions, strict=True):
                    self._seen.append((self._sizes[ticket], step, version))
            case c.Step(version=version, samples=samples):
                self._applied[version] = self._applied[version - 1] + samples
            case _:
                pass

    def _log(self, log: LogNote) -> None:
        if log.source == "workers":
            self._losses[log.epoch] = log.values.get("loss")
        if "test_accuracy" in log.values:
            self._tests.append(log)
        self.final_accuracy = log.values.get("final_accuracy", self.final_accuracy)

    def curve(self) -> list[Point]:
        """By evaluation."""
        start = self.start or 0.0
        return [
            (round(log.at - start, 3), log.samples, log.values["test_accuracy"], self._losses.get(log.epoch))
            for log in self._tests
        ]

    def staleness(self) -> list[tuple[float, float]]:
        """``(batches, share)``: samples applied between the version a gradient is of and the one it changes, / B."""
        counts: Counter[float] = Counter()
        for samples, step, version in self._seen:
            missed = self._applied[step] - self._applied[version]
            counts[round(missed / self.batch / BIN) * BIN] += samples
        total = sum(counts.values())
        return [(batches, round(count / total, 5)) for batches, count in sorted(counts.items())]

    def mean_staleness(self) -> float:
        """In batches."""
        total = sum(samples for samples, _, _ in self._seen)
        missed = sum(samples * (self._applied[step] - self._applied[version]) for samples, step, version in self._seen)
        return missed / self.batch / total if total else 0.0


def collect(key: str, label: str, spec: dict[str, Any], record: Path, limit: float, wall_s: float) -> Result:
    """The result of the run whose record is at ``record``; ``limit`` in samples/s.

    Raises:
        RecordError: there is no record.
    """
    summary = summarise(record, limit)
    reading = Reading(record, summary.batch)
    return Result(
        key=key,
        label=label,
        spec=spec,
        ok=summary.ok,
        reason=summary.reason,
        total_s=round(summary.total_s or 0.0, 3),
        samples=summary.samples,
        steps=summary.steps,
        samples_per_second=round(summary.samples_per_second or 0.0, 2),
        limit=round(limit, 2),
        utilisation=round(summary.utilisation or 0.0, 4),
        stale_fraction=round(summary.stale_fraction, 4),
        mean_staleness=round(reading.mean_staleness(), 4),
        staleness=reading.staleness(),
        curve=reading.curve(),
        final_accuracy=reading.final_accuracy,
        workers=[
            (worker.samples, None if worker.busy_fraction is None else round(worker.busy_fraction, 4))
            for worker in summary.workers
        ],
        counted_once=summary.counted_once,
        wall_s=round(wall_s, 1),
        evener=summary.evener,
    )
