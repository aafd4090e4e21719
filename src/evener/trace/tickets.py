"""The checker's book of tickets: which are granted and not settled, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..core import commands as c
from ..core.ranges import Range


@dataclass(slots=True)
class Held:
    """A ticket that somebody holds, or whose contribution has arrived."""

    worker: int
    epoch: int
    step: int
    ranges: tuple[Range, ...]
    size: int
    min_version: int
    arrived: bool = False


class Tickets:
    """Follows every ticket from its grant to the end of its positions, or back to the pool.

    Args:
        complain: is told in words what does not fit.
    """

    def __init__(self, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._held: dict[int, Held] = {}
        self._workers: dict[int, set[int]] = {}

    def __contains__(self, ticket: int) -> bool:
        return ticket in self._held

    def __getitem__(self, ticket: int) -> Held:
        return self._held[ticket]

    def get(self, ticket: int) -> Held | None:
        """The ticket, if it is granted and not settled."""
        return self._held.get(ticket)

    def live(self, worker: int, ticket: int) -> bool:
        """Whether the worker holds it, and its contribution has not arrived."""
        held = self._held.get(ticket)
        return held is not None and held.worker == worker and not held.arrived

    def join(self, worker: int) -> list[int]:
        """The worker is here, as if for the first time; returns what it held, which must go back."""
        gone = self._unarrived(worker)
        self._workers[worker] = set()
        return gone

    def leave(self, worker: int) -> list[int]:
        """The worker is gone; returns what it held, which must go back."""
        gone = self._unarrived(worker)
        self._workers.pop(worker, None)
        return gone

    def grant(self, grant: c.Grant) -> bool:
        """Whether it is a new ticket; then it is held."""
        if grant.ticket in self._held:
            self._complain(f"ticket {grant.ticket} was granted twice")
            return False
        if grant.worker not in self._workers:
            self._complain(f"ticket {grant.ticket} was granted to worker {grant.worker}, who is not here")
        size = sum(stop - start for start, stop in grant.ranges)
        self._held[grant.ticket] = Held(grant.worker, grant.epoch, grant.step, grant.ranges, size, grant.min_version)
        self._workers.setdefault(grant.worker, set()).add(grant.ticket)
        return True

    def forget(self, ticket: int) -> None:
        """It is settled, or back in the pool."""
        held = self._held.pop(ticket)
        self._workers.get(held.worker, set()).discard(ticket)

    def clear(self) -> None:
        """Nobody is here, and nobody holds anything."""
        self._held.clear()
        self._workers.clear()

    def _unarrived(self, worker: int) -> list[int]:
        return [ticket for ticket in self._workers.get(worker, ()) if self.live(worker, ticket)]
