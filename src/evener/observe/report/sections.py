"""The parts of the page that are words and tables, as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from .. import words
from ..costs import Cost, sentences
from ..intervals import AWAY, COMPUTING, STATES
from .look import STATES as COLORS
from .story import Story

CARDS = 12
"""Workers with a card of their own; of more, those that lost most."""


ROWS = 1000
"""Workers of the table that has the others."""


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int] = frozenset(), kind: str = ""
) -> str:
    """A table of HTML cells, of a ``kind`` that the style sheet knows; ``numbers``: columns aligned on the right."""

    def cells(row: Sequence[str], tag: str) -> str:
        made = []
        for column, cell in enumerate(row):
            side = ' class="number"' if column in numbers else ""
            name = "th" if column == 0 else tag
            scope = f' scope="{"col" if tag == "th" else "row"}"' if name == "th" else ""
            made.append(f"<{name}{scope}{side}>{cell}</{name}>")
        return f"<tr>{''.join(made)}</tr>"

    body = "".join(cells(row, "td") for row in rows)
    style = f' class="{kind}"' if kind else ""
    return f'<div class="scroll"><table{style}><thead>{cells(head, "th")}</thead><tbody>{body}</tbody></table></div>'


def swatch(color: str, *, line: bool = False) -> str:
    """A spot of colour."""
    return f'<span class="swatch{" line" * line}" style="background:{color}"></span>'


def subtitle(story: Story) -> str:
    """What ran, in a line."""
    header, summary = story.header, story.summary
    options = words.options(summary.policy, summary.options)
    what = [
        f"{escape(summary.policy)}{f' ({escape(options)})' if options else ''}",
        escape(header.script.rsplit("/", 1)[-1]) if header.script else "",
        words.count(len(summary.workers), "worker"),
        f"batch {summary.batch:,}",
        f"seed {summary.seed}",
        "simulated: times are virtual" if story.simulated else escape(header.created.replace("T", " ")[:16]),
    ]
    return " · ".join(part for part in what if part)


def alarms(story: Story) -> str:
    """What a reader must know before all else: the record is not whole, or the run was not."""
    said = []
    summary, broken = story.summary, story.faults.broken
    if story.accounting.truncated and broken:
        said.append(f"The record ends in the middle of line {broken[0]:,}. This page shows what is before the break.")
    elif broken:
        said.append(f"Line {broken[0]:,} of the record cannot be read ({broken[1]}). It is left out.")
    if story.summary.problems:
        said.append("The sample accounting found problems: see below.")
    if not summary.ok:
        if story.tally.end is None:
            said.append(
                "The record has no end: the run was killed, or it still goes on. What is here is true until "
                f"{words.duration(story.seconds)}."
            )
        else:
            said.append(f"The run ended early: {summary.reason}.")
    if not said:
        return ""
    return f'<div class="card alarm">{"".join(f"<p>{escape(one)}</p>" for one in said)}</div>'


def _counted(story: Story) -> tuple[str, str]:
    if not story.accounting.counted_once:
        return "no", "bad"
    return ("yes" if story.accounting.complete else "yes, so far"), "good"


def busy(story: Story) -> float | None:
    """The part of all workers' time that they computed."""
    here = sum(cost.here for cost in story.costs.workers.values())
    computed = sum(cost.states.get(COMPUTING, 0.0) for cost in story.costs.workers.values())
    return computed / here if here else None


def _scores(story: Story) -> list[tuple[str, str]]:
    tally = story.tally
    server = [(name, log.values[name]) for (source, name), log in sorted(tally.logs.items()) if source == "server"]
    return [(name, words.score(name, value)) for name, value in server[:4]]


def figures(story: Story) -> str:
    """The run in numbers."""
    summary = story.summary
    once, kind = _counted(story)
    entries = [("samples each second", words.rate(summary.samples_per_second), "")]
    entries.append(("first ticket to last step", words.duration(summary.total_s), ""))
    entries += [(escape(name), value, "") for name, value in _scores(story)]
    for target in summary.targets[:2]:
        entries.append((f"time to {escape(target['name'])} {target['value']:g}", words.duration(target["time_s"]), ""))
    entries += [
        ("of the time computing", words.percent(busy(story)), ""),
        ("stale samples", words.percent(summary.stale_fraction, 1), ""),
        ("steps", f"{summary.steps:,}", f"in {words.count(summary.epochs, 'epoch')}"),
        ("each sample counted once", f'<span class="{kind}">{once}</span>', ""),
    ]
    made = "".join(
        f"<div><dt>{name}</dt><dd>{value}{f' <small>{more}</small>' if more else ''}</dd></div>"
        for name, value, more in entries
    )
    return f'<dl class="card figures">{made}</dl>'


def comparison(stories: Sequence[Story]) -> str:
    """Several runs in a table, a column for each."""
    scores = sorted({name for story in stories for name, _ in _scores(story)})
    rows = [
        ["policy", *(escape(story.summary.policy) for story in stories)],
        ["samples each second", *(words.rate(story.summary.samples_per_second) for story in stories)],
        ["first ticket to last step", *(words.duration(story.summary.total_s) for story in stories)],
        *([escape(name), *(dict(_scores(story)).get(name, "-") for story in stories)] for name in scores),
        ["of the time computing", *(words.percent(busy(story)) for story in stories)],
        ["stale samples", *(words.percent(story.summary.stale_fraction, 1) for story in stories)],
        ["steps", *(f"{story.summary.steps:,}" for story in stories)],
        ["workers", *(f"{len(story.summary.workers):,}" for story in stories)],
        ["batch", *(f"{story.summary.batch:,}" for story in stories)],
        ["each sample counted once", *('<span class="{1}">{0}</span>'.format(*_counted(story)) for story in stories)],
    ]
    if any(story.summary.time_to_target_s is not None for story in stories):
        rows.insert(3, ["time to target", *(words.duration(story.summary.time_to_target_s) for story in stories)])
    numbers = frozenset(range(1, len(stories) + 1))
    return table(["", *(escape(story.label) for story in stories)], rows, numbers)


def waiting(story: Story) -> str:
    """What waiting cost each worker, and why."""
    costs = sorted(story.costs.workers.values(), key=lambda cost: cost.worker)
    shown, said, rest = costs, [], ""
    if plan := story.summary.plan:
        said.append(plan[0].upper() + plan[1:] + ".")
    if len(costs) > CARDS:
        shown = sorted(sorted(costs, key=lambda cost: cost.part(COMPUTING))[:CARDS], key=lambda cost: cost.worker)
        said.append(f"The {CARDS} workers that computed the smallest part of their time:")
        rest = _everybody(costs)
    cards = "".join(_card(story, cost) for cost in shown)
    return "".join(f"<p>{escape(one)}</p>" for one in said) + f'<div class="pair">{cards}</div>{rest}'


def _everybody(costs: Sequence[Cost]) -> str:
    states = [state for state in STATES if state != AWAY]
    head = ["worker", *states, "here"]
    rows = (
        [str(cost.worker), *(words.percent(cost.part(state), 1) for state in states), words.duration(cost.here)]
        for cost in costs[:ROWS]
    )
    which = f"All {len(costs):,}" if len(costs) <= ROWS else f"The first {ROWS:,} of {len(costs):,}"
    listed = table(head, rows, frozenset(range(1, len(head))))
    return f"<details><summary>{which} workers</summary>{listed}</details>"


def _card(story: Story, cost: Cost) -> str:
    parts = [(state, cost.part(state)) for state in STATES if state != AWAY]
    bars = "".join(
        f'<i style="width:{100 * part:.2f}%;background:{COLORS[state]}" title="{state} {words.percent(part, 1)}"></i>'
        for state, part in parts
        if part > 0
    )
    work = story.tally.workers.get(cost.worker)
    applied = story.tally.applied
    share = f"{words.percent(work.samples / applied)} of the samples" if work and applied else ""
    said = " ".join(sentences(cost))
    name = f"Worker {cost.worker}"
    if work and work.name and work.name != f"worker {cost.worker}":
        name += f" · {work.name}"
    return (
        f'<div class="card worker"><h3>{escape(name)}<span>{share}</span></h3>'
        f'<div class="bar">{bars}</div><p>{escape(said)}</p></div>'
    )


def faults(story: Story) -> str:
    """What went wrong."""
    found = story.faults
    if not found.counts:
        return '<p class="quiet">None: nobody left, nothing was refused or given up, and nothing was warned of.</p>'
    counts = ", ".join(f"{kind}: {number:,}" for kind, number in sorted(found.counts.items(), key=lambda one: -one[1]))
    rows = ([words.duration(fault.t), escape(fault.kind), escape(fault.text)] for fault in found.kept)
    total = sum(found.counts.values())
    more = f"<p class='quiet'>The first {len(found.kept)} of {total:,}.</p>" if total > len(found.kept) else ""
    listed = table(["at", "what", ""], rows, kind="events")
    if len(found.kept) > 12:
        listed = f"<details><summary>All {len(found.kept)} in order of time</summary>{listed}</details>"
    return f"<p>{escape(counts)}.</p>{more}{listed}"


def accounting(story: Story) -> str:
    """Whether each sample counted once."""
    account = story.accounting
    once, kind = _counted(story)
    verdict = {
        "yes": "The checker followed every sample through the record: each one counted exactly once.",
        "yes, so far": "The run did not go to its end. Until then no sample counted twice or got lost.",
        "no": "The record does not prove that each sample counted exactly once.",
    }[once]
    ends = [("applied", account.total("applied")), ("declined by the script", account.total("declined"))]
    ends += [("refused", account.total("refused")), ("dropped", account.total("dropped"))]
    ends += [("unfinished", account.unfinished)]
    rows = [[name, f"{number:,}"] for name, number in ends if number or name == "applied"]
    rows.append(["thrown away and computed again", f"{account.discarded:,}"])
    rows.append(["tickets that went back", f"{account.returned:,}"])
    rows.append(["contributions that came too late", f"{account.late:,}"])
    problems = ""
    if account.problems:
        listed = "".join(f"<li>{escape(one)}</li>" for one in account.problems[:20])
        more = len(account.problems) - 20 + account.more
        problems = f'<ul class="plain bad">{listed}</ul>' + (f"<p>And {more:,} more.</p>" if more > 0 else "")
    return f'<p class="{kind}">{verdict}</p>{problems}{table(["samples", ""], rows, frozenset({1}), "short")}'
