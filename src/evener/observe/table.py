"""Runs side by side in the terminal: a column per run, each worker's part in it, then what it comes to."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import words
from .summary import RunSummary, WorkerSummary, speedup

DIGITS = 16
"""Of a SHA-256 in the table, enough to compare by eye; the record and ``--json`` have all 64."""

ACROSS = 3
"""Runs side by side; further ones follow below, so that 80 columns are enough."""


def render(runs: Sequence[RunSummary], next_command: str = "", title: str = "") -> RenderableType:
    """One or several runs as a table for 80 columns or more.

    Args:
        runs: in the order of the columns.
        next_command: what the reader may want to run next.
        title: a line above; by default what the runs have in common.
    """
    parts: list[RenderableType] = [Text(" " + (title or _title(runs)), style="bold")]
    for start in range(0, len(runs), ACROSS):
        some = runs[start : start + ACROSS]
        parts.append(_measures(some))
        if any(run.workers for run in some):
            parts.append(_workers(some))
    said = [line for run in runs for line in _remarks(run, alone=len(runs) == 1)]
    if said:
        parts += [_remark(line) for line in said]
        parts.append(Text())
    if ratio := _ratio(runs):
        parts += [ratio, Text()]
    parts.append(_pointers(runs, next_command))
    return Group(*parts)


def _remark(line: str) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    grid.add_row(Text(" !", style="bold yellow"), Text(line))  # no markup in what others have written
    return grid


def _title(runs: Sequence[RunSummary]) -> str:
    scripts = sorted({os.path.basename(run.script) for run in runs if run.script})
    batches = sorted({run.batch for run in runs})
    seeds = sorted({run.seed for run in runs})
    facts = [", ".join(scripts)]
    facts.append(words.count(max((len(run.workers) for run in runs), default=0), "worker"))
    speeds = [worker.speed for worker in runs[0].workers] if runs else []
    if any(speed is not None for speed in speeds):
        facts[-1] += " at speeds " + ":".join("?" if speed is None else f"{speed:g}" for speed in speeds)
    facts.append("batch " + ", ".join(map(str, batches)))
    facts.append("seed " + ", ".join(map(str, seeds)))
    return " · ".join(fact for fact in facts if fact)


def _heading(run: RunSummary) -> Text:
    text = Text(run.policy, style="bold cyan", justify="right")
    text.append("\n" + words.options(run.policy, run.options), style="not bold dim")
    return text


# The measures -----------------------------------------------------------------------------------------------


def _measures(runs: Sequence[RunSummary]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("", no_wrap=True, min_width=22)
    for run in runs:
        table.add_column(_heading(run), justify="right", min_width=14)
    table.add_row("total time", *(Text(words.duration(run.total_s), style="bold") for run in runs))
    table.add_row(Text(_target_label(runs)), *(_time_to_target(run) for run in runs))
    table.add_row("final test accuracy", *(_accuracy(run) for run in runs))
    table.add_row("samples/s", *(words.rate(run.samples_per_second) for run in runs))
    table.add_row("utilisation of limit", *(_utilisation(run) for run in runs))
    table.add_row("mean stale fraction", *(f"{run.stale_fraction:.2f}" for run in runs))
    table.add_row("server CPU", *(_server_cpu(run) for run in runs))
    table.add_row("each sample exactly once", *(_once(run) for run in runs))
    if any(run.micro_batch for run in runs):
        table.add_row("reproducible", *(_reproducible(run) for run in runs))
    if any(run.parameters_sha256 for run in runs):
        table.add_row("parameters, SHA-256", *((run.parameters_sha256 or "-")[:DIGITS] for run in runs))
    if not all(run.ok for run in runs):
        ended = (Text("yes") if run.ok else Text("NO", style="bold red") for run in runs)
        table.add_row("ended well", *ended)
    return table


def _target_label(runs: Sequence[RunSummary]) -> str:
    target = next((run.targets[0] for run in runs if run.targets), None)
    if target is None:
        return "time to target"
    return f"time to {words.score(target['name'], target['value'])} {_short(target['name'])}"


def _short(name: str) -> str:
    return {"test_accuracy": "accuracy"}.get(name, name)


def _time_to_target(run: RunSummary) -> str:
    return words.duration(run.time_to_target_s) if run.targets else "not reached"


def _accuracy(run: RunSummary) -> str:
    return "-" if run.test_accuracy is None else words.score("accuracy", run.test_accuracy)


def _utilisation(run: RunSummary) -> Text:
    if run.utilisation is None:
        return Text("not measured", style="dim")
    return Text(f"{run.utilisation:.2f}")


def _server_cpu(run: RunSummary) -> str:
    if run.server_cpu_s is None:
        return "-"
    share = f" ({words.percent(run.server_cpu_share)})" if run.server_cpu_share is not None else ""
    return words.duration(run.server_cpu_s) + share


def _once(run: RunSummary) -> Text:
    if not run.counted_once:
        return Text("NO", style="bold red")
    return Text("so far", style="yellow") if run.unfinished_samples else Text("yes", style="green")


def _reproducible(run: RunSummary) -> str:
    return f"yes, m = {run.micro_batch}" if run.micro_batch else "no"


# The workers ------------------------------------------------------------------------------------------------


def _workers(runs: Sequence[RunSummary]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column(Text("\nworker", style="bold"), no_wrap=True, min_width=12 if len(runs) > 2 else 22)
    for run in runs:
        heading = Text(_column(run) + "\n", style="bold cyan", justify="right")
        heading.append("share  pace  busy", style="not bold dim")
        table.add_column(heading, justify="right", no_wrap=True, min_width=18)
    by_index = [{worker.worker: worker for worker in run.workers} for run in runs]
    for index in sorted({index for workers in by_index for index in workers}):
        known = [workers.get(index) for workers in by_index]
        name = _worker_name(next(worker for worker in known if worker))
        table.add_row(Text(name), *(_part(worker) for worker in known))
    return table


def _column(run: RunSummary) -> str:
    """A short heading: the policy, told apart from itself with another bound."""
    return "balanced, S = 0" if run.policy == "balanced" and run.options.get("bound") == 0 else run.policy


def _worker_name(worker: WorkerSummary) -> str:
    plain = worker.name == f"worker {worker.worker}"
    name = str(worker.worker) if plain else f"{worker.worker} {worker.name}"
    return name if worker.speed is None else f"{name}  speed {worker.speed:g}"


def _part(worker: WorkerSummary | None) -> Text:
    if worker is None:
        return Text("-")
    mark = "!" if worker.left is not None or worker.sat_out is not None else " "
    share, busy = words.percent(worker.share), words.percent(worker.busy_fraction)
    text = Text(f"{share:>4} {words.rate(worker.pace):>6} {busy:>5}")
    text.append(mark, style="yellow")
    return text


# What it comes to -------------------------------------------------------------------------------------------


def _remarks(run: RunSummary, alone: bool) -> Iterator[str]:
    """What is worth saying in plain words."""
    who = "" if alone else f"{_column(run)}: "
    if not run.ok:
        yield f"{who}the run did not end well: {run.reason}"
    elif run.reason != "complete":
        yield f"{who}the run was ended: {run.reason}"
    for problem in run.problems[:3]:
        yield f"{who}not exactly once: {problem}"
    if len(run.problems) > 3:
        yield f"{who}and {len(run.problems) - 3} more such findings"
    if run.counted_once and run.unfinished_samples:
        rest = f"{run.unfinished_samples:,} of the drawn samples were not finished; the others"
        yield f"{who}{rest} counted exactly once"
    if run.resumed:
        again = words.count(run.recomputed_samples, "sample")
        yield f"{who}the server was lost and went on {words.times(run.resumed)}; {again} were computed again"
    for worker in run.workers:
        if worker.left is not None:
            done = f"{words.count(worker.samples, 'sample')} of it count; others took over what it still had"
            yield f"{who}worker {worker.worker} left ({worker.left}): {done}"
        if worker.sat_out is not None:
            yield f"{who}worker {worker.worker} sat out: {worker.sat_out}"
    if run.refused_samples:
        refused = words.count(run.refused_samples, "sample")
        yield f"{who}contributions of {refused} were refused, such as gradients that are not finite"
    if run.declined_samples:
        declined = words.count(run.declined_samples, "sample")
        yield f"{who}{declined} were declined: the script took no optimizer step after them"
    if run.discarded_samples:
        yield f"{who}{words.count(run.discarded_samples, 'sample')} came too late, and were computed again"
    for text in run.warnings[:5]:
        yield f"{who}{text}"


def _ratio(runs: Sequence[RunSummary]) -> Text | None:
    ratio = speedup(runs)
    if ratio is None:
        return None
    slow = next(run for run in runs if run.policy == "synchronous")
    fast = next(run for run in runs if run.policy == "balanced")
    text = Text(" ")
    text.append(f"{ratio:.2f} times as fast", style="bold green" if ratio > 1 else "bold yellow")
    text.append(f": balanced {words.duration(fast.total_s)}, synchronous {words.duration(slow.total_s)}")
    text.append(", same samples" if slow.samples == fast.samples else ", samples differ")
    return text


def _pointers(runs: Sequence[RunSummary], next_command: str) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    limit = next((run.limit_samples_per_second for run in runs if run.limit_samples_per_second), None)
    if limit is not None:
        table.add_row(" limit", f"{words.rate(limit)} samples/s: all workers at once, without communication")
    for key, label in (("slowness", " speeds"),):
        noted = dict.fromkeys(str(run.notes[key]) for run in runs if run.notes.get(key))
        if noted:
            table.add_row(label, Text("; ".join(noted)))
    for run in runs:
        if run.plan:
            table.add_row(" plan", Text(run.plan if len(runs) == 1 else f"{_column(run)}: {run.plan}"))
    if any(run.workers for run in runs):
        table.add_row(" workers", "pace: samples/s while computing; busy: part of its time that it computed")
    folders = [str(Path(run.record).parent) for run in runs]
    common = os.path.commonpath(folders) if folders else ""
    if len(folders) > 1 and all(os.path.dirname(folder) == common for folder in folders):
        names = ", ".join(os.path.basename(folder) for folder in folders)
        table.add_row(" records", Text(f"{common}  ({names})"))
    else:
        for folder in folders:
            table.add_row(" record", Text(folder))
    if next_command:
        table.add_row(" next", Text(next_command, style="bold"))
    return table
