"""Results for people: the table, the JSON, the plot, and the figures in a page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.results import Spread
from benchmarks.table import MET, text

from .cells import GRID, Cell, millions
from .results import Goal, Result, Row, goal, rows
from .servers import POLICY

SCHEMA = 1
NAME = "server"
TITLES = {"evener": "evener", "bare": "bare loop"}
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "size-a-server.md"
"""Has a place for the figures: between the markers of a block called ``server``."""

COLUMNS = (
    "workers", "system", "steps/s", "contributions/s", "GB/s, in and out", "server CPU, ms/step", "× bare",
    "ms/contribution", "server, cores", "busiest thread: ran, wanted to", "clients, cores", "n",
)  # fmt: skip


def write(results: Sequence[Result], machine: Mapping[str, Any], folder: Path, plan: str = NAME) -> str:
    """Write JSON and table to ``folder``; returns the table."""
    found, held = rows(results), goal(results)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = {
        "schema": SCHEMA,
        "plan": plan,
        "created": created,
        "machine": dict(machine),
        "policy": POLICY,
        "left_out": [[cell.workers, cell.parameters] for cell in left_out()] if plan == NAME else [],
        "results": [one._asdict() for one in results],
        "rows": [asdict(row) for row in found],
        "goals": [asdict(held)],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{plan}.json").write_text(json.dumps(content, indent=1) + "\n")
    page = markdown(found, held, machine, created, plan)
    (folder / f"{plan}.md").write_text(page)
    return page


def markdown(found: Sequence[Row], held: Goal, machine: Mapping[str, Any], created: str, plan: str = NAME) -> str:
    """All that there is to say."""
    facts = ", ".join(f"{name} {value}" for name, value in machine.items())
    lines = ["# Measured: the server's own limit", "", f"{created}. {facts}.", ""]
    lines += [
        f"Evener's policy: `{POLICY}`. Medians, and in brackets the least and the greatest of n. "
        "How to read this: `benchmarks/README.md`.",
        "",
    ]
    for parameters, group in groupby(found, lambda row: row.parameters):
        lines += [f"## {millions(parameters)} parameters", "", *table(list(group)), ""]
    if (left := left_out()) and plan == NAME:
        lines += [f"Left out, since the gradients of a step would be too many bytes for a machine like this: "
                  f"{', '.join(map(str, left))} parameters (workers × size).", ""]  # fmt: skip
    lines += ["## Goal", "", "| measure | goal | found | n | met | |", "|---|---|---|---|---|---|"]
    why = held.why.replace("|", "/").replace("\n", " ")
    lines += [f"| {held.measure} | ≤ {held.at_most:g} | {text(held.found, '{:.2f}')} | {held.count} | {MET[held.met]} "
              f"| {why} |", ""]  # fmt: skip
    return "\n".join(lines)


def left_out() -> list[Cell]:
    """Cells of the grid that are not measured."""
    return [cell for cell in GRID if cell.too_large]


def table(group: Sequence[Row]) -> list[str]:
    """The lines of one size's table, and the reasons of what failed."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|--:|---" + "|--:" * (len(COLUMNS) - 2) + "|"]
    for row in group:
        busy = row.busiest_thread, row.busiest_thread_wanted
        cells = [
            str(row.workers),
            TITLES[row.system],
            _text(row.steps_per_second),
            _text(row.contributions_per_second) if row.count else "failed",
            text(row.gigabytes_per_second, "{:.2f}"),
            _text(row.cpu_ms_per_step),
            text(row.ratio, "{:.2f}"),
            _median(row.cpu_ms_per_contribution),
            _median(row.cores, "{:.2f}"),
            ", ".join(_median(one, "{:.0%}") for one in busy),
            _median(row.clients_cores, "{:.2f}"),
            str(row.count),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    for row in group:
        for what, why in (("failed", row.failed), ("DID NOT COUNT EACH CONTRIBUTION ONCE", row.problems)):
            if why:
                lines += ["", f"{TITLES[row.system]}, {row.workers} workers, {what}: {why}"]
    return lines


def figures(found: Sequence[Row]) -> str:
    """For the page: what evener's server takes at most, by size of the model."""
    lines = [
        "| parameters | contributions/s, at most | GB/s then, in and out | with workers | server CPU, ms/contribution "
        "| × the bare loop's | contributions/s, were the busiest thread never to wait |",
        "|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for parameters, group in groupby(found, lambda row: row.parameters):
        ours = [(row, row.contributions_per_second) for row in group if row.system == "evener"]
        known = [(row, rate.median) for row, rate in ours if rate is not None]
        if not known:
            continue
        best, _ = max(known, key=lambda pair: pair[1])
        cells = [
            millions(parameters),
            _median(best.contributions_per_second),
            _median(best.gigabytes_per_second, "{:.2f}"),
            str(best.workers),
            _median(best.cpu_ms_per_contribution),
            _median(best.ratio, "{:.2f}"),
            _median(best.one_core_limit),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def block(found: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """What stands between the page's markers."""
    return f"{figures(found)}\n\nMeasured on {machine['cores']} cores ({machine['cpu']}), which the clients share."


def _form(spread: Spread) -> str:
    """Three digits, and none behind the point where there are more before it."""
    return "{:.3g}" if spread.most < 999 else "{:.0f}"


def _text(spread: Spread | None) -> str:
    return "" if spread is None else text(spread, _form(spread))


def _median(spread: Spread | None, form: str = "") -> str:
    return "" if spread is None else (form or _form(spread)).format(spread.median)
