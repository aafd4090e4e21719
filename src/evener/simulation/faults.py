"""Scripted faults: what happens to which worker when, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .cluster import Host

DIES, HANGS, CUT_OFF, SLOWS = "dies", "hangs", "is cut off", "slows"
KINDS = (DIES, HANGS, CUT_OFF, SLOWS)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something happens to a worker.

    Attributes:
        worker: its number, from 0 on.
        at: when, in seconds.
        what: ``dies``: its process is gone, and the server sees it. ``hangs``: it neither computes nor listens.
            ``is cut off``: it computes, but nothing gets to it or from it before its link is back, as over TCP, which
            sends again. ``slows``: its pace is multiplied by ``factor``.
        seconds: for how long; who dies is gone for good.
        factor: of who slows.

    Raises:
        ValueError: a value out of its range, or missing, or of no meaning for such a fault.
    """

    worker: int
    at: float
    what: str
    seconds: float | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        if self.what not in KINDS:
            raise ValueError(f"a worker {', '.join(KINDS[:-1])} or {KINDS[-1]}, but not: {self.what!r}")
        if self.worker < 0 or not 0 <= self.at < math.inf:
            raise ValueError(f"a fault is of worker 0 or above at 0 s or later, not of {self.worker} at {self.at} s")
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


def strike(hosts: Sequence[Host], faults: Iterable[Fault]) -> tuple[Host, ...]:
    """``hosts`` to which all that happens.

    Raises:
        ValueError: there is no such host, it dies before it is there, or twice.

    >>> one, other = strike([Host(100.0)] * 2, [Fault(1, 30.0, "hangs", seconds=5.0)])
    >>> one.stalls, other.stalls
    ((), ((30.0, 5.0),))
    """
    struck = list(hosts)
    for fault in faults:
        if fault.worker >= len(struck):
            raise ValueError(f"there is no worker {fault.worker}: the hosts are workers 0 to {len(struck) - 1}")
        struck[fault.worker] = _strike(struck[fault.worker], fault)
    return tuple(struck)


def _strike(host: Host, fault: Fault) -> Host:
    span = fault.at, fault.seconds or 0.0
    if fault.what == HANGS:
        return dataclasses.replace(host, stalls=tuple(sorted((*host.stalls, span))))
    if fault.what == CUT_OFF:
        return dataclasses.replace(host, cuts=tuple(sorted((*host.cuts, span))))
    if fault.what == SLOWS:
        return dataclasses.replace(host, slows=tuple(sorted((*host.slows, (*span, fault.factor or 1.0)))))
    if host.dies is not None:
        raise ValueError(f"worker {fault.worker} dies at {host.dies} s already")
    return dataclasses.replace(host, dies=fault.at)
