"""What a worker did from one moment to another: the states that it can be in, and why."""

from __future__ import annotations

from typing import NamedTuple

COMPUTING, TRANSFERRING, WAITING, STALLED, AWAY = STATES = ("computing", "transferring", "waiting", "stalled", "away")

CAUSES = {
    "": "",
    "contribution": "its contribution was on its way to the server",
    "parameters": "new parameters were on their way to it",
    "step": "the parameters it needed did not exist yet",
    "server": "the server made the optimizer step",
    "ticket": "nothing was left to hand out",
    "handover": "its next ticket was on its way",
    "epoch": "the next epoch had not begun",
    "start": "the run had not begun",
    "sits out": "it, or its link, was too slow to be of use",
    "slow": "the ticket took far longer than its pace predicts",
    "silent": "it had a ticket and did not begin it",
    "end": "nothing was left to do",
}
"""Why a worker was in the state that it was in: the first two of ``transferring``, then of ``waiting``, ``stalled``."""


class Interval(NamedTuple):
    """Worker ``worker`` was in ``state`` from ``start`` to ``stop`` (s).

    Attributes:
        cause: a key of :data:`CAUSES`; of ``away`` the reason for which it left, in words.
        by: the worker whose contribution ended the waiting; -1: nobody's.
        ticket, step, version, samples: what it computed, on parameters of ``version``; of ``waiting`` for parameters,
            the version that it needed. -1 where there is none.
    """

    worker: int
    start: float
    stop: float
    state: str
    cause: str = ""
    by: int = -1
    ticket: int = -1
    step: int = -1
    version: int = -1
    samples: int = 0

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.stop - self.start
