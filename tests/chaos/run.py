"""``make chaos``: a matrix of faults on real processes, then many random kills; each run must keep its promises.

Every cell of the matrix is a fault (kill -9, SIGSTOP, a link that is cut, a slow-down by ten) of some workers (the
fastest, the slowest, half of them, all but one) at a moment (join, compute, push, pull, an epoch's end). Other cells
are the server's, and some last 20 s. A random run's script of faults is a function of its seed; in what order things
happen on a real machine is not.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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

TIMES = 2
"""Undisturbed runs of a kind, the least accurate of which counts: where much is stale no two are alike."""

STOOD = 0.5
"""Seconds that this machine may stand still, others using it, before that is said: the times tell less then."""

LONGER = 40
"""Epochs of runs that lose more than one worker for a moment: with fewer, what was lost shows in the accuracy."""

MOST_KILLS = 6
"""To a random run."""

LASTS, SIDE_BY_SIDE = 20.0, 4
"""Seconds of long stops and cuts, and how many of such runs at once: they go at a part of their pace."""


def matrix(seconds: float, whole: bool) -> Iterator[Trial]:
    """All cells, or of each fault and moment one; the victims take turns."""
    for row, fault in enumerate(FAULTS):
        for column, moment in enumerate(MOMENTS):
            for turn, (who, workers) in enumerate(VICTIMS.items()):
                if whole or turn == (row + column) % len(VICTIMS):
                    after = "" if moment == "at join" else " after step 30"
                    lines = tuple(f"{moment}{after} {fault.format(worker, f'{seconds:g}')}" for worker in workers)
                    yield Trial(f"{fault.split()[0]} {who} {moment}", lines)


def of_the_server(seconds: float) -> Iterator[Trial]:
    """What is done to the server, alone or with others; and clocks that jump."""
    kill, longer = "at step 60 kill the server", LONGER
    for policy in POLICIES:
        yield Trial(f"kill the server, {policy}", (kill,), policy, epochs=longer)
    yield Trial("stop the server", (f"at step 60 stop the server for {seconds:g} s",), epochs=longer)
    yield Trial("slow the server", (f"at step 60 slow the server by 10 for {seconds:g} s",), epochs=longer)
    yield Trial("kill the server at epoch end", ("at epoch end after step 30 kill the server",), epochs=longer)
    for call in ("write", "sync", "rename"):
        yield Trial(f"kill the server, a checkpoint's {call}", (), epochs=longer, dies_in=call)
    twice = (kill, "at step 100 kill the server")
    yield Trial("kill the server twice", twice, epochs=longer)
    for who, workers in (("half the workers", VICTIMS["half"]), ("all but one worker", VICTIMS["all but one"])):
        lines = (kill, *(f"at step 60 kill worker {worker}" for worker in workers))
        yield Trial(f"kill the server and {who}", lines, epochs=longer)
    yield Trial("clocks that jump", ("in compute after step 30 kill worker 0",), jumps=True)
    yield Trial("clocks that jump, kill the server", (kill,), epochs=longer, jumps=True)


def long(seconds: float) -> Iterator[Trial]:
    """Stops and cuts that are longer than anybody's patience with a silent one; all come back in time to work."""
    pace, epochs = 0.3, 60
    for fault in FAULTS[1:3]:
        for who, workers in VICTIMS.items():
            lines = tuple(f"in compute after step 30 {fault.format(worker, f'{seconds:g}')}" for worker in workers)
            yield Trial(f"{fault.split()[0]} {who} for {seconds:g} s", lines, epochs=epochs, part=pace)
    lines = tuple(f"at step 30 cut worker {worker} for {seconds:g} s" for worker in range(len(PACES)))
    yield Trial(f"cut all for {seconds:g} s", lines, epochs=epochs, part=pace)
    lines = (f"at step 30 stop the server for {seconds:g} s",)
    yield Trial(f"stop the server for {seconds:g} s", lines, epochs=epochs, part=pace)


def random_trial(seed: int) -> Trial:
    """Some kills of anybody, the server too, at any moments, under any policy; who is killed is started again.

    >>> random_trial(3) == random_trial(3)
    True
    """
    chance = random.Random(f"chaos {seed}")
    # Half under the default; the others take turns.
    policy = chance.choice(["balanced"] * len(POLICIES) + list(POLICIES))
    lines = []
    for _ in range(chance.randint(2, MOST_KILLS)):
        victim = chance.randrange(-1, len(PACES))
        if victim >= 0:
            after = f"{chance.uniform(0.0, 4.0):.2f} s"
            when = chance.choice([f"at {after}", *(f"{moment} after {after}" for moment in MOMENTS)])
            lines.append(f"{when} kill worker {victim}")
        else:  # when it has something to go on from
            after = f"{chance.uniform(1.0, 4.0):.2f} s"
            lines.append(f"{chance.choice([f'at {after}', f'at epoch end after {after}'])} kill the server")
    return Trial(f"random {seed}", tuple(lines), policy, restart=True, epochs=LONGER)


class Report:
    """Prints what comes of each trial, and counts."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self._lock = threading.Lock()

    @property
    def failed(self) -> int:
        """Trials that broke a promise."""
        return sum(bool(result.problems) for result in self.results)

    @property
    def kills(self) -> int:
        """How many were killed."""
        return sum(result.deaths for result in self.results)

    def add(self, result: Result) -> None:
        """One more."""
        back = f"  others: longest gap {result.longest:.2f} s" if result.longest else ""
        back += f", as fast as before in {max(result.recovery):.2f} s" if result.recovery else ""
        back += f"  all as fast as before in {max(result.restored):.2f} s" if result.restored else ""
        back += f"  the machine stood still for {result.stood:.1f} s" if result.stood > STOOD else ""
        back += f"  (load {result.load:.0f}: not judged)" if result.busy and back else ""
        how = "FAILED" if result.problems else "ok"
        lines = [f"{how:6} {result.trial.name:44} {result.seconds:5.1f} s  {result.accuracy:.1%}{back}"]
        missed = [line for line in result.hit if line.startswith("not done")]
        lines += [f"         {line}" for line in (*result.problems, *(missed if result.problems else ()))]
        if result.problems or result.trial.restart:
            lines.append(f"         {result.trial.words}")
        with self._lock:
            self.results.append(result)
            print("\n".join(lines), flush=True)

    def conclude(self, began: float) -> None:
        """What all came to."""
        took = f"{len(self.results)} runs, {self.kills} kills, in {time.monotonic() - began:.0f} s"
        print(f"{took}: {self.failed or 'none'} failed")
        for what, back in (
            ("workers' deaths the others were", [one for result in self.results for one in result.recovery]),
            ("times that the server was struck all were", [one for result in self.results for one in result.restored]),
        ):
            if back:
                median, most = statistics.median(back), max(back)
                print(f"after {len(back)} {what} as fast as before in {median:.2f} s, {most:.2f} s at most")


class Chaos:
    """Runs trials, several at once where that is asked for, each judged by the same run undisturbed.

    Args:
        folder: of the runs.
        report: is told.
        until: nothing is started after this moment.
    """

    def __init__(self, folder: Path, report: Report, until: float) -> None:
        self._folder = folder
        self._report = report
        self._until = until
        self._undisturbed: dict[Trial, float] = {}
        self._arenas: list[Arena] = []
        self._forges: list[Forge] = []

    def run(self, trials: Iterable[Trial], at_once: int = 1) -> None:
        """Run them."""
        trials = list(trials)
        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(self._measure, dict.fromkeys(trial.plain for trial in trials)))
            list(pool.map(self._run, trials))

    def close(self) -> None:
        """End what helps."""
        for forge in self._forges:
            forge.close()

    def _measure(self, plain: Trial) -> None:
        if plain not in self._undisturbed and time.monotonic() < self._until:
            self._undisturbed[plain] = min(self._one(plain, 0.0) for _ in range(TIMES))

    def _run(self, trial: Trial) -> None:
        if time.monotonic() < self._until and trial.plain in self._undisturbed:
            self._one(trial, self._undisturbed[trial.plain] - NEEDED)

    def _one(self, trial: Trial, accuracy: float) -> float:
        arena = self._arenas.pop() if self._arenas else self._another()
        result = arena.run(trial, accuracy)
        self._arenas.append(arena)
        self._report.add(result)
        return result.accuracy

    def _another(self) -> Arena:
        self._forges.append(Forge())
        return Arena(self._forges[-1], self._folder / str(len(self._forges)))


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
    add("--at-once", type=int, default=1, help="so many runs side by side (default: 1); times mean less then")
    add("--minutes", type=float, default=30.0, help="after which nothing more is started (default: 30)")
    add("--keep", type=Path, help="folder for the runs that failed")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    until = began + 60 * options.minutes
    folder = (options.keep or Path(tempfile.mkdtemp(prefix="evener-chaos-"))).resolve()
    report = Report()
    chaos = Chaos(folder, report, until)
    try:
        if options.seed is not None:
            chaos.run([random_trial(options.seed)])
            return int(bool(report.failed))
        whole = options.all or bool(options.only)
        for trials, at_once in (
            (long(LASTS), max(SIDE_BY_SIDE, options.at_once)),
            (of_the_server(options.seconds), options.at_once),
            (matrix(options.seconds, whole), options.at_once),
        ):
            chaos.run([trial for trial in trials if options.only in trial.name], at_once)
        seed, before = options.first, report.kills
        while not options.only and report.kills < before + options.kills and time.monotonic() < until:
            chaos.run(map(random_trial, range(seed, seed + options.at_once)), options.at_once)
            seed += options.at_once
        if time.monotonic() >= until:
            print(f"stopped after {options.minutes:g} minutes, before all was run")
        report.conclude(began)
    finally:
        chaos.close()
        if report.failed:
            print(f"the records of what failed are in {folder}", file=sys.stderr)
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
