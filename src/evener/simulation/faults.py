"""Scripted faults: what happens to whom when, as data; for simulated workers and for real processes.

A fault comes at a time, at a step, or at a moment in a worker's life (``during``). What happens at a known time is the
host's own (:mod:`~evener.simulation.striking`); for all else somebody watches what the coordinator hears and says
(:class:`~evener.simulation.moments.Moments`). :func:`~evener.simulation.sentences.parse_faults` reads them from text.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

DIES, HANGS, CUT_OFF, SLOWS = "dies", "hangs", "is cut off", "slows"
KINDS = (DIES, HANGS, CUT_OFF, SLOWS)

JOIN, COMPUTE, PUSH, PULL, EPOCH = "join", "compute", "push", "pull", "epoch"
MOMENTS = (JOIN, COMPUTE, PUSH, PULL, EPOCH)

SERVER = -1
"""In place of a worker's number: the server. Only real ones fail."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something happens to a worker, or to the server.

    Attributes:
        worker: its number, from 0 on; or :data:`SERVER`, which dies, hangs or slows, at any time or at an epoch's end.
        at: when, in seconds; ``None`` where ``step`` or ``during`` says it.
        what: ``dies``: its process is gone, and the server sees it. ``hangs``: it neither computes nor listens.
            ``is cut off``: it computes, but nothing gets to it or from it before its link is back, as over TCP, which
            sends again. ``slows``: its pace is multiplied by ``factor``.
        seconds: for how long; who dies is gone for good.
        factor: of who slows.
        step: when so many steps are done.
        during: when it next does this, from ``at`` or ``step`` on where one is given: ``join``; ``compute``: it began a
            micro-batch; ``push``: it has computed all that it will push; ``pull``: newer parameters are published;
            ``epoch``: an epoch has ended.

    Raises:
        ValueError: a value out of its range, or missing, or of no meaning for such a fault.

    >>> print(Fault(2, None, "dies", step=120))
    at step 120 kill worker 2
    >>> print(Fault(0, 10.0, "slows", seconds=5.0, factor=0.1))
    at 10 s slow worker 0 by 10 for 5 s
    """

    worker: int
    at: float | None
    what: str
    seconds: float | None = None
    factor: float | None = None
    step: int | None = None
    during: str = ""

    def __post_init__(self) -> None:
        if self.what not in KINDS:
            raise ValueError(f"a worker {', '.join(KINDS[:-1])} or {KINDS[-1]}, but not: {self.what!r}")
        if self.worker < SERVER or not 0 <= (self.at or 0.0) < math.inf:
            raise ValueError(f"a fault is of worker 0 or above at 0 s or later, not of {self.worker} at {self.at} s")
        if self.during not in ("", *MOMENTS):
            raise ValueError(f"a moment is one of {', '.join(MOMENTS)}, but not {self.during!r}")
        if self.worker == SERVER and self.what == CUT_OFF:
            raise ValueError("a server that is cut off is workers that are: cut each of them")
        if self.worker == SERVER and self.during not in ("", EPOCH):
            raise ValueError(f"only workers {self.during}: say at which step, at what time or 'at epoch end' instead")
        if self.at is not None and self.step is not None:
            raise ValueError("a fault comes at a time or at a step, not at both")
        if self.at is None and self.step is None and not self.during:
            raise ValueError("when it happens is missing: a time, a step, or what the worker does then")
        if self.step is not None and self.step < 1:
            raise ValueError(f"steps are counted from 1, not from {self.step}")
        if (self.seconds is None) != (self.what == DIES):
            raise ValueError(
                "who dies is gone for good: leave out 'for', and add a host that joins then if it is to come back"
                if self.what == DIES
                else f'for how long it {self.what} is missing: for = "10 s"'
            )
        if self.seconds is not None and not 0 <= self.seconds < math.inf:
            raise ValueError(f"a fault lasts a finite time, not {self.seconds} s")
        if (self.factor is None) != (self.what != SLOWS):
            raise ValueError("'factor' says how much slower who slows is, such as 0.25; other faults have none")
        if self.factor is not None and not 0 < self.factor < math.inf:
            raise ValueError(f"a factor is positive and finite, not {self.factor}; 0.25 is four times slower")

    @property
    def timed(self) -> bool:
        """Whether it happens at a time that is known beforehand."""
        return self.at is not None and not self.during

    @property
    def who(self) -> str:
        """Whom it strikes, in words."""
        return "the server" if self.worker == SERVER else f"worker {self.worker}"

    def __str__(self) -> str:
        since = f"step {self.step}" if self.step is not None else f"{self.at:.12g} s" if self.at is not None else ""
        after = f" after {since}" if since else ""
        when = MOMENT_WORDS[self.during] + after if self.during else f"at {since}"
        by = f" by {1 / self.factor:.12g}" if self.factor is not None else ""
        length = f" for {self.seconds:.12g} s" if self.seconds is not None else ""
        return f"{when} {VERBS[self.what]} {self.who}{by}{length}"


VERBS = {DIES: "kill", HANGS: "stop", CUT_OFF: "cut", SLOWS: "slow"}
"""What is done to a worker, by what it then does."""

MOMENT_WORDS = {JOIN: "at join", COMPUTE: "in compute", PUSH: "in push", PULL: "in pull", EPOCH: "at epoch end"}


def renumbered(faults: Iterable[Fault], numbers: Mapping[int, int]) -> tuple[Fault, ...]:
    """``faults`` of workers whose number is another now; without those of workers that have none.

    >>> [str(fault) for fault in renumbered([Fault(2, None, "dies", step=9), Fault(0, None, "dies", step=9)], {2: 1})]
    ['at step 9 kill worker 1']
    """
    kept = [fault for fault in faults if fault.worker in numbers]
    return tuple(dataclasses.replace(fault, worker=numbers[fault.worker]) for fault in kept)


def check_worker(fault: Fault, workers: int) -> None:
    """Whether there is a worker that it can happen to.

    Raises:
        ValueError: there is none.
    """
    if fault.worker == SERVER:
        raise ValueError(f"'{fault}': a simulated server has no faults. Real ones have: evener run --faults")
    if fault.worker >= workers:
        raise ValueError(f"there is no worker {fault.worker}: the hosts are workers 0 to {workers - 1}")
