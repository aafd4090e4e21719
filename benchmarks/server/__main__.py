"""Measure the server's own limit: ``python -m benchmarks.server``, or with ``--quick`` the goal's cell alone."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine
from benchmarks.run import RESULTS

from . import report
from .cells import GOAL, GRID, Cell, order
from .measure import SECONDS, measure
from .results import Result, rows


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"only {GOAL} parameters (workers × size): the goal")
    parser.add_argument("--cells", default="", help="only these, such as 4x2000000,64x200000")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="measured, each time (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"folder for the results (default: {RESULTS})")
    return parser.parse_args(words)


def chosen(asked: argparse.Namespace) -> tuple[str, Sequence[Cell]]:
    """The plan's name, and its cells.

    Raises:
        ValueError: no cell is called so.
    """
    if asked.quick:
        return f"{report.NAME}-quick", [GOAL]
    if not asked.cells:
        return report.NAME, GRID
    cells = []
    for word in asked.cells.split(","):
        workers, _, parameters = word.partition("x")
        if not (workers.isdecimal() and parameters.isdecimal()) or not (int(workers) and Cell(1, int(parameters)).size):
            raise ValueError(
                f"{word!r} is no cell: write workers and parameters, as in {GOAL.workers}x{GOAL.parameters}"
            )
        cells.append(Cell(int(workers), int(parameters)))
    return f"{report.NAME}-some", cells


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for, and write it down."""
    asked = arguments(words)
    try:
        plan, cells = chosen(asked)
    except ValueError as error:
        print(f"benchmarks.server: error: {error}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else nothing would be cleared away
    began = time.monotonic()
    results: list[Result] = []
    try:
        for repetition, cell, system in order(cells, asked.repetitions):
            one = measure(cell, system, repetition, asked.seconds)
            results.append(one)
            what = f"failed: {one.failed}" if one.failed else (
                f"{one.contributions_per_second:6.0f} contributions/s, {one.gigabytes_per_second:5.2f} GB/s, "
                f"{one.cpu_ms_per_step:7.1f} ms CPU a step"
            )  # fmt: skip
            odd = f"  (NOT COUNTED ONCE: {one.problems})" if one.problems else ""
            print(f"  {repetition + 1}  {cell!s:10} {system:7} {what}{odd}", flush=True)
    finally:  # what was measured was measured
        _write(results, plan, asked.out)
        print(f"It took {(time.monotonic() - began) / 60:.1f} minutes.")
    if any(one.problems for one in results):
        print("benchmarks.server: error: evener did not count each contribution once", file=sys.stderr)
    return int(any(one.problems or one.failed for one in results))


def _write(results: Sequence[Result], plan: str, folder: Path) -> None:
    found, facts = rows(results), machine.describe()
    print(f"\n{report.write(results, facts, folder, plan)}")
    if plan != report.NAME:
        return
    if importlib.util.find_spec("matplotlib") is None:
        print("No plot: it needs matplotlib (pip install 'evener[study]').", file=sys.stderr)
        return
    from . import plot

    print(f"Wrote {plot.draw(folder / f'{plan}.png', found)}")
    if folder == RESULTS:
        from study.report import fill

        report.PAGE.write_text(fill(report.PAGE.read_text(), {report.NAME: report.block(found, facts)}))
        print(f"Wrote {report.PAGE}")


if __name__ == "__main__":
    raise SystemExit(main())
