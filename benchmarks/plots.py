"""Plots of the results: share of the limit by system, one panel for each cluster, workload and batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt

from . import systems
from .goals import Found
from .results import Row, Session, Spread

STYLE = Path(__file__).parents[1] / "docs" / "results" / "plots.mplstyle"

OURS, THEIRS = "#0072b2", "#999999"
"""From Okabe and Ito's palette, which colour-blind readers can tell apart."""

MET = {True: "#009e73", False: "#d55e00", None: "#999999"}


def draw(folder: Path, session: Session, goals: Sequence[Found]) -> list[Path]:
    """Write the plots of a session; those of which nothing was measured are left out."""
    mark = " (throttled)" if session.missing else ""
    with plt.style.context(STYLE):
        made = [_limit(folder / f"{session.name}-limit.png", session.rows(), mark)]
        made.append(_goals(folder / f"{session.name}-goals.png", goals, mark))
    return [path for path in made if path is not None]


def _limit(file: Path, rows: Sequence[Row], mark: str) -> Path | None:
    shown = [row for row in rows if row.utilisation is not None and row.system != systems.LIMIT.name]
    panels = [(key, list(group)) for key, group in groupby(shown, lambda row: (row.cluster, row.workload, row.batch))]
    if not panels:
        return None
    counts = [len(group) for _, group in panels]
    size = (7.5, 0.25 * sum(counts) + 0.4 * len(panels) + 0.3)
    figure, axes = plt.subplots(len(panels), 1, figsize=size, height_ratios=counts, sharex=True, squeeze=False)
    for axis, ((cluster, workload, batch), group) in zip(axes[:, 0], panels, strict=True):
        spreads = [row.utilisation for row in group if row.utilisation is not None]
        axis.barh(
            [systems.find(row.system).title for row in group],
            [spread.median for spread in spreads],
            xerr=errors(spreads),
            color=[OURS if systems.find(row.system).runner == "evener" else THEIRS for row in group],
            error_kw={"elinewidth": 0.8},
        )
        axis.set_title(f"{cluster}, {workload}, batch {batch}{mark}", fontsize=8, loc="left")
        axis.set(xlim=(0, 1.05), ylim=(len(group) - 0.4, -0.6))
        axis.tick_params(axis="y", labelsize=7)
        axis.axvline(1.0, color="#222222", linewidth=0.8)
        axis.grid(axis="y", visible=False)
    figure.supxlabel("share of the limit: median, least and greatest", fontsize=9)
    figure.tight_layout()
    return save(figure, file)


def _goals(file: Path, goals: Sequence[Found], mark: str) -> Path | None:
    measured = [(one, one.found) for one in goals if one.found is not None]
    if not measured:
        return None
    scaled = [Spread(found.median / one.goal, found.least / one.goal, found.most / one.goal) for one, found in measured]
    figure, axis = plt.subplots(figsize=(6.4, 0.6 + 0.27 * len(scaled)))
    axis.barh(
        [one.measure for one, _ in measured],
        [spread.median for spread in scaled],
        xerr=errors(scaled),
        color=[MET[one.met] for one, _ in measured],
        error_kw={"elinewidth": 0.8},
    )
    axis.axvline(1.0, color="#222222", linewidth=0.8)
    axis.set(title=f"found, as a multiple of the goal (green: met){mark}")
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", visible=False)
    axis.invert_yaxis()
    return save(figure, file)


def errors(spreads: Sequence[Spread]) -> list[list[float]]:
    """How far down and up the bars go, as matplotlib wants it."""
    return [[one.median - one.least for one in spreads], [one.most - one.median for one in spreads]]


def save(figure: Any, file: Path) -> Path:
    """Write it, with nothing in it that differs from one time to the next, and forget it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})
    plt.close(figure)
    return file
