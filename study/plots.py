"""Plots: small, light, readable without colour where that can be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import PercentFormatter

from .cells import Cell
from .grid import POLICIES, Problem
from .results import Result
from .tables import Pair

plt.style.use(Path(__file__).parents[1] / "docs" / "results" / "plots.mplstyle")

# Okabe and Ito's palette, which colour-blind readers can tell apart. One hue per policy; ours is blue.
COLOURS = {
    "synchronous": "#222222",
    "asynchronous": "#d55e00",
    "stale": "#e69f00",
    "dynamic": "#b8a000",
    "delayed": "#cc79a7",
    "balanced S=0": "#56b4e9",
    "balanced 5%": "#4b3f99",
    "balanced 10%": "#0072b2",
    "balanced 10% look-ahead": "#0072b2",
    "balanced 25%": "#009e73",
    "balanced 25% look-ahead": "#009e73",
}
MARKS = dict(zip(POLICIES, "os^v*DpPXhd", strict=True))


def _style(policy: str) -> dict[str, Any]:
    return {"color": COLOURS[policy], "linestyle": "--" if "look-ahead" in policy else "-", "label": policy}


def curves(file: Path, title: str, problem: Problem, cells: Sequence[Cell]) -> Path:
    """Test accuracy over time (logarithmic) and over samples: mean over the seeds, and their range."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), sharey=True)
    for cell in cells:
        runs = [result.curve for result in cell.results.values() if result.ok]
        points = list(zip(*runs, strict=False))
        for axis, which in zip(axes, (0, 1), strict=True):
            x = [sum(point[which] for point in same) / len(same) / (1, 1000)[which] for same in points]
            values = [[point[2] or 0.0 for point in same] for same in points]
            axis.plot(x, [sum(some) / len(some) for some in values], **_style(cell.policy))
            axis.fill_between(
                x, [min(some) for some in values], [max(some) for some in values], color=COLOURS[cell.policy], alpha=0.1
            )
    axes[0].set(xscale="log", xlabel="virtual time, s", ylabel="test accuracy", ylim=(0.6, None), title=title)
    axes[1].set(xlabel="samples, thousands", title="the same by samples")
    for axis in axes:
        axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        for target in problem.targets:
            axis.axhline(target, color="#999999", linewidth=0.8, linestyle=":")
    axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _save(figure, file)


def trade(file: Path, panels: Sequence[tuple[str, Sequence[Cell]]]) -> Path:
    """What is gained and what it costs: times as fast as synchronous, against points of final accuracy."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels), 3.4), squeeze=False)
    for axis, (title, cells) in zip(axes[0], panels, strict=True):
        for cell in cells:
            faster, gap = cell.speedup, cell.gap
            if faster is None or gap is None:
                continue
            axis.errorbar(
                faster.mean,
                100 * gap.mean,
                xerr=faster.deviation,
                yerr=100 * gap.deviation,
                marker=MARKS[cell.policy],
                markersize=6,
                color=COLOURS[cell.policy],
                markerfacecolor="none" if "look-ahead" in cell.policy else None,
                linestyle="none",
                elinewidth=0.8,
                label=cell.policy,
            )
        axis.axhline(0, color="#999999", linewidth=0.8)
        axis.set(title=title, xlabel="times as fast as synchronous")
    axes[0][0].set_ylabel("final accuracy less synchronous, points")
    axes[0][-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _save(figure, file)


def staleness(file: Path, title: str, cells: Sequence[Cell]) -> Path:
    """Histograms of staleness in batches, first seed."""
    shown = [
        cell
        for cell in cells
        if "look-ahead" not in cell.policy and any(one.stale_fraction for one in cell.results.values())
    ]
    figure, axes = plt.subplots(1, max(1, len(shown)), figsize=(1.9 * max(1, len(shown)), 2.2), squeeze=False)
    for axis, cell in zip(axes[0], shown, strict=False):
        histogram = next(iter(cell.results.values())).staleness
        axis.bar(
            [batches for batches, _ in histogram], [share for _, share in histogram], 0.25, color=COLOURS[cell.policy]
        )
        axis.set_title(cell.policy, fontsize=8)
        axis.set_xlabel("batches")
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[0][0].set_ylabel("samples")
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    return _save(figure, file)


def utilisation(file: Path, panels: Sequence[tuple[str, Sequence[Cell]]]) -> Path:
    """Samples per second as a share of the limit."""
    figure, axes = plt.subplots(1, len(panels), figsize=(2.6 * len(panels) + 1.2, 2.8), sharey=True, squeeze=False)
    for axis, (title, cells) in zip(axes[0], panels, strict=True):
        names = [cell.policy for cell in cells]
        used = [cell.spread(lambda one: one.utilisation) for cell in cells]
        axis.barh(
            names,
            [one.mean if one else 0.0 for one in used],
            xerr=[one.deviation if one else 0.0 for one in used],
            color=[COLOURS[name] for name in names],
            error_kw={"elinewidth": 0.8},
        )
        axis.set(title=title, xlim=(0, 1), xlabel="utilisation")
        axis.grid(axis="y", visible=False)
    if not axes[0][0].yaxis_inverted():
        axes[0][0].invert_yaxis()
    return _save(figure, file)


def agreement(file: Path, pairs: Sequence[Pair]) -> Path:
    """Accuracy over time: real processes (points) and simulation (lines)."""
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    for policy, real, simulated in pairs:
        axis.plot(*_accuracy(simulated), **_style(policy))
        axis.plot(
            *_accuracy(real),
            linestyle="none",
            marker=MARKS[policy],
            markersize=3.5,
            color=COLOURS[policy],
        )
    axis.set(xscale="log", xlabel="time, s", ylabel="test accuracy", ylim=(0.6, None))
    axis.set_title("real processes (points) and simulation (lines)")
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.legend(loc="lower right")
    return _save(figure, file)


def _accuracy(result: Result) -> tuple[list[float], list[float]]:
    known = [(seconds, accuracy) for seconds, _, accuracy, _ in result.curve if accuracy is not None]
    return [seconds for seconds, _ in known], [accuracy for _, accuracy in known]


def _save(figure: Any, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, metadata={"Software": None})
    plt.close(figure)
    return file
