"""``python -m study``: run what is missing, then write tables and plots."""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from evener.data import fashion_mnist, har

from . import grid, real, run
from .results import Result, Store, publish, published

ROOT = Path(__file__).parents[1]
CACHE = ROOT / "study" / ".cache"
PUBLISHED = ROOT / "docs" / "results" / "study" / "runs.jsonl"
TIERS = range(6)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 when a run failed; 130 when it was stopped."""
    options = _parse(arguments)
    store = Store(CACHE / "runs")
    if options.published:
        return _report(published(PUBLISHED), here=False)
    if options.adopt:
        for result in published(PUBLISHED):
            store.put(result)
    plan = _plan(options)
    if options.list:
        _list(plan, store, options)
        return 0
    failed = {} if options.report else _work(plan, store, options)
    if failed is None:
        print("stopped. What is finished is kept: the same command goes on from here.", file=sys.stderr)
        return 130
    results = list(store.all())
    if results:
        publish(results, PUBLISHED)
        _report(results)
    return 1 if failed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m study", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a part: both data sets and clusters, transferred rate, one seed")
    add("--tier", type=int, default=max(TIERS), choices=TIERS, help="up to this tier (default: all)")
    add("--only", default="", metavar="WORDS", help="only runs whose label has all these words, such as 'har delayed'")
    add("--jobs", type=int, default=2, help="runs at a time, of one core each (default: 2)")
    add("--list", action="store_true", help="show what there is to run, what is done and what it costs; run nothing")
    add("--report", action="store_true", help="only write tables and plots of what is finished")
    add("--published", action="store_true", help="only write tables and plots, of the published results")
    add("--adopt", action="store_true", help="count the published results as finished: go on from a fresh clone")
    add("--real", action="store_true", help="then the runs with real processes (an otherwise idle machine, please)")
    return parser.parse_args(arguments)


def _plan(options: argparse.Namespace) -> run.Plan:
    words = options.only.split()

    def plan(scores: grid.Scores) -> list[grid.Run]:
        return [
            one
            for one in grid.planned(scores)
            if one.tier <= options.tier
            and (one.quick or not options.quick)
            and all(word in one.label.split() or word in one.label for word in words)
        ]

    return plan


def _work(plan: run.Plan, store: Store, options: argparse.Namespace) -> dict[str, str] | None:
    """Carry out what is asked for; ``None``: stopped."""
    processes = run.Processes(store)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def work(plan: run.Plan, jobs: int) -> dict[str, str]:
        return run.carry_out(plan, store, processes, _Progress(plan, store), jobs, processes.stop)

    signal.signal(signal.SIGTERM, stop)
    for fetch in (har, fashion_mnist):
        fetch()  # here once and visibly, rather than in each process
    try:
        failed = work(plan, options.jobs)
        if options.real and not failed:
            rate = grid.chosen(grid.HAR, grid.GRADED, grid.BASE, {one.key: one.score for one in store.all()})
            if rate is None:
                return {"real": "the learning rate of synchronous is not chosen yet"}
            failed = real.carry_out(rate, store, work)
        return failed
    except KeyboardInterrupt:
        return None


class _Progress:
    """Says how each run went, and how long the rest will take."""

    def __init__(self, plan: run.Plan, store: Store) -> None:
        self._plan = plan
        self._store = store
        self._began = time.monotonic()
        self._finished = 0

    def __call__(self, one: grid.Run, result: Result | None, why: str) -> None:
        if result is None:
            print(f"FAILED  {one.label}: {why}", flush=True)
            return
        self._finished += 1
        left = len(run.missing(self._plan, {found.key: found.score for found in self._store.all()}))
        minutes = (time.monotonic() - self._began) / self._finished * left / 60
        accuracy = "no accuracy" if result.final_accuracy is None else f"{result.final_accuracy:.1%}"
        words = f"{accuracy}, {result.total_s:.0f} s, utilisation {result.utilisation:.2f}"
        print(f"{one.label}: {words} ({result.wall_s:.0f} s; {left} to go, some {minutes:.0f} min)", flush=True)


def _list(plan: run.Plan, store: Store, options: argparse.Namespace) -> None:
    results = {result.key: result for result in store.all()}
    runs = plan({key: result.score for key, result in results.items()})
    took = {
        data: statistics.mean(
            [results[one.key].wall_s for one in runs if one.key in results and one.problem.data == data]
            or [grid.SECONDS[data]]
        )
        for data in grid.SECONDS
    }
    if options.only:
        for one in runs:
            print("done   " if one.key in results else "missing", one.key, f"tier {one.tier}", one.label)
    total = 0.0
    for tier in TIERS:
        some = [one for one in runs if one.tier == tier]
        todo = [one for one in some if one.key not in results]
        minutes = sum(took[one.problem.data] for one in todo) / options.jobs / 60
        total += minutes
        print(f"tier {tier}: {len(some)} runs, {len(some) - len(todo)} done, some {minutes:.0f} min left")
    print(f"some {total:.0f} min left, {options.jobs} at a time; runs whose rate is not chosen yet are not counted")


def _report(results: Sequence[Result], *, here: bool = True) -> int:
    from . import report  # matplotlib, which runs need not wait for

    for file in report.write(results, here=here):
        print(file.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
