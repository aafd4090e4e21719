"""The charts of the report, as Bokeh figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from bokeh.models import ColumnDataSource, CustomJS, FixedTicker, PanTool, Range1d, WheelZoomTool
from numpy.typing import NDArray

from ..series import Bins
from .look import DASHES, RUNS, WORKERS, Figure, plot
from .story import Story

LANES = 60
"""Workers with a lane in the timeline."""

LINES = len(WORKERS)
"""Workers with a line of their own."""

COARSE = 120
"""Points of a line over time."""

METRICS = 6
"""Logged values with charts, two for each."""

MOST = 30
"""Staleness above which samples are counted together."""

LANE = 30
"""Height of a lane in pixels, when there are few."""


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a chart's legend."""

    name: str
    color: str
    dash: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure with what is said above and below it."""

    title: str
    figure: Figure
    keys: tuple[Key, ...] = ()
    note: str = ""


def lanes(story: Story) -> list[int]:
    """The workers that get a lane: all, or those that waited longest."""
    workers = story.levels.workers
    if len(workers) <= LANES:
        return workers
    lost = {worker: story.costs.workers[worker].states.get("computing", 0.0) for worker in workers}
    return sorted(sorted(workers, key=lambda worker: lost[worker])[:LANES])


def timeline(story: Story, number: int, shown: Sequence[int], end: float) -> Figure:
    """An empty timeline up to ``end`` (s): the page's script fills it, again after each zoom."""
    each = LANE if len(shown) <= 16 else 16
    made = plot(
        height=len(shown) * each + 46,
        x_range=Range1d(start=0.0, end=end, bounds=(0.0, end), min_interval=end / 1e7),
        y_range=Range1d(start=len(shown), end=0),
        name=f"timeline{number}",
    )
    made.yaxis[0].ticker = FixedTicker(ticks=[row + 0.5 for row in range(len(shown))])
    names = {row + 0.5: str(worker) for row, worker in enumerate(shown)}
    made.yaxis[0].major_label_overrides = names
    made.yaxis[0].axis_label = "worker"
    made.ygrid.visible = False
    empty: dict[str, list[float]] = {"left": [], "right": [], "top": [], "bottom": []}
    quads = ColumnDataSource({**empty, "color": []}, name=f"quads{number}")
    mark = ColumnDataSource({**empty}, name=f"mark{number}")
    made.quad("left", "right", "top", "bottom", fill_color="color", line_color=None, source=quads)
    made.quad("left", "right", "top", "bottom", fill_alpha=0, line_color="#d2222a", line_width=2, source=mark)
    pan = PanTool(dimensions="width")
    wheel = WheelZoomTool(dimensions="width", modifiers={"ctrl": True})
    made.add_tools(pan, wheel)
    made.toolbar.active_drag, made.toolbar.active_scroll = pan, wheel
    made.js_on_event("tap", CustomJS(code=f"window.timelines[{number}].tap(cb_obj.x, cb_obj.y)"))
    made.js_on_event("doubletap", CustomJS(code=f"window.timelines[{number}].zoom(0.25, cb_obj.x)"))
    moved = CustomJS(code=f"window.timelines[{number}]?.moved()")
    made.x_range.js_on_change("start", moved)
    made.x_range.js_on_change("end", moved)
    return made


Values = NDArray[np.float64]


def coarse(bins: Bins, kind: int, group: int, count: int) -> Values:
    """``count`` sums of ``group`` neighbouring bins each."""
    sums = np.zeros(group * count)
    values = np.asarray(bins.of(kind))[: group * count]
    sums[: len(values)] = values
    made: Values = sums.reshape(count, group).sum(axis=1)
    return made


@dataclass(frozen=True, slots=True)
class _Grid:
    """The points of a run's lines over time: their middles, the seconds of each, and the bins that it sums."""

    middles: Values
    seconds: Values
    group: int

    @property
    def count(self) -> int:
        return len(self.middles)


def _grid(story: Story, most: int = COARSE) -> _Grid:
    """Points with several steps from one to the next, so that lines show trends and not single steps."""
    flow = story.series.flow
    for bins in story.series.workers.values():
        bins.coarsen(flow.width)
    points = int(np.clip(story.summary.steps / 4, 12, most))
    group = max(1, -(-flow.used // points))
    count = -(-flow.used // group)
    width = flow.width * group
    edges = np.arange(count + 1) * width
    # The first and the last point last as long as the run does, no longer.
    ends = np.clip(edges, story.begins, max(story.begins, story.seconds))
    return _Grid((edges[:-1] + edges[1:]) / 2, np.maximum(np.diff(ends), 1e-9), group)


def _limits(stories: Sequence[Story]) -> Range1d:
    return Range1d(start=0.0, end=max(max(story.seconds for story in stories), 1e-3))


def _source(x: Values, y: Values, name: str) -> ColumnDataSource:
    return ColumnDataSource({"x": x, "y": y, "name": [name] * len(x)})


def _line(made: Figure, source: ColumnDataSource, number: int, dots: int = 3) -> None:
    """The line of a run; with ``dots`` points or fewer they show, too."""
    made.line("x", "y", source=source, line_color=RUNS[number], line_dash=DASHES[number], line_width=2)
    if len(source.data["x"]) <= dots:
        made.scatter("x", "y", source=source, color=RUNS[number], size=5)


def run_keys(stories: Sequence[Story]) -> tuple[Key, ...]:
    """A legend of runs; none for one."""
    return tuple(Key(story.label, RUNS[i]) for i, story in enumerate(stories)) if len(stories) > 1 else ()


def throughput(stories: Sequence[Story]) -> Chart:
    """Samples/s that were applied, a line for each run."""
    tip = {"": "@name", "samples/s": "@y{0,0}", "at": "@x{0.0} s"}
    made = plot(190, tip, y="0,0", x_range=_limits(stories))
    for number, story in enumerate(stories):
        grid = _grid(story)
        rate = coarse(story.series.flow, 0, grid.group, grid.count) / grid.seconds
        whole = grid.seconds > grid.seconds.max(initial=0.0) / 4
        _line(made, _source(grid.middles[whole], rate[whole], story.label), number)
    return Chart("Samples applied each second", made, run_keys(stories))


def few(story: Story) -> list[int]:
    """The workers that get a line: those that did most."""
    done = {worker: work.samples for worker, work in story.tally.workers.items() if worker in story.series.workers}
    return sorted(sorted(done, key=lambda worker: -done[worker])[:LINES])


def _of_workers(title: str, made: Figure, story: Story, shown: Sequence[int]) -> Chart:
    keys = tuple(Key(f"worker {worker}", color) for worker, color in zip(shown, WORKERS, strict=False))
    everybody = len(story.series.workers)
    note = "" if len(shown) == everybody else f"The {len(shown)} of {everybody:,} workers that did most."
    return Chart(title, made, keys, note)


def pace(story: Story) -> Chart:
    """Samples/s of each worker while it computes."""
    shown = few(story)
    made = plot(190, {"": "@name", "samples/s": "@y{0,0.0}", "at": "@x{0.0} s"}, y="0,0", x_range=_limits([story]))
    grid = _grid(story)
    for worker, color in zip(shown, WORKERS, strict=False):
        bins = story.series.workers[worker]
        computed, seconds = (coarse(bins, kind, grid.group, grid.count) for kind in (1, 2))
        known = (seconds > 0) & (computed > 0)
        source = _source(grid.middles[known], computed[known] / seconds[known], f"worker {worker}")
        made.line("x", "y", source=source, line_color=color, line_width=2)
        if known.sum() <= 3:
            made.scatter("x", "y", source=source, color=color, size=5)
    return _of_workers("Pace: samples each second of computing", made, story, shown)


def share(story: Story) -> Chart:
    """Each worker's part of the samples that were applied."""
    shown = few(story)
    made = plot(190, y="0%", x_range=_limits([story]), y_range=Range1d(start=0, end=1))
    grid = _grid(story)
    total = coarse(story.series.flow, 0, grid.group, grid.count)
    known = total > 0
    floor = np.zeros(int(known.sum()))
    for worker, color in zip(shown, WORKERS, strict=False):
        own = coarse(story.series.workers[worker], 0, grid.group, grid.count)
        top = floor + own[known] / total[known]
        made.varea(x=grid.middles[known], y1=floor, y2=top, fill_color=color, fill_alpha=0.8)
        floor = top
    return _of_workers("Share of the samples", made, story, shown)


def stale(stories: Sequence[Story]) -> Chart:
    """The stale fraction over time."""
    tip = {"": "@name", "stale": "@y{0.0%}", "at": "@x{0.0} s"}
    made = plot(190, tip, y="0%", x_range=_limits(stories))
    for number, story in enumerate(stories):
        grid = _grid(story)
        applied, old = (coarse(story.series.flow, kind, grid.group, grid.count) for kind in (0, 1))
        known = applied > 0
        _line(made, _source(grid.middles[known], old[known] / applied[known], story.label), number)
    made.y_range.min_interval = 0.05
    return Chart("Stale fraction over time", made, run_keys(stories))


def staleness(stories: Sequence[Story]) -> Chart:
    """How stale samples were."""
    most = min(max((level for story in stories for level in story.tally.staleness), default=0), MOST)
    tip = {"": "@name", "steps behind": "@s", "of the samples": "@top{0.0%}"}
    levels = range(most + 1)
    made = plot(190, tip, x="0", y="0%", x_range=Range1d(start=-0.6, end=max(most, 3) + 0.6))
    count = len(stories)
    for number, story in enumerate(stories):
        seen = story.tally.staleness
        total = max(1, sum(seen.values()))
        part = [seen.get(level, 0) / total for level in levels]
        part[most] = sum(samples for level, samples in seen.items() if level >= most) / total
        x = [level + (number - (count - 1) / 2) * 0.7 / count for level in levels]
        names = [f"{level} or more" if level == MOST else str(level) for level in levels]
        source = ColumnDataSource({"x": x, "top": part, "s": names, "name": [story.label] * len(x)})
        made.vbar("x", top="top", width=0.6 / count, source=source, fill_color=RUNS[number], line_color=None)
    made.xaxis[0].ticker.min_interval = 1
    made.xaxis[0].axis_label = "steps behind"
    return Chart("Samples by their staleness", made, run_keys(stories))


def learned(stories: Sequence[Story]) -> list[Chart]:
    """Each logged value over time, and over samples: the server's evaluations first."""
    names = sorted({key for story in stories for key in story.series.logged}, key=lambda key: (key[0] != "server", key))
    return [_logged(stories, key, over) for key in names[:METRICS] for over in ("time", "samples")]


def _logged(stories: Sequence[Story], key: tuple[str, str], over: str) -> Chart:
    at = "@x{0.0} s" if over == "time" else "@x{0,0}"
    made = plot(200, {"": "@name", "value": "@y{0.0000}", over: at}, x="time" if over == "time" else "0.[0]a")
    for number, story in enumerate(stories):
        curve = story.series.logged.get(key)
        points = np.array(curve.points if curve else []).reshape(-1, 3)
        _line(made, _source(points[:, 0 if over == "time" else 1], points[:, 2], story.label), number, dots=60)
    made.x_range.start = 0
    who = "" if key[0] == "server" else ", mean of the workers"
    return Chart(f"{key[1]} over {over}{who}", made, run_keys(stories))
