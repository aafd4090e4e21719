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
    problems: str = ""
    sat_out: tuple[int, ...] = ()
    keys: bool = False
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
        hosts: each host's own samples/s as a share of its own in the limit.
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
    keys: bool = False
    hosts: tuple[Spread | None, ...] = ()
    failed: str = ""
    ended_early: str = ""
    problems: str = ""


@dataclass(slots=True)
class Session:
    """Everything that was measured in one go, in the order in which it was measured.

    Attributes:
        missing: why there are no quotas and hosts pause instead; empty: there are quotas.
        factor: on all measured times.
        name: of the files that it is written to; empty: the plan's.
    """

    plan: str
    machine: dict[str, Any]
    missing: str = ""
    factor: float = 1.0
    name: str = ""
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    results: list[Result] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.name or self.plan

    def blocks(self) -> list[list[Result]]:
        """The results by cluster, workload and batch, each in order."""
        found: dict[tuple[str, str, int], list[Result]] = {}
        for result in self.results:
            found.setdefault((result.cluster, result.workload, result.batch), []).append(result)
        return list(found.values())

    def rows(self) -> list[Row]:
        """One for each system of each block."""
        return [row for block in self.blocks() for row in rows(block)]

    @property
    def sound(self) -> bool:
        """Whether the accounting of all of evener's runs is as it should be."""
        return not any(result.problems for result in self.results)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "schema": SCHEMA,
            "plan": self.plan,
            "created": self.created,
            "machine": self.machine,
            "emulation": "throttle" if self.missing else "quotas",
            "missing": self.missing,
            "factor": self.factor,
            "rows": [asdict(row) for row in self.rows()],
            "results": [asdict(result) for result in self.results],
        }

    def write(self, path: Path, **more: Any) -> None:
        """Write them as JSON, and ``more`` beside them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**self.to_dict(), **more}, indent=1) + "\n")


def rows(block: Sequence[Result]) -> list[Row]:
    """The systems of one block, in the order of their first measurement."""
    limits = neighbours(block)
    own = own_shares(block)
    measured = [one for one in block if one.system == LIMIT.name and one.host_cpu]
    cost = costs(measured) if measured else []
    names = list(dict.fromkeys(result.system for result in block))
    return [_row([all_of for all_of in zip(block, limits, own, strict=True) if all_of[0].system == name], cost)
            for name in names]  # fmt: skip


def neighbours(block: Sequence[Result]) -> list[float | None]:
    """For each measurement the limit at its time: the mean of the last one before it and the first one after it.

    Machines are shared and drift; a limit measured once would not be the limit of all.
    """
    return [_mean(limit.samples_per_second for limit in both) for both in _limits(block)]


def own_shares(block: Sequence[Result]) -> list[tuple[float, ...]]:
    """For each measurement, each host's share of its own rate in the limits at its time; empty where unknown."""
    return [
        tuple(
            rate / limit if (limit := statistics.fmean(one.by_host[host] for one in both)) else 0.0
            for host, rate in enumerate(result.by_host)
        )
        if both and all(len(one.by_host) >= len(result.by_host) for one in both)
        else ()
        for result, both in zip(block, _limits(block), strict=True)
    ]


def _limits(block: Sequence[Result]) -> list[list[Result]]:
    """For each measurement the last limit before it and the first one after it; of a limit, twice itself."""
    good = [place for place, one in enumerate(block) if one.system == LIMIT.name and not one.failed]
    found = []
    for place in range(len(block)):
        before = [block[at] for at in good if at <= place][-1:]
        found.append(before + [block[at] for at in good if at >= place][:1])
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _row(measured: list[tuple[Result, float | None, tuple[float, ...]]], cost: Sequence[float]) -> Row:
    first = measured[0][0]
    good = [(result, limit) for result, limit, _ in measured if not result.failed]
    own = [shares for result, _, shares in measured if not result.failed and shares]
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
        keys=first.keys,
        hosts=tuple(map(Spread.of, zip(*own, strict=True))) if len({len(shares) for shares in own}) == 1 else (),
        failed=next((result.failed for result, *_ in measured if result.failed), ""),
        ended_early=next((result.ended_early for result, _ in good if result.ended_early), ""),
        problems=next((result.problems for result, _ in good if result.problems), ""),
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
