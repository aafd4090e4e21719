"""A record, read once, and everything that the report tells of it. Memory does not grow with the record."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ...trace import Accounting, Checker, Header, record_path, whole
from ..costs import Costs
from ..faults import Faults
from ..levels import ROOM, Levels
from ..series import Series
from ..summary import RunSummary, sum_up
from ..tally import Tally
from ..timeline import Timeline


@dataclass(frozen=True, slots=True)
class Story:
    """One run.

    Attributes:
        label: what the page calls it.
        seconds: until when the record goes; ``begins``: the first grant, from where on things are counted.
        lines: of the record.
    """

    label: str
    header: Header
    summary: RunSummary
    accounting: Accounting
    tally: Tally
    levels: Levels
    costs: Costs
    series: Series
    faults: Faults
    seconds: float
    begins: float
    lines: int

    @property
    def simulated(self) -> bool:
        """Its times are virtual."""
        return self.header.kind == "simulation"


def tell(record: str | os.PathLike[str], label: str = "", room: int = ROOM) -> Story:
    """Read ``record``.

    Args:
        record: a run folder or the record file.
        label: what to call it.
        room: single intervals to keep.

    Raises:
        RecordError: there is no record, or none that this version reads.
    """
    tally, checker, timeline = Tally(), Checker(), Timeline()
    levels, costs, faults, series = Levels(room), Costs(), Faults(), Series(tally)
    lines = 0
    for line in whole(record):
        lines += 1
        tally.update(line)
        checker.feed(line)
        series.feed(line)
        faults.feed(line)
        if over := timeline.feed(line):
            levels.add(over)
            costs.add(over)
    over = timeline.finish()
    levels.add(over)
    costs.add(over)
    accounting = checker.result()
    summary = sum_up(tally, accounting, record)
    assert tally.header is not None  # sum_up() refuses a record without
    begins = tally.first_grant or 0.0
    name = label or record_path(record).parent.resolve().name
    return Story(
        name, tally.header, summary, accounting, tally, levels, costs, series, faults, timeline.now, begins, lines
    )


def labels(records: list[Path]) -> list[str]:
    """A short name for each: the last parts of its path that tell it from the others.

    >>> labels([Path("runs/a"), Path("runs/b")]), labels([Path("x/run"), Path("y/run")])
    (['a', 'b'], ['x/run', 'y/run'])
    """
    parts = [record_path(record).parent.resolve().parts for record in records]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(record) for record in records]
