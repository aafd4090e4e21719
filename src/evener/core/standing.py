"""Where a run stands between two steps, as a plain value: what a checkpoint keeps of the coordinator.

A standing knows what the parameters of its version contain and nothing beyond: who was a member, which tickets were out
and what was collected towards the next step are left out, so those samples are computed again.
"""

from __future__ import annotations

from . import ranges as r
from .ledger import Epoch, Fate, Ledger, Lot
from .ranges import Range
from .values import value

TICKETS = 1 << 32
"""Ticket numbers set aside for each time a run is resumed: none of a server that was lost is ever granted again."""


@value
class EpochStanding:
    """An epoch under way: which of its positions have their end, and so are not computed again.

    ``quota`` is the size of its lot where each push is a step of its own (0: none is open).
    """

    epoch: int
    positions: int
    applied: tuple[Range, ...] = ()
    declined: tuple[Range, ...] = ()
    refused: tuple[Range, ...] = ()
    dropped: tuple[Range, ...] = ()
    quota: int = 0

    @property
    def free(self) -> tuple[Range, ...]:
        """The other positions, in order.

        >>> EpochStanding(0, 10, applied=((0, 4),), declined=((6, 8),)).free
        ((4, 6), (8, 10))
        """
        return r.without(self.positions, (*self.applied, *self.declined, *self.refused, *self.dropped))


@value
class Standing:
    """A run between two steps.

    Attributes:
        version: newest version.
        ended: how many epochs are over.
        epochs: those that are drawn and not over, in order.
        owed: epochs that are over and whose snapshot the script has not taken.
        resumed: how often the run was resumed, once it goes on from here.
        policy: what the policy wants to remember.
    """

    version: int = 0
    ended: int = 0
    epochs: tuple[EpochStanding, ...] = ()
    owed: tuple[int, ...] = ()
    resumed: int = 0
    policy: tuple[tuple[str, float], ...] = ()


def standing_of(epoch: Epoch, lots: list[Lot], collects: bool) -> EpochStanding:
    """Of an epoch with these open ``lots``; where a step collects, what they have collected does not count yet."""
    ends = {fate: list(spans.merged()) for fate, spans in epoch.closed.items()}
    if not collects:
        for lot in lots:
            for fate, spans in lot.ended.items():
                r.give_back(ends.setdefault(fate, []), spans.merged())
    found = {fate.value: tuple(ranges) for fate, ranges in ends.items()}
    quota = 0 if collects else sum(lot.quota for lot in lots)
    return EpochStanding(epoch.index, epoch.positions, **found, quota=quota)


def restore(ledger: Ledger, past: EpochStanding) -> None:
    """Open an epoch in ``ledger`` as it stood: what has no end is free."""
    ends: dict[Fate, tuple[Range, ...]] = {fate: getattr(past, fate.value) for fate in Fate}
    epoch = ledger.open_epoch(past.epoch, past.positions)
    epoch.stream = list(past.free)
    epoch.unlotted = r.size(epoch.stream)
    for fate, ranges in ends.items():
        epoch.end(fate, r.size(ranges))
    if not past.quota:
        for fate, ranges in ends.items():
            epoch.keep(fate, ranges)
        return
    epoch.keep(Fate.DROPPED, ends.pop(Fate.DROPPED))
    settled = sum(r.size(ranges) for ranges in ends.values())
    ledger.reopen_lot(epoch, past.quota - settled, ends)
