"""Measurements, and what follows from them: rates, CPU time per step, and the ratio of the two systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.results import Spread

from .cells import GOAL, SYSTEMS, Cell

AT_MOST = 1.5
"""What the goal allows: the server's CPU time per step, as a multiple of the bare loop's."""

MEASURE = f"server CPU per step, {GOAL.workers} workers, 2M parameters: times the bare loop's"


class Result(NamedTuple):
    """One measurement; docs/results/bench/README.md has every field with its unit."""

    workers: int
    parameters: int
    system: str
    repetition: int
    steps: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    busiest_thread: float = 0.0
    busiest_thread_wanted: float = 0.0
    clients_cores: float = 0.0
    counted_once: bool | None = None
    problems: str = ""
    failed: str = ""

    @property
    def cell(self) -> Cell:
        """Of the grid."""
        return Cell(self.workers, self.parameters)

    @property
    def contributions_per_second(self) -> float:
        """Over all workers."""
        return self.workers * self.steps / self.seconds

    @property
    def gigabytes_per_second(self) -> float:
        """In and out, at the server, in 1e9 bytes."""
        return self.cell.step_bytes * self.steps / self.seconds / 1e9

    @property
    def cpu_ms_per_step(self) -> float:
        """Of the server, all its threads."""
        return 1000 * self.cpu_s / self.steps

    @property
    def cores(self) -> float:
        """That the server used."""
        return self.cpu_s / self.seconds

    @property
    def one_core_limit(self) -> float:
        """Contributions/s if the busiest thread, which is one, never waited for anything.

        >>> Result(4, 1000, "bare", 0, steps=10, seconds=2.0, busiest_thread=0.5).one_core_limit
        40.0
        """
        return self.contributions_per_second / self.busiest_thread


@dataclass(frozen=True, slots=True)
class Row:
    """A system in a cell, over its repetitions; see :class:`Result`.

    Attributes:
        ratio: CPU time per step, as a multiple of the bare loop's in the same repetition (evener's rows).
    """

    workers: int
    parameters: int
    system: str
    count: int
    steps_per_second: Spread | None
    contributions_per_second: Spread | None
    gigabytes_per_second: Spread | None
    cpu_ms_per_step: Spread | None
    cpu_ms_per_contribution: Spread | None
    cores: Spread | None
    busiest_thread: Spread | None
    busiest_thread_wanted: Spread | None
    one_core_limit: Spread | None
    clients_cores: Spread | None
    ratio: Spread | None
    problems: str = ""
    failed: str = ""

    @property
    def cell(self) -> Cell:
        """Of the grid."""
        return Cell(self.workers, self.parameters)


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal, and what was found: ``met`` is about the median, and false if the accounting did not hold."""

    measure: str
    at_most: float
    found: Spread | None
    count: int
    met: bool | None
    why: str


def rows(results: Sequence[Result]) -> list[Row]:
    """One for each system in each cell, by size and then by workers."""
    cells = sorted({one.cell for one in results}, key=lambda cell: (cell.parameters, cell.workers))
    return [
        _row([one for one in results if one.cell == cell and one.system == system], results)
        for cell in cells
        for system in SYSTEMS
        if any(one.cell == cell and one.system == system for one in results)
    ]


def ratios(cell: Cell, results: Sequence[Result]) -> list[float]:
    """Evener's CPU time per step as a multiple of the bare loop's, in each repetition that has both."""
    here = {(one.system, one.repetition): one.cpu_ms_per_step for one in results if one.cell == cell and not one.failed}
    pairs = [(value, here.get(("bare", repetition))) for (system, repetition), value in here.items()
             if system == "evener"]  # fmt: skip
    return [value / bare for value, bare in pairs if bare]


def goal(results: Sequence[Result]) -> Goal:
    """Hold the goal against its cell."""
    values = ratios(GOAL, results)
    found = Spread.of(values)
    here = [one for one in results if one.cell == GOAL]
    wrong = next((one.problems or one.failed for one in here if one.problems or one.failed), "")
    met = None if found is None else found.median <= AT_MOST and not wrong
    return Goal(MEASURE, AT_MOST, found, len(values), met, wrong)


def _row(measured: Sequence[Result], results: Sequence[Result]) -> Row:
    first = measured[0]
    good = [one for one in measured if not one.failed]

    def spread(of: Callable[[Result], float]) -> Spread | None:
        return Spread.of([round(of(one), 4) for one in good])

    return Row(
        workers=first.workers,
        parameters=first.parameters,
        system=first.system,
        count=len(good),
        steps_per_second=spread(lambda one: one.steps / one.seconds),
        contributions_per_second=spread(lambda one: one.contributions_per_second),
        gigabytes_per_second=spread(lambda one: one.gigabytes_per_second),
        cpu_ms_per_step=spread(lambda one: one.cpu_ms_per_step),
        cpu_ms_per_contribution=spread(lambda one: one.cpu_ms_per_step / one.workers),
        cores=spread(lambda one: one.cores),
        busiest_thread=spread(lambda one: one.busiest_thread),
        busiest_thread_wanted=spread(lambda one: one.busiest_thread_wanted),
        one_core_limit=spread(lambda one: one.one_core_limit),
        clients_cores=spread(lambda one: one.clients_cores),
        ratio=Spread.of([round(one, 3) for one in ratios(first.cell, results)]) if first.system == "evener" else None,
        problems=next((one.problems for one in good if one.problems), ""),
        failed=next((one.failed for one in measured if one.failed), ""),
    )
