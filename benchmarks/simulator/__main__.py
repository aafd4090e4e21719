"""Measure the simulator: ``python -m benchmarks.simulator speed``, ``… gradients``, ``… scale``, ``… bounds``, or all
of it, to docs/results/simulator."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from evener.core.policies import POLICIES

from . import gradients, report
from .measure import WITHOUT, Cell, Result, measure

OUT = Path(__file__).parents[2] / "docs" / "results" / "simulator"

PER_WORKER = 64
"""Samples of a batch for each worker, where the batch grows with them."""

FIXED = 4096
"""Samples of a batch that does not."""

SPEED_WORKERS = (10, 1000, 10_000)
SCALE_WORKERS = (4, 16, 64, 256, 1000, 4000, 10_000)
SCALE_POLICIES = ("balanced", "asynchronous", "synchronous")
SCALE_STEPS = 20
"""Batches' worth of samples, at most, of which utilisation and staleness are the mean."""

WARM = 3
"""Batches' worth of samples before those: workers are not known yet."""

BOUNDS_WORKERS = (4, 1000)
BOUNDS_STEPS = 20

BUDGETS = {"speed": 10.0, "scale": 60.0, "bounds": 20.0}
"""The parts, and CPU seconds of a cell: all of it takes a quarter of an hour, with gradients."""

GRADIENT_POLICIES = ("synchronous", "balanced")


def speed(policies: Sequence[str], workers: Sequence[int], contributions: int, budget: float) -> list[Cell]:
    """What tells how fast it is. Steps take no virtual time, or pushes would only queue up before the server."""
    return [
        Cell(policy, n, PER_WORKER * n, contributions, budget=budget, step_seconds=0.0)
        for n in workers
        for policy in policies
    ]


def scale(policies: Sequence[str], workers: Sequence[int], budget: float) -> list[Cell]:
    """What tells where the policies end. One that steps per push makes a worker's number of them for each batch."""
    return [
        _cell(policy, n, batch, SCALE_STEPS, budget)
        for policy in policies
        for n in workers
        for batch in sorted({FIXED, PER_WORKER * n})
    ]


def bounds(policies: Sequence[str], workers: Sequence[int], budget: float) -> list[Cell]:
    """What tells why: the same again without what may bound it, one by one, and without all of it."""
    return [
        dataclasses.replace(cell, without=without)
        for policy in policies
        for n in workers
        for batch in sorted({FIXED, PER_WORKER * n})
        for cell in [_cell(policy, n, batch, BOUNDS_STEPS, budget)]
        for without in ("", *WITHOUT, "all")
    ]


def _cell(policy: str, workers: int, batch: int, steps: int, budget: float) -> Cell:
    if POLICIES[policy].collects:
        return Cell(policy, workers, batch, steps=WARM + steps, budget=budget, warm=WARM)
    # With many workers each step is published to them all. That the steps bound it is seen soon.
    return Cell(policy, workers, batch, steps=(WARM + steps) * workers, budget=budget / 5, warm=WARM * workers)


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for, and write it down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulator", description=__doc__)
    parser.add_argument("part", nargs="?", choices=[*BUDGETS, "gradients"], help="only this one")
    parser.add_argument("--policies", default="", help="only these, such as balanced,stale")
    parser.add_argument("--workers", default="", help="only these numbers of workers, such as 10,1000")
    parser.add_argument("--contributions", type=int, default=1_000_000)
    budgets = ", ".join(f"{part} {seconds:g}" for part, seconds in BUDGETS.items())
    parser.add_argument("--budget", type=float, help=f"CPU seconds of a cell (default: {budgets})")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder for the results (default: {OUT})")
    asked = parser.parse_args(words)
    chosen = [name for name in asked.policies.split(",") if name]
    counts = [int(word) for word in asked.workers.split(",") if word]
    for part in [part for part in BUDGETS if asked.part in (None, part)]:
        budget = BUDGETS[part] if asked.budget is None else asked.budget
        if part == "speed":
            cells = speed(chosen or list(POLICIES), counts or SPEED_WORKERS, asked.contributions, budget)
        elif part == "scale":
            cells = scale(chosen or SCALE_POLICIES, counts or SCALE_WORKERS, budget)
        else:
            cells = bounds(chosen or SCALE_POLICIES, counts or BOUNDS_WORKERS, budget)
        _measure(part, cells, asked.out)
    if asked.part in (None, "gradients"):
        costs = [
            gradients.measure(policy, batch) for policy in chosen or GRADIENT_POLICIES for batch in gradients.BATCHES
        ]
        _write(asked.out / "gradients.json", costs)
    print(f"written to {report.write(asked.out)}")
    return 0


def _measure(part: str, cells: Sequence[Cell], out: Path) -> None:
    """Measure cell after cell; what was measured before of others is kept."""
    file = out / f"{part}.json"
    known = report.read(file)
    for cell in cells:
        found = measure(cell)
        print(report.line(found), file=sys.stderr, flush=True)
        known = sorted([*(one for one in known if report.same(one) != report.same(found)), found], key=report.same)
        _write(file, known)


def _write(file: Path, results: Sequence[Result | gradients.Cost]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = {"machine": machine.describe(), "results": [dataclasses.asdict(one) for one in results]}
    file.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
