"""How the charts look: colours that stay apart for colour-blind eyes, on white and on black; one style of figure."""

from __future__ import annotations

from typing import Any, Literal

from bokeh.models import CustomJSTickFormatter, HoverTool, NumeralTickFormatter
from bokeh.plotting import figure

STATES = {
    "computing": "#3b82b8",
    "transferring": "#94cbe8",
    "waiting": "#e6a93c",
    "stalled": "#b8407a",
    "away": "#a5acb5",
}
"""By state: they differ in lightness, too."""

WORKERS = ("#12967a", "#d2622a", "#7b6fd0", "#b58a12", "#c2528b", "#3c8dbc", "#74913a", "#8b929c", "#a5563f", "#2aa5b5")
"""Of lines that stand for workers, in their order."""

RUNS = ("#3b82b8", "#d2622a", "#12967a", "#7b6fd0", "#b58a12", "#c2528b")
DASHES: tuple[Literal["solid", "dashed", "dotdash", "dotted", "dashdot"], ...] = (
    "solid",
    "dashed",
    "dotdash",
    "dotted",
    "dashdot",
    "dashed",
)
"""Of lines that stand for runs: told apart without colours."""

FONT = "12px"

CLOCK = """
const axis = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : 1
const two = (n) => String(Math.floor(n)).padStart(2, "0")
if (axis < 1) return tick.toFixed(Math.min(6, Math.ceil(-Math.log10(axis) + 1e-9))) + " s"
if (tick < 60 && ticks[ticks.length - 1] < 180) return tick.toFixed(0) + " s"
const seconds = Math.round(tick)
if (seconds < 3600) return Math.floor(seconds / 60) + ":" + two(seconds % 60)
return Math.floor(seconds / 3600) + ":" + two(seconds % 3600 / 60) + ":" + two(seconds % 60)
"""
"""Ticks of an axis of seconds: as short as they can be."""


Figure = Any
"""A Bokeh figure: its axes and tools take whatever their kind has, which its types do not say."""


def plot(height: int, tip: dict[str, str] | None = None, x: str = "time", y: str = "", **options: Any) -> Figure:
    """An empty figure in the report's style. It cannot be zoomed.

    Args:
        height: in pixels; it is as wide as there is room.
        tip: what it shows under the pointer: name and a field of the source.
        x: what is on the axis: ``time`` in seconds; or a format as :class:`bokeh.models.NumeralTickFormatter` has it.
        y: a format; then the axis begins at 0.
        options: of the figure.
    """
    made: Figure = figure(
        height=height,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        min_border_left=46,
        min_border_right=14,
        **options,
    )
    for axis in (made.xaxis[0], made.yaxis[0]):
        axis.axis_label_text_font_size = axis.major_label_text_font_size = FONT
        axis.major_label_text_font = axis.axis_label_text_font = "system-ui, sans-serif"
        axis.minor_tick_line_color = axis.major_tick_line_color = None
        axis.axis_label_text_font_style = "normal"
        axis.axis_line_color = None
    made.xgrid.visible = False
    made.yaxis[0].ticker.desired_num_ticks = 4
    made.xaxis[0].ticker.desired_num_ticks = 5
    if x == "time":
        made.xaxis[0].formatter = CustomJSTickFormatter(code=CLOCK)
    elif x:
        made.xaxis[0].formatter = NumeralTickFormatter(format=x)
    if y:
        made.yaxis[0].formatter = NumeralTickFormatter(format=y)
        made.y_range.start = 0
    if tip:
        made.add_tools(HoverTool(tooltips=list(tip.items()), mode="mouse", line_policy="nearest"))
    return made
