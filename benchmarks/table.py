"""Results for people: one table for each cluster, as markdown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from . import clusters, systems
from .results import Row, Session, Spread

COLUMNS = ("system", "samples/s", "of the limit", "server, cores", "hosts' CPU beyond computing", "stale", "n")


def markdown(session: Session) -> str:
    """All of it, with what it ran on."""
    facts = ", ".join(f"{name} {value}" for name, value in session.machine.items())
    lines = [f"# Measured: {session.plan}", "", f"{session.created}. {facts}.", ""]
    lines += ["Medians, and in brackets the least and the greatest of n. How to read this: `benchmarks/README.md`.", ""]
    for (cluster, workload, batch), group in groupby(
        session.rows(), lambda row: (row.cluster, row.workload, row.batch)
    ):
        lines += [f"## {clusters.find(cluster).title}; model `{workload}`, batch {batch}", ""]
        lines += [*table(list(group)), ""]
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of one table, and the reasons of what failed."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(cells(row)) + " |" for row in rows]
    for row in rows:
        for what, why in (("failed", row.failed), ("ended while it was measured", row.ended_early)):
            if why:
                lines += ["", f"{systems.find(row.system).title} {what}:", "", *_indented(why)]
    return lines


def cells(row: Row) -> list[str]:
    """What one line says."""
    return [
        systems.find(row.system).title,
        _text(row.samples_per_second, "{:.0f}") if row.count else "failed",
        _text(row.utilisation, "{:.2f}"),
        _text(row.server_cpu, "{:.2f}"),
        _text(row.overhead, "{:.0%}"),
        _text(row.stale_fraction, "{:.1%}"),
        str(row.count),
    ]


def _text(spread: Spread | None, form: str) -> str:
    if spread is None:
        return ""
    median, least, most = (form.format(value) for value in (spread.median, spread.least, spread.most))
    return median if least == most else f"{median} ({least}–{most})"


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in text.splitlines()]
