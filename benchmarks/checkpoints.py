"""Measure what checkpoints cost training: ``python -m benchmarks.checkpoints``.

One server, evener's own, with clients that compute nothing and so keep it busy all the time. Stretches in which a
checkpoint is taken and written take turns with stretches in which none is. What the steps of the former took longer,
and in CPU time more, is what a checkpoint costs; the server itself says, too, for how long it stood still and how much
CPU time the writing took.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import machine
from benchmarks.results import Spread
from benchmarks.run import RESULTS
from benchmarks.server.cells import Cell, millions
from benchmarks.server.measure import FailedError, Note, running
from benchmarks.server.servers import serve_evener
from benchmarks.table import MET, text
from evener.launch.options import CHECKPOINT_EVERY, CHECKPOINT_SHARE
from evener.trace import CheckpointNote, KeptNote, NoteLine, Tail

NAME = "checkpoints"
PARAMETERS = 25_000_000
WORKERS = 2
STRETCH = 10.0
"""Seconds of a stretch, at least; one with a checkpoint lasts until that is written."""

STEPS = 3
"""Of a stretch, at least."""

PATIENCE = 180.0
POLL = 0.02
GOAL = 0.01
"""Part of the training time that checkpoints may cost, by default."""


class Stretch(NamedTuple):
    """From one step to another; times in seconds, as are those of the checkpoint that was taken meanwhile, if any.

    ``copy_s``: training stood still. ``write_s``, ``write_cpu_s``: its writing took, beside training.
    """

    kept: bool
    steps: int
    seconds: float
    cpu_s: float
    copy_s: float = 0.0
    write_s: float = 0.0
    write_cpu_s: float = 0.0
    bytes: int = 0


class Cost(NamedTuple):
    """Of one checkpoint, in seconds (medians, with the least and the greatest).

    ``held_s``: training stood still. ``write_cpu_s``: CPU time of the writing, ``write_s`` its time. ``lost_s``,
    ``cpu_s``: what the steps beside it took longer than those without, and in CPU time of the server more.
    """

    held_s: Spread
    write_s: Spread
    write_cpu_s: Spread
    lost_s: Spread
    cpu_s: Spread

    @property
    def every(self) -> float:
        """Seconds from one to the next, by default."""
        return max(CHECKPOINT_EVERY, (self.held_s.median + self.write_cpu_s.median) / CHECKPOINT_SHARE)

    @property
    def share(self) -> float:
        """Part of the training time that they cost then: the steps' lost time, if it is more than what is said."""
        return max(self.lost_s.median, self.held_s.median + self.write_cpu_s.median) / self.every


def costs(stretches: Sequence[Stretch]) -> Cost:
    """What the stretches with a checkpoint took more than those next to them without.

    >>> plain, kept = Stretch(False, 10, 10.0, 8.0), Stretch(True, 10, 10.3, 8.5, 0.05, 1.0, 0.3)
    >>> found = costs([plain, kept, plain])
    >>> round(found.lost_s.median, 9), round(found.cpu_s.median, 9), found.every
    (0.3, 0.5, 60.0)
    """
    lost, cpu = [], []
    for index, one in enumerate(stretches):
        beside = [other for other in stretches[max(0, index - 1) : index + 2] if not other.kept]
        if one.kept and beside:
            lost.append(one.seconds - one.steps * statistics.fmean(other.seconds / other.steps for other in beside))
            cpu.append(one.cpu_s - one.steps * statistics.fmean(other.cpu_s / other.steps for other in beside))
    kept = [one for one in stretches if one.kept]
    named = ([getattr(one, name) for one in kept] for name in ("copy_s", "write_s", "write_cpu_s"))
    return Cost(*(spread for values in (*named, lost, cpu) if (spread := Spread.of(values)) is not None))


def measure(cell: Cell, repetitions: int, seconds: float) -> list[Stretch]:
    """Stretches with and without a checkpoint, in turns, of one session; the first and the last are without.

    Raises:
        FailedError: it did not get going, or ended early.
    """
    with tempfile.TemporaryDirectory(prefix="evener-bench-") as name:
        folder = Path(name)
        with running(cell, "evener", folder, partial(serve_evener, checkpoint_every=1e9)) as (server, players):
            alive = (server, *players)
            tail, progress = Tail(folder), folder / "progress"
            notes: list[CheckpointNote | KeptNote] = []

            def wait(enough: Any) -> None:
                until = time.monotonic() + PATIENCE
                while not enough():
                    if any(process.exitcode is not None for process in alive):
                        raise FailedError("the server or a client ended")
                    if time.monotonic() > until:
                        raise FailedError(f"nothing new in {PATIENCE:.0f} s")
                    time.sleep(POLL)
                    wanted = (line.note for line in tail.stream() if isinstance(line, NoteLine))
                    notes.extend(note for note in wanted if isinstance(note, CheckpointNote | KeptNote))

            def after(step: int) -> Note:
                wait(lambda: Note.last(progress).step > step)
                return Note.last(progress)

            wait(lambda: len(notes) == 2)  # the first, which is tried out, too
            found: list[Stretch] = []
            last = after(STEPS)
            for index in range(2 * repetitions + 1):
                kept, first = index % 2 == 1, last
                if kept:
                    notes.clear()
                    os.kill(server.pid or 0, signal.SIGUSR1)
                    wait(lambda: len(notes) == 2)
                until = first.moment + seconds
                last = after(first.step + STEPS)
                while last.moment < until:
                    last = after(last.step)
                steps, took, cpu = last.step - first.step, last.moment - first.moment, last.cpu_s - first.cpu_s
                copied, write_s, write_cpu, size = _of(notes if kept else ())
                found.append(Stretch(kept, steps, took, cpu, copied, write_s, write_cpu, size))
                what = "with a checkpoint" if kept else "without"
                print(f"  {what:18} {took / steps:.3f} s a step, {cpu / steps:.3f} s CPU", flush=True)
    return found


def _of(notes: Sequence[CheckpointNote | KeptNote]) -> tuple[float, float, float, int]:
    copied, seconds, cpu, size = 0.0, 0.0, 0.0, 0
    for note in notes:
        if isinstance(note, CheckpointNote):
            copied = note.copy_s
        else:
            seconds, cpu, size = note.seconds, note.cpu_s, note.bytes
    return copied, seconds, cpu, size


def markdown(cell: Cell, found: Sequence[Stretch], cost: Cost, facts: Mapping[str, Any], created: str) -> str:
    """All that there is to say."""
    size = max((one.bytes for one in found), default=0)
    rows = {
        "training stands still": cost.held_s,
        "CPU time of the writing, in a thread of its own": cost.write_cpu_s,
        "time of the writing": cost.write_s,
        "steps beside it: longer by": cost.lost_s,
        "steps beside it: CPU time of the server, more by": cost.cpu_s,
    }
    count = sum(one.kept for one in found)
    measured = " to ".join(f"{function(one.seconds / one.steps for one in found):.2f}" for function in (min, max))
    return "\n".join([
        "# Measured: what checkpoints cost", "",
        f"{created}. {', '.join(f'{name} {value}' for name, value in facts.items())}.", "",
        f"{millions(cell.parameters)} parameters, SGD with momentum: {size / 1e6:.0f} MB each. {cell.workers} workers "
        f"that compute nothing, {measured} s a step. How to read this: `benchmarks/README.md`.", "",
        "| of one checkpoint | seconds | n |", "|---|---|---|",
        *(f"| {name} | {text(spread, '{:.3f}')} | {count} |" for name, spread in rows.items()), "",
        f"By default there is one every {cost.every:.0f} s.", "",
        "| measure | goal | found | met |", "|---|---|---|---|",
        f"| part of the training time | < {GOAL:g} | {cost.share:.4f} | {MET[cost.share < GOAL]} |", "",
    ])  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and write it down."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkpoints", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--parameters", type=int, default=PARAMETERS)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--repetitions", type=int, default=5, help="checkpoints (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=STRETCH, help="of a stretch, at least (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"folder for the results (default: {RESULTS})")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else nothing would be cleared away
    cell = Cell(asked.workers, asked.parameters)
    try:
        found = measure(cell, asked.repetitions, asked.seconds)
    except FailedError as error:
        print(f"benchmarks.checkpoints: error: {error}", file=sys.stderr)
        return 1
    cost, facts, created = costs(found), machine.describe(), datetime.now(UTC).isoformat(timespec="seconds")
    page = markdown(cell, found, cost, facts, created)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / f"{NAME}.md").write_text(page)
    content = {"schema": 1, "plan": NAME, "created": created, "machine": facts, "workers": cell.workers,
               "parameters": cell.parameters, "stretches": [one._asdict() for one in found], "every_s": cost.every,
               "share": cost.share, "met": cost.share < GOAL}  # fmt: skip
    (asked.out / f"{NAME}.json").write_text(json.dumps(content, indent=1) + "\n")
    print(f"\n{page}")
    return int(cost.share >= GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
