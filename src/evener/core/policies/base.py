"""What a policy is: answers about tickets, given the state. It never waits, and it changes nothing but itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ledger import Lot, Ticket
from ..members import Member
from ..state import RunState


@dataclass(frozen=True, slots=True)
class Assignment:
    """The ticket a worker may have: ``size`` samples of ``lot``, started on a version ``≥ min_version``."""

    lot: Lot
    size: int
    min_version: int


@dataclass(frozen=True, slots=True)
class Late:
    """A remedy for a ticket that holds others up.

    With ``to`` it moves to that lot; ``expire`` makes its positions free again; else it is revoked, if unstarted.
    """

    ticket: Ticket
    to: Lot | None = None
    expire: bool = False


class Policy(ABC):
    """One strategy of synchronisation. Subclasses are values of a few options; ``docs/architecture.md`` has the whole.

    Class attributes:
        name: what ``--policy`` calls it.
        collects: one optimizer step per complete lot, a worker's tickets of it summed before they are pushed;
            otherwise each ticket is pushed alone and stepped at once.
        in_rank_order: contributions of a lot are summed by worker id rather than as they arrive.
        lots_ahead: how many lots beyond the oldest unfinished one may be open.
    """

    name: ClassVar[str]
    collects: ClassVar[bool] = True
    in_rank_order: ClassVar[bool] = False
    lots_ahead: int = 1

    def quota(self, state: RunState, unlotted: int) -> int:
        """Size of the next lot, given what is left of the epoch: by default a batch, or the remainder."""
        return min(state.settings.batch, unlotted)

    @abstractmethod
    def assign(self, state: RunState, member: Member, now: float) -> Assignment | None:
        """The next ticket for ``member``, or ``None``: nothing for it at present."""

    def too_stale(self, staleness: int) -> bool:
        """Whether a contribution of this staleness must be discarded and computed again."""
        return False

    def sits_out(self, state: RunState, member: Member) -> str:
        """Why ``member`` is of no use at present, in words; empty if it is."""
        return ""

    def opened(self, state: RunState, lot: Lot) -> None:
        """A lot was opened. A chance to plan it."""

    def closed(self, state: RunState, lot: Lot) -> None:
        """A lot was stepped. A chance to learn from it."""

    def deadline(self, state: RunState) -> float | None:
        """When to ask :meth:`late` although nothing happened."""
        return None

    def late(self, state: RunState, now: float) -> Sequence[Late]:
        """What to do about tickets that hold others up at ``now``."""
        return ()
