"""Predictions beside measurements: errors, orders, a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.results import Spread

from .measure import Run, load, profiles
from .plan import POLICIES, SOURCE, Case
from .predict import Window, from_profiles, from_record, joined_last, median, origin, simulated, window_of

GOAL = 0.05
"""The most that a prediction may be beside the measured median, as a part of it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A policy on a cluster.

    Attributes:
        measured: samples/s; ``None``: no run succeeded.
        by_profile, by_record: samples/s, predicted; ``None`` without a record.
        hosts: samples/s by host: measured (the median of each), by profile, by record.
        problems: what was wrong with its runs, in words.
    """

    cluster: str
    policy: str
    count: int
    measured: Spread | None
    by_profile: float
    by_record: float | None
    hosts: dict[str, list[float]]
    problems: tuple[str, ...] = ()

    def error(self, predicted: float | None) -> float | None:
        """Of a prediction, as a part of the measured median."""
        if predicted is None or self.measured is None or not self.measured.median:
            return None
        return predicted / self.measured.median - 1.0


def rows(case: Case, folder: Path, factor: float) -> list[Row]:
    """Predict a cluster's policies, and put beside them what was measured; all of it from what a folder holds."""
    everything = load(folder)
    runs = [run for run in everything if not run.failed]
    found = profiles(folder / "profile", len(case.cluster.shares))
    window = window_of(case, factor)
    records = []
    for run in runs:
        if run.policy == SOURCE:
            seen = Window(run.record_s - origin(folder / run.folder), run.seconds)
            records.append((from_record(folder / run.folder), seen))
    made = []
    for policy in POLICIES:
        mine = [run for run in runs if run.policy == policy]
        joined = _joined(case, folder, mine, window)
        profiled = simulated(from_profiles(case, found, window, joined), policy, case.batch, window)
        predicted = [simulated(recorded, policy, case.batch, seen) for recorded, seen in records]
        by_record = _each([list(rates) for rates in predicted])
        hosts = {"measured": _hosts(mine), "by_profile": [*profiled], "by_record": by_record}
        made.append(
            Row(
                case.cluster.name,
                policy,
                len(mine),
                Spread.of([run.samples_per_second for run in mine]),
                sum(profiled),
                median([sum(rates) for rates in predicted]) if predicted else None,
                {name: [round(rate, 1) for rate in rates] for name, rates in hosts.items()},
                tuple(run.failed or run.problems for run in everything if run.policy == policy and _wrong(run)),
            )
        )
    return made


def _wrong(run: Run) -> bool:
    return bool(run.failed or run.problems)


def _joined(case: Case, folder: Path, runs: Sequence[Run], window: Window) -> float | None:
    """When a host that was started again joined: how long a script takes to start is not the simulator's to say."""
    at = [one.at for one in case.cluster.happenings if one.what == "start"]
    if not at:
        return None
    after = [
        joined_last(folder / run.folder) + origin(folder / run.folder) - run.record_s - at[-1] * run.seconds
        for run in runs
    ]
    return window.start + at[-1] * window.seconds + max(0.0, median(after))


def _hosts(runs: Sequence[Run]) -> list[float]:
    return _each([run.by_host for run in runs])


def _each(rates: Sequence[Sequence[float]]) -> list[float]:
    """The median of each host's, where it was there."""
    longest = max(map(len, rates), default=0)
    return [median([some[host] for some in rates if host < len(some)]) for host in range(longest)]


def same_order(measured: Mapping[str, float], predicted: Mapping[str, float]) -> bool:
    """Whether all pairs of policies whose medians differ by more than the goal come in the same order.

    >>> same_order({"a": 100, "b": 50, "c": 49}, {"a": 90, "b": 48, "c": 50})
    True
    >>> same_order({"a": 100, "b": 50}, {"a": 50, "b": 60})
    False
    """
    return all(
        (measured[a] - measured[b]) * (predicted[a] - predicted[b]) > 0
        for a, b in combinations(measured, 2)
        if abs(measured[a] - measured[b]) > GOAL * max(measured[a], measured[b])
    )


def write(folder: Path, cases: Sequence[Case], made: Sequence[Row], facts: dict[str, Any]) -> str:
    """Write JSON and page into a folder; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {**facts, "rows": [{**asdict(row), "errors": _errors(row)} for row in made]}
    (folder / "agreement.json").write_text(json.dumps(plain, indent=1) + "\n")
    page = _page(cases, made, facts)
    (folder / "README.md").write_text(page)
    return page


def _errors(row: Row) -> dict[str, float | None]:
    return {name: row.error(value) for name, value in (("profile", row.by_profile), ("record", row.by_record))}


def _page(cases: Sequence[Case], made: Sequence[Row], facts: dict[str, Any]) -> str:
    machine = ", ".join(f"{key} {value}" for key, value in facts["machine"].items())
    lines = [
        "# Simulated and real",
        "",
        "`python -m benchmarks.agreement` made this page: [what is measured, and how](../../../benchmarks/README.md).",
        f"Model `{facts['workload']}`, {facts['repetitions']} interleaved repetitions; medians, and in brackets the",
        "least and the greatest. In bold: within 5% of the median.",
        "",
        f"Measured on {facts['created']}: {machine}.",
        "",
        "| cluster | policy | measured, samples/s | by profile | error | by record | error |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in made:
        spread = row.measured
        measured = f"{spread.median:.0f} ({spread.least:.0f}–{spread.most:.0f})" if spread else "failed"
        record = "" if row.by_record is None else f"{row.by_record:.0f}"
        cells = [row.cluster, row.policy, measured, f"{row.by_profile:.0f}", _percent(row.error(row.by_profile))]
        lines.append(f"| {' | '.join([*cells, record, _percent(row.error(row.by_record))])} |")
    lines += ["", "Order of the policies, the fastest first:", "", "| cluster | measured | by profile | by record |"]
    lines += ["|---|---|---|---|"]
    for case in cases:
        lines.append(_ordered(case.cluster.name, [row for row in made if row.cluster == case.cluster.name]))
    lines += ["", "Clusters:", ""]
    lines += [f"- `{one.cluster.name}`: {one.cluster.title}; batch {one.batch}" for one in cases]
    for name, errors in (("profile", [_errors(row)["profile"] for row in made]),
                         ("record", [_errors(row)["record"] for row in made])):  # fmt: skip
        known = [abs(error) for error in errors if error is not None]
        if known:
            within = sum(error <= GOAL for error in known)
            lines += ["", f"By {name}: {within} of {len(known)} within 5%; the largest error is {max(known):.0%}."]
    wrong = [f"- {row.cluster}, {row.policy}: {problem}" for row in made for problem in row.problems]
    lines += ["", "What went wrong:", "", *wrong] if wrong else []
    return "\n".join(lines) + "\n"


def _ordered(cluster: str, mine: Sequence[Row]) -> str:
    measured = {row.policy: row.measured.median for row in mine if row.measured}
    cells = [_names(measured)]
    for predicted in (
        {row.policy: row.by_profile for row in mine if row.measured},
        {row.policy: row.by_record for row in mine if row.measured and row.by_record is not None},
    ):
        if len(predicted) < len(measured):
            cells.append("")
            continue
        cells.append("the same" if same_order(measured, predicted) else f"**{_names(predicted)}**")
    return f"| {' | '.join([cluster, *cells])} |"


def _names(rates: Mapping[str, float | None]) -> str:
    return ", ".join(sorted(rates, key=lambda name: -(rates[name] or 0.0)))


def _percent(error: float | None) -> str:
    if error is None:
        return ""
    text = f"{error:+.1%}"
    return f"**{text}**" if abs(error) <= GOAL else text
