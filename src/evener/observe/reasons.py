"""What a policy did about staleness and waiting, and why, in plain words."""

from __future__ import annotations

from . import words
from .tally import Tally

NAMED = 8
"""Workers that are named; more are counted."""


def plan(tally: Tally) -> str:
    """One line about a run of `balanced`; empty for other policies."""
    header = tally.header
    if header is None or header.policy.name != "balanced" or not tally.applied:
        return ""
    options = header.policy.options
    waited = _waited(tally)
    if options.get("bound") == 0:
        parts = ["nothing was stale, so each step began with waiting for its parameters", waited]
    else:
        allowed = options.get("stale_fraction", 0.0)
        stale = tally.stale / tally.applied
        parts = [f"{words.percent(stale, 1)} of the samples were stale ({words.percent(float(allowed))} allowed)"]
        ran = {work.worker: work.ahead / max(1, tally.steps) for work in tally.workers.values() if work.ahead}
        who = ", ".join(
            f"{worker} (in {words.percent(min(1.0, part))} of the steps)" for worker, part in sorted(ran.items())
        )
        if len(ran) > NAMED:
            who = words.count(len(ran), "worker")
        parts.append(f"to hide transfers, started the next step early: {who}" if who else "nobody ran ahead")
        parts.append(waited)
    if tally.moved:
        parts.append(f"{words.count(tally.moved, 'late ticket')} moved to the next step")
    if tally.taken_back:
        parts.append(f"{words.count(tally.taken_back, 'late ticket')} went to others")
    return "; ".join(part for part in parts if part)


def _waited(tally: Tally) -> str:
    """What waiting cost, in parts of the workers' time."""
    start, stop = tally.first_grant, tally.last_step
    if start is None or stop is None:
        return ""
    here = sum(work.here(start, stop) for work in tally.workers.values())
    computed = sum(work.compute_s for work in tally.workers.values())
    return f"the workers waited for {words.percent(max(0.0, 1 - computed / here))} of their time" if here else ""
