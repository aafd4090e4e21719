"""The plot: contributions per second by number of workers, for each size of the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot as plt

from benchmarks.plots import STYLE, errors, save

from .cells import SYSTEMS, millions
from .report import TITLES
from .results import Row

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""From Okabe and Ito's palette, which colour-blind readers can tell apart."""

LINES = {"evener": "-", "bare": ":"}


def draw(file: Path, rows: Sequence[Row]) -> Path:
    """Write the plot."""
    with plt.style.context(STYLE):
        figure, axis = plt.subplots(figsize=(6.4, 4.0))
        sizes = sorted({row.parameters for row in rows})
        for size, colour in zip(sizes, COLOURS, strict=False):
            for system in SYSTEMS:
                here = [row for row in rows if row.parameters == size and row.system == system]
                known = [(row.workers, row.contributions_per_second) for row in here]
                spreads = [(workers, rate) for workers, rate in known if rate is not None]
                axis.errorbar(
                    [workers for workers, _ in spreads],
                    [rate.median for _, rate in spreads],
                    yerr=errors([rate for _, rate in spreads]),
                    color=colour,
                    linestyle=LINES[system],
                    marker="o",
                    markersize=3,
                    elinewidth=0.8,
                    label=f"{millions(size)}, {TITLES[system]}",
                )
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        ticks = sorted({row.workers for row in rows})
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.set(xlabel="workers", ylabel="contributions/s: median, least and greatest")
        axis.legend(fontsize=7, title="parameters", title_fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return save(figure, file)
