"""Results for people: one table for each cluster, as markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from . import clusters, systems
from .goals import Found
from .results import Row, Session, Spread

COLUMNS = (
    "system", "samples/s", "of the limit", "each host, of its own", "server, cores", "hosts' CPU beyond computing",
    "stale", "n",
)  # fmt: skip

GOAL_COLUMNS = ("measure", "goal", "found", "n", "stale", "met", "")
MET = {True: "yes", False: "**no**", None: "open"}

KEYS = "Keys on: connections are authenticated and encrypted, as between machines (CURVE). Other systems have none."

THROTTLED = " (**throttled**: no quotas, hosts pause)"


def markdown(session: Session, goals: Sequence[Found] = ()) -> str:
    """All of it, with what it ran on, and the goals in the end."""
    mark = THROTTLED if session.missing else ""
    facts = ", ".join(f"{name} {value}" for name, value in session.machine.items())
    lines = [f"# Measured: {session.name}", "", f"{session.created}. {facts}.", ""]
    lines += ["Medians, and in brackets the least and the greatest of n. How to read this: `benchmarks/README.md`.", ""]
    if session.missing:
        lines += [f"**Throttled**, and without the peers, since quotas cannot be had here: {session.missing}", ""]
    if session.factor != 1:
        lines += [f"All times are {session.factor:g} of the plan's: goals ask for the plan's own.", ""]
    for (cluster, workload, batch), group in groupby(
        session.rows(), lambda row: (row.cluster, row.workload, row.batch)
    ):
        lines += [f"## {clusters.find(cluster).title}; model `{workload}`, batch {batch}{mark}", ""]
        lines += [*table(list(group)), ""]
    if goals:
        lines += [f"## Goals{mark}", "", *goals_table(goals), ""]
    return "\n".join(lines)


def goals_table(goals: Sequence[Found]) -> list[str]:
    """The lines of the table of goals."""
    lines = ["| " + " | ".join(GOAL_COLUMNS) + " |", "|---" * len(GOAL_COLUMNS) + "|"]
    for one in goals:
        cell = [
            one.measure,
            f"≥ {one.goal:g}",
            text(one.found, "{:.3f}" if one.goal < 1 else "{:.2f}"),
            str(one.count),
            text(one.stale_fraction, "{:.1%}"),
            MET[one.met],
            one.why.replace("|", "/").replace("\n", " "),
        ]
        lines.append("| " + " | ".join(cell) + " |")
    decided = [one for one in goals if one.met is not None]
    return [*lines, "", f"{sum(bool(one.met) for one in decided)} of {len(decided)} goals met."]


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of one table, and the reasons of what failed."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    keyed = any(row.keys for row in rows)
    lines += ["| " + " | ".join(cells(row, keyed)) + " |" for row in rows]
    if keyed:
        lines += ["", KEYS]
    for row in rows:
        for what, why in (
            ("failed", row.failed),
            ("ended while it was measured", row.ended_early),
            ("DID NOT COUNT EACH SAMPLE ONCE", row.problems),
        ):
            if why:
                lines += ["", f"{systems.find(row.system).title} {what}:", "", *_indented(why)]
    return lines


def title(row: Row, keyed: bool) -> str:
    """The system, and where others (``keyed``) have keys, whether it has."""
    system = systems.find(row.system)
    mark = ", **keys on**" if row.keys else ", without keys" if keyed and system.runner != "limit" else ""
    return system.title + mark


def cells(row: Row, keyed: bool = False) -> list[str]:
    """What one line says."""
    return [
        title(row, keyed),
        text(row.samples_per_second, "{:.0f}") if row.count else "failed",
        text(row.utilisation, "{:.3f}"),
        " ".join(f"{share.median:.2f}" for share in row.hosts if share),
        text(row.server_cpu, "{:.2f}"),
        text(row.overhead, "{:.0%}"),
        text(row.stale_fraction, "{:.1%}"),
        str(row.count),
    ]


def text(spread: Spread | None, form: str) -> str:
    """The median, and in brackets the least and the greatest where they differ; nothing of nothing."""
    if spread is None:
        return ""
    median, least, most = (form.format(value) for value in (spread.median, spread.least, spread.most))
    return median if least == most else f"{median} ({least}–{most})"


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
