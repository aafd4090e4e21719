"""Results as plain data, and what is computed from them: shares of the limit, medians and spreads."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .systems import LIMIT

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement; docs/results/bench/README.md has every field with its unit."""

    cluster: str
    workload: str
    system: str
    batch: int
    repetition: int
    samples_per_second: float | None = None
    by_host: tuple[float, ...] = ()
    host_cpu: tuple[float, ...] = ()
    server_cpu: float | None = None
    stale_fraction: float | None = None
    counted_once: bool | None = None
    seconds: float | None = None
    started_after_s: float | None = None
    ended_early: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of some values: the median, and the least and the greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """``None`` of no values.

        >>> Spread.of([3.0, 1.0, 2.0])
        Spread(median=2.0, least=1.0, most=3.0)
        """
        return cls(statistics.median(values), min(values), max(values)) if values else None


@dataclass(frozen=True, slots=True)
class Row:
    """A system on a cluster, over its repetitions; see :class:`Result`.

    Attributes:
        utilisation: samples/s as a share of the limit.
        overhead: part of the hosts' CPU time that computing the samples, as in the limit, does not account for.
    """

    cluster: str
    workload: str
    system: str
    batch: int
    count: int
    samples_per_second: Spread | None
    utilisation: Spread | None
    server_cpu: Spread | None
    overhead: Spread | None
    stale_fraction: Spread | None
    failed: str = ""
    ended_early: str = ""


@dataclass(slots=True)
class Session:
    """Everything that was measured in one go, in the order in which it was measured."""

    plan: str
    machine: dict[str, Any]
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    results: list[Result] = field(default_factory=list)

    def blocks(self) -> list[list[Result]]:
        """The results by cluster and workload, each in order."""
        found: dict[tuple[str, str], list[Result]] = {}
        for result in self.results:
            found.setdefault((result.cluster, result.workload), []).append(result)
        return list(found.values())

    def rows(self) -> list[Row]:
        """One for each system of each block."""
        return [row for block in self.blocks() for row in rows(block)]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "schema": SCHEMA,
            "plan": self.plan,
            "created": self.created,
            "machine": self.machine,
            "rows": [asdict(row) for row in self.rows()],
            "results": [asdict(result) for result in self.results],
        }

    def write(self, path: Path) -> None:
        """Write them as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.to_dict(), indent=1) + "\n")


def rows(block: Sequence[Result]) -> list[Row]:
    """The systems of one block, in the order of their first measurement."""
    limits = neighbours(block)
    measured = [one for one in block if one.system == LIMIT.name and one.host_cpu]
    cost = costs(measured) if measured else []
    names = list(dict.fromkeys(result.system for result in block))
    pairs = list(zip(block, limits, strict=True))
    return [_row([(one, limit) for one, limit in pairs if one.system == name], cost) for name in names]


def neighbours(block: Sequence[Result]) -> list[float | None]:
    """For each measurement the limit at its time: the mean of the last one before it and the first one after it.

    Machines are shared and drift; a limit measured once would not be the limit of all.
    """
    before, last = [], None
    for result in block:
        last = result.samples_per_second if result.system == LIMIT.name and not result.failed else last
        before.append(last)
    after, last = [], None
    for result in reversed(block):
        last = result.samples_per_second if result.system == LIMIT.name and not result.failed else last
        after.append(last)
    return [_mean(pair) for pair in zip(before, reversed(after), strict=True)]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _row(measured: list[tuple[Result, float | None]], cost: Sequence[float]) -> Row:
    first = measured[0][0]
    good = [(result, limit) for result, limit in measured if not result.failed]
    rates = [(one.samples_per_second, limit) for one, limit in good if one.samples_per_second is not None]
    return Row(
        cluster=first.cluster,
        workload=first.workload,
        system=first.system,
        batch=first.batch,
        count=len(good),
        samples_per_second=Spread.of([rate for rate, _ in rates]),
        utilisation=Spread.of([rate / limit for rate, limit in rates if limit]),
        server_cpu=Spread.of([one.server_cpu for one, _ in good if one.server_cpu is not None]),
        overhead=Spread.of([part for one, _ in good if (part := overhead(one, cost)) is not None]),
        stale_fraction=Spread.of([one.stale_fraction for one, _ in good if one.stale_fraction is not None]),
        failed=next((result.failed for result, _ in measured if result.failed), ""),
        ended_early=next((result.ended_early for result, _ in good if result.ended_early), ""),
    )


def costs(limits: Sequence[Result]) -> list[float]:
    """CPU seconds that a sample costs each host, from measurements of the limit."""
    hosts = range(len(limits[0].by_host))
    return [_ratio(sum(one.host_cpu[h] for one in limits), sum(one.by_host[h] for one in limits)) for h in hosts]


def overhead(result: Result, cost: Sequence[float]) -> float | None:
    """Part of the hosts' CPU time that the samples they computed do not account for.

    Their CPU time is all there is: communication, the optimizer, and what a smaller or larger micro-batch costs.

    >>> overhead(Result("c", "w", "s", 8, 0, by_host=(80.0, 40.0), host_cpu=(0.9, 0.5)), [0.01, 0.01])
    0.143
    """
    if not cost or len(result.by_host) != len(cost):
        return None
    spent = sum(result.host_cpu)
    computing = sum(rate * each for rate, each in zip(result.by_host, cost, strict=True))
    return round(1 - computing / spent, 3) if spent > 0 else None


def _ratio(dividend: float, divisor: float) -> float:
    return dividend / divisor if divisor else 0.0
