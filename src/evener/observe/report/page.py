"""Puts the page together: one file with everything in it, that asks nobody for anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from html import escape
from importlib import resources

from bokeh.embed import components
from bokeh.resources import Resources

from .. import words
from . import figures as charts
from . import sections
from .look import STATES, Figure
from .packed import pack
from .story import Story

ACTIONS = (
    ("in", "Zoom in", ""),
    ("out", "Zoom out", ""),
    ("left", "◀", "earlier"),
    ("right", "▶", "later"),
    ("steps", "Single steps", ""),
    ("all", "Whole run", ""),
)
"""Buttons of a timeline: what the script is told, the words on it, and those for who cannot see it."""


def page(stories: Sequence[Story]) -> str:
    """The report on these runs, as HTML."""
    return _Page(stories).html()


class _Page:
    def __init__(self, stories: Sequence[Story]) -> None:
        self._stories = stories
        self._figures: list[Figure] = []
        self._timelines: list[dict[str, object]] = []

    def html(self) -> str:
        parts = [self._top()]
        if any(story.tally.first_grant is not None for story in self._stories):
            parts += [
                self._section("Timeline", self._timelines_html()),
                self._section("What waiting cost", self._each(sections.waiting, stacked=True)),
                self._section("Throughput", self._chart(charts.throughput(self._stories))),
                self._section("Pace and share", self._paces()),
                self._section("Accuracy and loss", self._learned()),
                self._section("Staleness", self._pair([charts.stale(self._stories), charts.staleness(self._stories)])),
            ]
        else:
            parts.append('<p class="lead">Nothing was handed out yet: there is no more to show.</p>')
        parts += [
            self._section("Faults", self._each(sections.faults)),
            self._section("Sample accounting", self._each(sections.accounting)),
        ]
        body = "".join(parts)
        script, divs = components(self._figures) if self._figures else ("", ())
        for number, div in enumerate(divs):
            body = body.replace(f"<!--chart {number}-->", div, 1)
        title = " and ".join(story.label for story in self._stories)
        colors = "".join(f"--{state}:{color};" for state, color in STATES.items())
        data = json.dumps(self._timelines, separators=(",", ":")).replace("<", "\\u003c")
        return (
            f'<!DOCTYPE html>\n<html lang="en" data-charts="{len(self._figures)}">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(title)} · evener</title>\n"
            f"<style>{_asset('page.css')}:root{{{colors}}}</style>\n</head>\n<body>\n<main>\n{body}{_footer()}</main>\n"
            f"{Resources(mode='inline', components=['bokeh'], log_level='error').render_js()}\n{script}\n"
            f'<script type="application/json" id="timelines">{data}</script>\n'
            f"<script>{_asset('page.js')}</script>\n</body>\n</html>\n"
        )

    def _top(self) -> str:
        stories = self._stories
        names = " and ".join(escape(story.label) for story in stories)
        lines = ""
        for story in stories:
            which = f"<b>{escape(story.label)}</b> · " if len(stories) > 1 else ""
            lines += f'<p class="lead">{which}{sections.subtitle(story)}</p>'
        alarms = "".join(sections.alarms(story) for story in stories)
        facts = sections.figures(stories[0]) if len(stories) == 1 else sections.comparison(stories)
        return (
            f'<header><div><div class="eyebrow">Evener report</div><h1>{names}</h1>{lines}</div>'
            f'<button id="theme" aria-label="switch between light and dark">Dark</button></header>{alarms}{facts}'
        )

    @staticmethod
    def _section(title: str, html: str) -> str:
        return f"<section><h2>{title}</h2>{html}</section>" if html else ""

    def _each(self, made: Callable[[Story], str], stacked: bool = False) -> str:
        if len(self._stories) == 1:
            return made(self._stories[0])
        parts = [f"<div><h3>{escape(story.label)}</h3>{made(story)}</div>" for story in self._stories]
        return "".join(parts) if stacked else f'<div class="pair">{"".join(parts)}</div>'

    # Charts -------------------------------------------------------------------------------------------------

    def _place(self, made: Figure) -> str:
        self._figures.append(made)
        return f'<div class="plot"><!--chart {len(self._figures) - 1}--></div>'

    def _chart(self, chart: charts.Chart, above: str = "") -> str:
        keys = "".join(f"<li>{sections.swatch(key.color, line=True)}{escape(key.name)}</li>" for key in chart.keys)
        legend = f'<ul class="keys">{keys}</ul>' if keys else ""
        note = f'<p class="quiet small">{escape(chart.note)}</p>' if chart.note else ""
        title = f"{above}: {chart.title.lower()}" if above else chart.title
        return f'<div class="card chart"><h3>{escape(title)}</h3>{legend}{self._place(chart.figure)}{note}</div>'

    def _pair(self, made: Sequence[charts.Chart]) -> str:
        return f'<div class="pair">{"".join(self._chart(chart) for chart in made)}</div>'

    def _paces(self) -> str:
        many = len(self._stories) > 1
        kinds = (charts.pace, charts.share)
        made = "".join(
            self._chart(kind(story), story.label if many else "") for kind in kinds for story in self._stories
        )
        return f'<div class="pair">{made}</div>'

    def _learned(self) -> str:
        made = charts.learned(self._stories)
        names = {key for story in self._stories for key in story.series.logged}
        if not made:
            return '<p class="quiet">The script logged nothing. What it gives to session.log() is shown here.</p>'
        more = len(names) - len(made) // 2
        note = f'<p class="quiet">And {words.count(more, "value")} more, which the record has.</p>' if more else ""
        return self._pair(made) + note

    # Timelines ----------------------------------------------------------------------------------------------

    def _timelines_html(self) -> str:
        keys = "".join(f"<li>{sections.swatch(color)}{state}</li>" for state, color in STATES.items())
        intro = (
            '<p class="quiet">A lane for each worker. Drag to move, ctrl and wheel or pinch to zoom, double-click to '
            f'come nearer, click on an interval to see what it was.</p><ul class="keys">{keys}</ul>'
        )
        return intro + "".join(self._timeline(number, story) for number, story in enumerate(self._stories))

    def _timeline(self, number: int, story: Story) -> str:
        shown = charts.lanes(story)
        # Of several runs, all go by the same clock, so that the longer one looks longer.
        end = max(1e-3, *(one.seconds for one in self._stories))
        self._timelines.append({**pack(story.levels, story.seconds, shown), "extent": end})
        title = f"<h3>{escape(story.label)}</h3>" if len(self._stories) > 1 else ""
        buttons = "".join(
            f'<button data-do="{do}"{f" aria-label={spoken}" if spoken else ""}>{text}</button>'
            for do, text, spoken in ACTIONS
        )
        chart = self._place(charts.timeline(story, number, shown, end))
        return (
            f'<div class="card timeline" data-timeline="{number}">{title}{chart}'
            f'<div class="tools">{buttons}<span class="small" id="view{number}"></span></div>'
            f'<div class="detail" id="detail{number}" aria-live="polite"><span class="swatch" hidden></span>'
            '<b>Click on an interval.</b><span class="when"></span><p class="quiet"></p>'
            f'<div id="walk{number}" hidden><button data-do="before">Interval before</button> '
            f'<button data-do="next">Next interval</button></div></div>{_kept(story, shown)}</div>'
        )


def _kept(story: Story, shown: Sequence[int]) -> str:
    """What detail the timeline has, and what it left out."""
    levels, said = story.levels, []
    if not levels.complete:
        part = len(levels.kept()) / max(1, levels.seen)
        said.append(
            f"The run has {levels.seen:,} intervals. {words.percent(part)} of them are in this page one by one, in "
            "stretches at equal distances over the whole run; between them it has averages."
        )
    if len(shown) < len(levels.workers):
        said.append(f"Lanes of the {len(shown)} workers of {len(levels.workers):,} that computed least.")
    return f'<p class="quiet small">{" ".join(said)}</p>' if said else ""


def _footer() -> str:
    return (
        "<footer>Everything on this page is computed from the run records alone. Times are seconds since a record was "
        "opened, as the server heard of things: what a message takes on its way counts for what went before it. "
        "Computing that takes over four times as long as the worker's pace predicts is shown as stalled from there on."
        "</footer>"
    )


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
