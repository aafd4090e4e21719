"""Many random fault schedules under every policy: joins, deaths, stalls, duplicates, reordering, partitions.

``python -m evener.testing.soak`` runs them on all cores. Each seed is a schedule and, of each policy, one set of
options; one that fails is printed with the command that runs it again.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence

from ..core.policies import POLICIES
from .makers import MAKERS, Maker
from .schedules import of_seed


def makers_of(seed: int) -> list[Maker]:
    """One maker of each policy, chosen by the seed.

    >>> [maker.name for maker in makers_of(3)] == list(POLICIES)
    True
    """
    choose = random.Random(f"policies {seed}")
    return [choose.choice([maker for maker in MAKERS if maker.name == name]) for name in POLICIES]


def soak(seed: int) -> list[str]:
    """Run the schedule of a seed under every policy; what went wrong, in words."""
    schedule = of_seed(seed)
    found = []
    for maker in makers_of(seed):
        try:
            schedule.prove(maker(schedule))
        except Exception as error:  # a policy that raises is a finding, too
            found.append(f"seed {seed}, {maker}: {type(error).__name__}: {error}")
    return found


def _run(seeds: range, jobs: int) -> Iterator[list[str]]:
    if jobs == 1:
        yield from map(soak, seeds)
        return
    # Each process has few modules to import, and no threads to inherit.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(soak, seeds, chunksize=16)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run many seeds, or one; 1 if something was found."""
    parser = argparse.ArgumentParser(prog="python -m evener.testing.soak", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--count", type=int, default=10_000, help="how many schedules (default: 10000)")
    add("--first", type=int, default=0, help="the first seed (default: 0)")
    add("--seed", type=int, help="this one alone")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)")
    options = parser.parse_args(arguments)
    seeds = range(options.first, options.first + options.count)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    began, failed = time.monotonic(), 0
    for done, found in enumerate(_run(seeds, min(options.jobs, len(seeds))), 1):
        failed += bool(found)
        for text in found:
            seed = text.split()[1].rstrip(",")
            print(f"{text}\n  again: python -m evener.testing.soak --seed {seed}", flush=True)
        if done % 1000 == 0 and done < len(seeds):
            print(f"{done} schedules, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(
        f"{len(seeds)} schedules of faults, each under {len(POLICIES)} policies, in {time.monotonic() - began:.0f} s: "
        f"{failed or 'none'} failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
