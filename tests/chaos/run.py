"""``make chaos``: a matrix of faults on real processes, then many random kills; each run must keep its promises.

Every cell of the matrix is a fault (kill -9, SIGSTOP, a link that is cut, a slow-down by ten) of some workers (the
fastest, the slowest, half of them, all but one) at a moment (join, compute, push, pull, an epoch's end). A random run's
script of faults is a function of its seed; in what order things happen on a real machine is not.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from evener.core.policies import POLICIES
from evener.simulation.faults import MOMENT_WORDS
from training.harness import Forge

from .arena import FAST, PACES, SLOW, Arena, Result, Trial

VICTIMS = {"the fastest": (FAST,), "the slowest": (SLOW,), "half": (1, SLOW), "all but one": (1, 2, SLOW)}
FAULTS = ("kill worker {}", "stop worker {} for {} s", "cut worker {} for {} s", "slow worker {} by 10 for {} s")
MOMENTS = tuple(MOMENT_WORDS.values())

NEEDED = 0.01
"""What the accuracy may lack."""

STOOD = 0.5
"""Seconds that this machine may stand still, others using it, before that is said: the times tell less then."""

MOST_KILLS = 6
"""To a random run."""


def matrix(seconds: float, whole: bool) -> Iterator[Trial]:
    """All cells, or of each fault and moment one; the victims take turns."""
    for row, fault in enumerate(FAULTS):
        for column, moment in enumerate(MOMENTS):
            for turn, (who, workers) in enumerate(VICTIMS.items()):
                if whole or turn == (row + column) % len(VICTIMS):
                    after = "" if moment == "at join" else " after step 30"
                    lines = tuple(f"{moment}{after} {fault.format(worker, f'{seconds:g}')}" for worker in workers)
                    yield Trial(f"{fault.split()[0]} {who} {moment}", lines)


def random_trial(seed: int) -> Trial:
    """Some kills of any workers at any moments, under any policy; who is killed is started again.

    >>> random_trial(3) == random_trial(3)
    True
    """
    chance = random.Random(f"chaos {seed}")
    # Half under the default; the others take turns.
    policy = chance.choice(["balanced"] * len(POLICIES) + list(POLICIES))
    lines = []
    for _ in range(chance.randint(2, MOST_KILLS)):
        after = f"{chance.uniform(0.0, 4.0):.2f} s"
        when = chance.choice([f"at {after}", *(f"{moment} after {after}" for moment in MOMENTS)])
        lines.append(f"{when} kill worker {chance.randrange(len(PACES))}")
    return Trial(f"random {seed}", tuple(lines), policy, restart=True)


class Report:
    """Prints what comes of each trial, and counts."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    @property
    def failed(self) -> int:
        """Trials that broke a promise."""
        return sum(bool(result.problems) for result in self.results)

    def add(self, result: Result) -> None:
        """One more."""
        self.results.append(result)
        back = f"  others: longest gap {result.longest:.2f} s" if result.longest else ""
        back += f", as fast as before in {max(result.recovery):.2f} s" if result.recovery else ""
        back += f"  the machine stood still for {result.stood:.1f} s" if result.stood > STOOD else ""
        how = "FAILED" if result.problems else "ok"
        print(f"{how:6} {result.trial.name:34} {result.seconds:5.1f} s  {result.accuracy:.1%}{back}", flush=True)
        missed = [line for line in result.hit if line.startswith("not done")]
        for line in (*result.problems, *(missed if result.problems else ())):
            print(f"         {line}")
        if result.problems or result.trial.restart:
            print(f"         {result.trial.words}", flush=True)

    def conclude(self, began: float) -> None:
        """What all came to."""
        deaths = sum(result.deaths for result in self.results)
        back = [seconds for result in self.results for seconds in result.recovery]
        took = f"{len(self.results)} runs, {deaths} kills, in {time.monotonic() - began:.0f} s"
        print(f"{took}: {self.failed or 'none'} failed")
        if back:
            median, most = statistics.median(back), max(back)
            print(f"after {len(back)} deaths the others were as fast as before in {median:.2f} s, {most:.2f} s at most")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--all", action="store_true", help="every cell of the matrix; else each fault at each moment")
    add("--seconds", type=float, default=3.0, help="of stops, cuts and slow-downs (default: 3)")
    add("--kills", type=int, default=60, help="random kills, at least (default: 60)")
    add("--seed", type=int, help="this random run alone")
    add("--first", type=int, default=0, help="the first random run's seed (default: 0)")
    add("--only", default="", help="only cells with this in their name, and no random runs")
    add("--minutes", type=float, default=30.0, help="after which nothing more is started (default: 30)")
    add("--keep", type=Path, help="folder for the runs that failed")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    until = began + 60 * options.minutes
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="evener-chaos-"))).resolve()
    forge, report = Forge(), Report()
    arena = Arena(forge, folder)
    try:
        plain = Report()
        for _ in range(1 if options.seed is not None or options.only else 3):
            plain.add(arena.run(Trial("undisturbed", ())))
        if plain.failed:
            return 1
        accuracy = statistics.mean(result.accuracy for result in plain.results) - NEEDED
        if options.seed is not None:
            report.add(arena.run(random_trial(options.seed), accuracy))
            return int(bool(report.failed))
        for trial in matrix(options.seconds, options.all or bool(options.only)):
            if options.only in trial.name and time.monotonic() < until:
                report.add(arena.run(trial, accuracy))
        seed, kills = options.first, 0
        while not options.only and kills < options.kills and time.monotonic() < until:
            report.add(arena.run(random_trial(seed), accuracy))
            kills += report.results[-1].deaths
            seed += 1
        if time.monotonic() >= until:
            print(f"stopped after {options.minutes:g} minutes, before all was run")
        report.conclude(began)
    finally:
        forge.close()
        if report.failed:
            print(f"the records of what failed are in {folder}", file=sys.stderr)
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
