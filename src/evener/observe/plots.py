"""Pictures of a comparison. Needs matplotlib, which is no dependency: whoever calls this says so."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import commands as c
from ..trace import EventLine, LogNote, NoteLine, whole
from .compare import Compared

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = "compare"
STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "svg.hashsalt": "evener",
}
COLOURS = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BBBBBB")
"""Paul Tol's bright scheme: told apart by the colour-blind, too."""


def draw(runs: Sequence[Compared], folder: Path) -> list[Path]:
    """Draw the comparison into ``folder``, as PNG and SVG; returns the files.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    courses = [_accuracies(one) for one in runs]
    learnt = any(len(course) > 1 for course in courses)
    with pyplot.rc_context(STYLE):
        height = 1.6 + 0.36 * len(runs)
        figure, axes = pyplot.subplots(2, 2, figsize=(10, 2 * height + 0.6), layout="constrained")
        limited = any(one.run.utilisation is not None for one in runs)
        if limited:
            _bars(axes[0, 0], runs, [one.run.utilisation or 0.0 for one in runs], "utilisation: part of the limit", 1.0)
        else:
            _bars(axes[0, 0], runs, [one.rate for one in runs], "samples/s")
        _bars(axes[0, 1], runs, [one.run.stale_fraction for one in runs], "stale fraction of the samples", 1.0)
        _spread(axes[1, 0], runs)
        if learnt:
            _courses(axes[1, 1], runs, courses)
        else:
            _bars(axes[1, 1], runs, [one.run.total_s or 0.0 for one in runs], "total time, s")
        files = [folder / f"{NAME}.png", folder / f"{NAME}.svg"]
        for file in files:
            figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
        pyplot.close(figure)
    return files


def _labels(runs: Sequence[Compared]) -> list[str]:
    return [f"{one.label}, changed" if one.change else one.label for one in runs]


def _colours(runs: Sequence[Compared]) -> list[str]:
    """One for each policy; the same policy on the changed cluster has the same."""
    labels = list(dict.fromkeys(one.label for one in runs))
    return [COLOURS[labels.index(one.label) % len(COLOURS)] for one in runs]


def _bars(axes: Axes, runs: Sequence[Compared], values: Sequence[float], title: str, most: float | None = None) -> None:
    places = range(len(runs))
    drawn = axes.barh(places, values, color=_colours(runs))
    axes.bar_label(drawn, [f"{value:.2f}" if value < 10 else f"{value:,.0f}" for value in values], padding=3)
    _rows(axes, runs, title)
    top = max([*values, 1e-9]) if most is None else most
    axes.set_xlim(0, top * 1.15)


def _spread(axes: Axes, runs: Sequence[Compared]) -> None:
    """A mark for each worker."""
    for place, (one, colour) in enumerate(zip(runs, _colours(runs), strict=True)):
        waits = [w.waiting_fraction for w in one.run.workers if w.waiting_fraction is not None]
        axes.plot(waits, [place] * len(waits), "o", color=colour, alpha=0.7, markersize=6)
    _rows(axes, runs, "waiting: part of each worker's time (a mark each)")
    axes.set_xlim(-0.03, 1.05)


def _rows(axes: Axes, runs: Sequence[Compared], title: str) -> None:
    axes.set_yticks(range(len(runs)), _labels(runs))
    axes.set_ylim(len(runs) - 0.5, -0.5)
    axes.set_title(title, loc="left", fontsize=9)
    axes.grid(axis="x", alpha=0.3)


def _courses(axes: Axes, runs: Sequence[Compared], courses: Sequence[Sequence[tuple[float, float]]]) -> None:
    for one, course, colour in zip(runs, courses, _colours(runs), strict=True):
        line: Any = "--" if one.change else "-"
        axes.plot([at for at, _ in course], [value for _, value in course], line, color=colour, label=one.label)
    axes.set_title("test accuracy over time, s", loc="left", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _accuracies(one: Compared) -> list[tuple[float, float]]:
    """Test accuracies with their times since the first grant."""
    if one.run.test_accuracy is None:
        return []
    start: float | None = None
    found = []
    for line in whole(one.run.record):
        if start is None and isinstance(line, EventLine) and any(isinstance(k, c.Grant) for k in line.commands):
            start = line.t
        if isinstance(line, NoteLine) and isinstance(line.note, LogNote) and line.note.source == "server":
            value = line.note.values.get("test_accuracy")
            if value is not None:
                found.append((line.note.at - (start or 0.0), value))
    return found
