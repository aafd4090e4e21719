"""What waiting cost each worker, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from . import words
from .intervals import AWAY, COMPUTING, STALLED, TRANSFERRING, WAITING, Interval

BLAMED = 32
"""Workers by whom the waiting of one is counted; what others caused is counted together."""

LITTLE = 0.02
"""Part of a worker's time that is not worth a word."""


@dataclass(slots=True)
class Cost:
    """One worker's time in seconds, once the run had begun: by state, by state and cause, by whom it waited for."""

    worker: int
    states: dict[str, float] = field(default_factory=dict)
    causes: dict[tuple[str, str], float] = field(default_factory=dict)
    blamed: dict[int, float] = field(default_factory=dict)
    samples: int = 0

    @property
    def here(self) -> float:
        """Seconds it took part."""
        return sum(seconds for state, seconds in self.states.items() if state != AWAY)

    def part(self, state: str) -> float:
        """The part of its time here that it was in ``state``."""
        return self.states.get(state, 0.0) / self.here if self.here else 0.0

    def add(self, interval: Interval) -> None:
        """Count one more."""
        _, start, stop, state, cause, by, *_ = interval
        seconds = stop - start
        if cause == "start":  # nobody loses anything before there is something to do
            return
        self.states[state] = self.states.get(state, 0.0) + seconds
        if state == COMPUTING:
            self.samples += interval.samples
            return
        if state != AWAY:
            self.causes[state, cause] = self.causes.get((state, cause), 0.0) + seconds
        if by >= 0:
            by = by if by in self.blamed or len(self.blamed) < BLAMED else -1
            self.blamed[by] = self.blamed.get(by, 0.0) + seconds


class Costs:
    """Adds intervals up, by worker."""

    def __init__(self) -> None:
        self.workers: dict[int, Cost] = {}

    def add(self, intervals: Iterable[Interval]) -> None:
        """Take the next intervals."""
        for interval in intervals:
            cost = self.workers.get(interval.worker)
            if cost is None:
                cost = self.workers[interval.worker] = Cost(interval.worker)
            cost.add(interval)


_WHY = {
    (WAITING, "step"): "for parameters{by}",
    (WAITING, "server"): "for the server's optimizer step",
    (WAITING, "ticket"): "for something to compute{by}",
    (WAITING, "handover"): "for tickets that were on their way",
    (WAITING, "epoch"): "for the next epoch to begin",
    (WAITING, "sits out"): "because it, or its link, was too slow to be of use and it sat out",
    (WAITING, "end"): "at the end, when nothing was left to do",
    (TRANSFERRING, "parameters"): "for new parameters to come",
    (TRANSFERRING, "contribution"): "for its contribution to be sent",
    (STALLED, "slow"): "stalled in the middle of a ticket",
    (STALLED, "silent"): "silent before a ticket",
}


def sentences(cost: Cost) -> list[str]:
    """What it lost and why, one thought each.

    >>> cost = Cost(2, {"computing": 8.0, "waiting": 2.0}, {("waiting", "step"): 2.0}, {3: 1.5, 1: 0.5}, samples=800)
    >>> for sentence in sentences(cost): print(sentence)
    Worker 2 waited 20% of its time, mostly for parameters held up by worker 3.
    At its pace, these 2.00 s are worth 200 samples.
    """
    lost = sum(cost.states.get(state, 0.0) for state in (WAITING, TRANSFERRING, STALLED))
    name = f"Worker {cost.worker}"
    if not cost.here or lost < LITTLE * cost.here:
        return [f"{name} computed nearly all of its time ({words.percent(cost.part(COMPUTING))})."]
    said = []
    waited = cost.part(WAITING)
    causes = sorted(cost.causes.items(), key=lambda one: -one[1])
    waits = [(key, seconds) for key, seconds in causes if key[0] == WAITING]
    if waited >= LITTLE and waits:
        most = [_WHY[key].format(by=_by(cost)) for key, seconds in waits if seconds >= 0.25 * cost.states[WAITING]][:2]
        how = "mostly " if len(waits) > 1 or _by(cost) else ""
        said.append(f"{name} waited {words.percent(waited)} of its time, {how}{' and '.join(most)}.")
    moved = cost.part(TRANSFERRING)
    if moved >= LITTLE:
        up = cost.causes.get((TRANSFERRING, "contribution"), 0.0) / cost.states[TRANSFERRING]
        what = (
            "contributions on their way out" if up > 0.6 else "parameters on their way in" if up < 0.4 else "both ways"
        )
        who = "It" if said else name
        said.append(f"{who} stood still for {words.percent(moved)} while bytes were on the link ({what}).")
    stalled = cost.part(STALLED)
    if stalled >= LITTLE / 4:
        who = "It" if said else name
        said.append(
            f"{who} was stalled for {words.percent(stalled, 1)}: a ticket took far longer than its pace predicts."
        )
    if not said:
        said.append(f"{name} computed {words.percent(cost.part(COMPUTING))} of its time.")
    computing = cost.states.get(COMPUTING, 0.0)
    if computing and cost.samples:
        worth = lost * cost.samples / computing
        said.append(f"At its pace, these {words.duration(lost)} are worth {words.count(round(worth), 'sample')}.")
    return said


def _by(cost: Cost) -> str:
    """Who held it up, in words: the worker or two that caused most of it."""
    total = sum(cost.blamed.values())
    ranked = sorted(((seconds, worker) for worker, seconds in cost.blamed.items() if worker >= 0), reverse=True)
    names = [f"worker {worker}" for seconds, worker in ranked if seconds >= 0.3 * total][:2]
    if names:
        return f" held up by {' and '.join(names)}"
    return f" held up by {words.count(len(cost.blamed), 'worker')} in turn" if ranked else ""
