"""Several runs of one training on one cluster: their table, and in one sentence which to take and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import words
from .summary import RunSummary

STALE_ENOUGH = 0.1
"""Mean stale fraction above which accuracy is in doubt, where none was measured (docs/convergence.md)."""

AS_ACCURATE = 0.01
"""Who is within a point of the most accurate is as accurate."""

AS_FAST = 0.01
"""Speeds nearer than that are equal; the one with less staleness is taken."""

ACROSS = 6
"""Runs side by side where each worker's waiting is shown."""

WORKERS = 12
"""Workers up to which each has a row of its own."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the runs.

    Attributes:
        label: the policy with what is not its default, as it was asked for.
        run: its summary.
        change: what was changed about the cluster, in words; empty: nothing.
    """

    label: str
    run: RunSummary
    change: str = ""

    @property
    def waiting(self) -> float | None:
        """Part of the workers' time that they did not compute, on the mean."""
        parts = [worker.waiting_fraction for worker in self.run.workers if worker.waiting_fraction is not None]
        return sum(parts) / len(parts) if parts else None

    @property
    def rate(self) -> float:
        """Applied samples/s."""
        return self.run.samples_per_second or 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"label": self.label, "change": self.change, "waiting": self.waiting, **self.run.to_dict()}


def to_dict(runs: Sequence[Compared], warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The comparison for programs."""
    return {
        "runs": [one.to_dict() for one in runs],
        "recommended": taken.label if (taken := best(runs)) else None,
        "recommendation": recommendation(runs),
        "warnings": list(warnings),
    }


# Which one --------------------------------------------------------------------------------------------------


def _candidates(runs: Sequence[Compared]) -> list[Compared]:
    """Those that ended well, on the cluster that is asked about: the changed one, if there is one."""
    change = next((one.change for one in runs if one.change), "")
    return [one for one in runs if one.change == change and one.run.ok and one.rate]


def _eligible(some: Sequence[Compared]) -> list[Compared]:
    """Those that are worth their speed: as accurate as any where accuracy is known, else with little staleness."""
    if any(one.run.targets for one in some):
        return [one for one in some if one.run.targets]
    accuracies = [one.run.test_accuracy for one in some if one.run.test_accuracy is not None]
    if accuracies:
        least = max(accuracies) - AS_ACCURATE
        return [one for one in some if one.run.test_accuracy is not None and one.run.test_accuracy >= least]
    return [one for one in some if one.run.stale_fraction <= STALE_ENOUGH] or list(some)


def best(runs: Sequence[Compared]) -> Compared | None:
    """The run to take; ``None``: none ended well.

    The one that reached the target first; without a target the one with most samples/s among those as accurate as any;
    where no accuracy is known, among those whose stale fraction is at most :data:`STALE_ENOUGH`.
    """
    some = _eligible(_candidates(runs))
    if not some:
        return None
    cost = {id(one): _cost(one) for one in some}
    least = min(cost.values())
    equal = [one for one in some if cost[id(one)] <= least * (1 + AS_FAST)]
    return min(equal, key=lambda one: (round(one.run.stale_fraction, 3), cost[id(one)]))


def _cost(one: Compared) -> float:
    """Seconds to the target; else seconds of a sample."""
    if one.run.targets:
        return float(one.run.targets[0]["time_s"])
    return 1.0 / one.rate


def recommendation(runs: Sequence[Compared]) -> str:
    """One sentence: which policy to take, and the reason."""
    taken = best(runs)
    if taken is None:
        return "None of these runs ended well, so none of them can be recommended."
    some = _candidates(runs)
    others = [one for one in some if one is not taken]
    parts = [f"Take {taken.label}: {_reason(taken, others)}"]
    if excluded := _excluded(taken, others):
        parts.append(excluded)
    if taken.change:
        before = next((one for one in runs if one.label == taken.label and not one.change), None)
        if before is not None and before.rate:
            gain = taken.rate / before.rate - 1
            how = f"{abs(gain):.0%} {'more' if gain > 0 else 'less'} than" if abs(gain) >= 0.005 else "as much as"
            parts.append(f"with the change ({taken.change}) that is {how} without it")
    return "; ".join(parts) + "."


def _reason(taken: Compared, others: Sequence[Compared]) -> str:
    plain = next((one for one in others if one.label == "synchronous"), None)
    against = plain or max(others, key=lambda one: one.rate, default=None)
    if taken.run.targets:
        target = taken.run.targets[0]
        goal = f"{words.score(target['name'], target['value'])} {target['name'].replace('_', ' ')}"
        time = words.duration(target["time_s"])
        reached = [one for one in others if one.run.targets]
        if not reached:
            return f"it alone reached {goal}, in {time}" if others else f"it reached {goal} in {time}"
        rival = plain if plain is not None and plain.run.targets else min(reached, key=_cost)
        return f"it reached {goal} in {time}, {rival.label} in {words.duration(_cost(rival))}{_waits(taken, rival)}"
    said = f"{words.rate(taken.rate)} samples/s"
    if against is not None:
        said += f", {taken.rate / against.rate:.2g} times as many as {against.label}"
        said += _waits(taken, against)
    if taken.run.test_accuracy is not None:
        return f"{said}, at an accuracy of {words.score('accuracy', taken.run.test_accuracy)}"
    return f"{said}, with {words.percent(taken.run.stale_fraction)} of the samples stale"


def _waits(taken: Compared, against: Compared) -> str:
    """Why it is faster, if it is for its workers' waiting less."""
    if taken.waiting is None or against.waiting is None or taken.waiting >= against.waiting:
        return ""
    return f", as its workers wait for {taken.waiting:.0%} of their time instead of {against.waiting:.0%}"


def _excluded(taken: Compared, others: Sequence[Compared]) -> str:
    """Who is faster and is not taken, and why."""
    if taken.run.targets:
        return ""
    faster = [one for one in others if one.rate > taken.rate * (1 + AS_FAST)]
    if not faster:
        return ""
    first = max(faster, key=lambda one: one.rate)
    gain = f"{first.label} computes {first.rate / taken.rate - 1:.0%} more"
    if taken.run.test_accuracy is not None and first.run.test_accuracy is not None:
        return f"{gain}, but ends at {words.score('accuracy', first.run.test_accuracy)}"
    stale = words.percent(first.run.stale_fraction)
    return f"{gain}, but {stale} of its samples are stale, which puts accuracy at risk"


# The table --------------------------------------------------------------------------------------------------


def render(
    runs: Sequence[Compared], title: str, pointers: Sequence[tuple[str, str]] = (), warnings: Sequence[str] = ()
) -> RenderableType:
    """The comparison for 100 columns or more.

    Args:
        runs: a row each, in this order.
        title: a line above.
        pointers: what more there is, and where.
        warnings: what the reader should know.
    """
    parts: list[RenderableType] = [Text(f" {title}", style="bold"), _measures(runs)]
    if any(one.run.workers for one in runs):
        parts += [_waiting(runs[at : at + ACROSS]) for at in range(0, len(runs), ACROSS)]
    failed = [f"{_name(one)}: the run did not end well: {one.run.reason}" for one in runs if not one.run.ok]
    once = [f"{_name(one)}: not every sample counted exactly once" for one in runs if not one.run.counted_once]
    for warning in (*failed, *once, *warnings):
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(" !", style="bold yellow"), warning)
        parts.append(grid)
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(" →", style="bold green"), Text(recommendation(runs), style="bold"))
    parts += [Text(), grid, Text()] if failed or once or warnings else [grid, Text()]
    if change := next((one.change for one in runs if one.change), ""):
        pointers = [("changed", change), *pointers]
    if pointers:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for label, what in pointers:
            grid.add_row(f" {label}", what)
        parts.append(grid)
    return Group(*parts)


def _name(one: Compared) -> str:
    return f"{one.label}, changed" if one.change else one.label


def _measures(runs: Sequence[Compared]) -> Table:
    """A row per run. Columns of which nothing is known are left out."""
    taken = best(runs)
    summaries = [one.run for one in runs]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("policy", style="cyan", min_width=min(24, max(len(one.label) for one in runs)))
    target = next((run.targets[0] for run in summaries if run.targets), None)
    columns: list[tuple[bool, str, Callable[[Compared], str]]] = [
        (any(run.utilisation is not None for run in summaries), "of\nlimit", lambda one: _share(one.run.utilisation)),
        (True, "samples/s", lambda one: words.rate(one.run.samples_per_second)),
        (True, "total\ntime", lambda one: words.duration(one.run.total_s)),
        (target is not None, _target(target), lambda one: _reached(one.run)),
        (any(run.test_accuracy is not None for run in summaries), "accuracy", lambda one: _accuracy(one.run)),
        (True, "stale", lambda one: words.percent(one.run.stale_fraction)),
        (True, "mean\nstaleness", lambda one: f"{one.run.mean_staleness:.2f}"),
        (True, _sent(summaries), lambda one: _transfers(one.run)),
        (True, "waiting", lambda one: words.percent(one.waiting)),
    ]
    columns = [column for column in columns if column[0]]
    for _, heading, _ in columns:
        table.add_column(heading, justify="right")
    for one in runs:
        style = "bold" if one is taken else ""
        table.add_row(_name(one), *(cell(one) for _, _, cell in columns), style=style)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _target(target: dict[str, Any] | None) -> str:
    return "" if target is None else f"to\n{words.score(target['name'], target['value'])}"


def _reached(run: RunSummary) -> str:
    return words.duration(run.time_to_target_s) if run.targets else "never"


def _accuracy(run: RunSummary) -> str:
    return "-" if run.test_accuracy is None else words.score("accuracy", run.test_accuracy)


def _sent(runs: Sequence[RunSummary]) -> str:
    return "sent" if all(run.transfer_bytes is not None for run in runs) else "transfers"


def _transfers(run: RunSummary) -> str:
    return f"{run.pushes + run.pulls:,}" if run.transfer_bytes is None else words.size(run.transfer_bytes)


def _waiting(runs: Sequence[Compared]) -> Table:
    """Each worker's waiting, or where there are many, how it is spread over them."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("waiting of worker")
    for one in runs:
        table.add_column(_name(one), justify="right", style="bold" if one is best(runs) else "")
    waits = [{w.worker: (w.waiting_fraction, w.sat_out, w.speed) for w in one.run.workers} for one in runs]
    everybody = sorted({worker for some in waits for worker in some})
    if len(everybody) > WORKERS:
        spread = [sorted(w for w, _, _ in some.values() if w is not None) for some in waits]
        for label, part in (("least", 0.0), ("median", 0.5), ("most", 1.0)):
            cells = (words.percent(some[round(part * (len(some) - 1))]) if some else "-" for some in spread)
            table.add_row(f"{label} of {len(everybody)}", *cells)
        return table
    for worker in everybody:
        speed = next((some[worker][2] for some in waits if worker in some), None)
        label = str(worker) if speed is None else f"{worker}  speed {speed:g}"
        table.add_row(label, *(_wait(some.get(worker)) for some in waits))
    return table


def _wait(found: tuple[float | None, str | None, float | None] | None) -> str:
    if found is None:
        return "-"
    return words.percent(found[0]) + ("!" if found[1] is not None else "")
