"""The ledger: which positions are where, so that each counts exactly once.

A *lot* is what a policy collects towards: one batch for policies that step once per batch, a whole epoch for those
that step per push. Its *pool* holds the positions nobody has. Tickets take positions out of a pool and either settle
them (applied, declined, refused) or give them back. The ledger knows nothing of time, pace or policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum

from . import ranges as r
from .ranges import Range, Spans


class TicketState(Enum):
    """Where a ticket is in its life; ``docs/architecture.md`` draws it."""

    QUEUED = "queued"
    STARTED = "started"
    COMPUTED = "computed"


QUEUED, STARTED, COMPUTED = TicketState
"""By these names they are compared many times for each contribution: to look one up in an ``Enum`` takes ten times as
long as to compare it."""


class Fate(StrEnum):
    """How a position ends. Exactly one of these, exactly once."""

    APPLIED = "applied"
    DECLINED = "declined"
    REFUSED = "refused"
    DROPPED = "dropped"


@dataclass(slots=True, eq=False)
class Ticket:
    """The right and duty of ``worker`` to compute the gradient of ``ranges``, once.

    ``due`` is when its contribution should be here, by the worker's own pace; ``None`` while that depends on others.
    ``revoked`` is when it was asked back.
    """

    id: int
    worker: int
    lot: Lot
    group: int
    ranges: tuple[Range, ...]
    size: int
    min_version: int
    state: TicketState = TicketState.QUEUED
    version: int | None = None
    started: float | None = None
    computed: float | None = None
    due: float | None = None
    revoked: float | None = None


@dataclass(slots=True, eq=False)
class Lot:
    """``quota`` positions of one epoch from ``start`` on, collected together. Counts are in samples.

    ``ended`` says which positions have their end.
    """

    index: int
    epoch: int
    start: int
    quota: int
    pool: list[Range]
    free: int
    tickets: dict[int, Ticket] = field(default_factory=dict)
    applied: int = 0
    declined: int = 0
    refused: int = 0
    stale: int = 0
    weight: float = 0.0
    ended: dict[Fate, Spans] = field(default_factory=dict)

    def end(self, fate: Fate, ranges: tuple[Range, ...], samples: int) -> None:
        """These positions reach their end."""
        if fate is Fate.APPLIED:
            self.applied += samples
        elif fate is Fate.DECLINED:
            self.declined += samples
        elif fate is Fate.REFUSED:
            self.refused += samples
        else:
            raise ValueError("only what is left of a stream is dropped, never a ticket")
        ended = self.ended.get(fate)
        if ended is None:
            ended = self.ended[fate] = Spans()
        ended.add(ranges)

    @property
    def settled(self) -> int:
        """Samples that reached their end."""
        return self.applied + self.declined + self.refused

    @property
    def promised(self) -> int:
        """Samples under way that are, or may be, computed on parameters older than this lot's."""
        return sum(
            ticket.size
            for ticket in self.tickets.values()
            if (ticket.min_version if ticket.version is None else ticket.version) < self.index
        )

    @property
    def complete(self) -> bool:
        """Nothing is in the pool and no ticket is out."""
        return self.applied + self.declined + self.refused == self.quota

    def next_block(self, size: int) -> int:
        """Samples of the first free block, where the lot is handed out in blocks of ``size`` (:func:`ranges.block`)."""
        start, stop = r.block((self.start, self.start + self.quota), self.pool[0][0], size)
        return stop - start

    def batches_ended(self, samples: int, batch: int) -> int:
        """How many batches the last ``samples`` that were settled have ended; an epoch's remainder is one."""
        settled = self.settled
        due = settled // batch - (settled - samples) // batch
        return due + (1 if settled == self.quota and self.quota % batch else 0)


@dataclass(slots=True)
class Epoch:
    """One pass over the sampler's order; counts are in samples.

    ``closed`` says which positions have their end, of those that no open lot has.
    """

    index: int
    positions: int
    stream: list[Range]
    unlotted: int
    ends: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    ended: int = 0
    closed: dict[Fate, Spans] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Every position is settled."""
        return self.ended == self.positions

    def end(self, fate: Fate, samples: int) -> None:
        """So many positions reach their end."""
        self.ends[fate] += samples
        self.ended += samples

    def keep(self, fate: Fate, ranges: tuple[Range, ...]) -> None:
        """Remember that these positions, of no open lot, ended so."""
        if ranges:
            self.closed.setdefault(fate, Spans()).add(ranges)


class Ledger:
    """Opens epochs and lots, issues tickets and settles them.

    Invariant, checked by the property tests: for each epoch, stream + pools + live tickets + ends == positions.

    Attributes:
        free: positions in the pools of all lots.
    """

    def __init__(self, first_lot: int = 0, first_ticket: int = 0) -> None:
        self.epochs: dict[int, Epoch] = {}
        self.lots: dict[int, Lot] = {}
        self.tickets: dict[int, Ticket] = {}
        self.free = 0
        self._next_ticket = first_ticket
        self._next_lot = first_lot

    def open_epoch(self, index: int, positions: int) -> Epoch:
        """Start the stream of epoch ``index``."""
        stream = [(0, positions)] if positions else []
        epoch = self.epochs[index] = Epoch(index, positions, stream, positions)
        return epoch

    def drop_rest(self, epoch: Epoch) -> tuple[Range, ...]:
        """End what is left of the stream as dropped; returns the positions."""
        rest = r.take(epoch.stream, epoch.unlotted)
        epoch.end(Fate.DROPPED, epoch.unlotted)
        epoch.keep(Fate.DROPPED, rest)
        epoch.unlotted = 0
        return rest

    def open_lot(self, epoch: Epoch, quota: int) -> Lot:
        """Cut the next ``quota`` positions from the stream into a lot of their own."""
        pool = list(r.take(epoch.stream, quota))
        epoch.unlotted -= quota
        lot = Lot(self._next_lot, epoch.index, pool[0][0], quota, pool, quota)
        self.free += quota
        self.lots[lot.index] = lot
        self._next_lot += 1
        return lot

    def reopen_lot(self, epoch: Epoch, free: int, ended: dict[Fate, tuple[Range, ...]]) -> Lot:
        """Open a lot of which the next ``free`` positions of the stream are left, the others have ``ended``."""
        settled = {fate: r.size(ranges) for fate, ranges in ended.items()}
        pool = list(r.take(epoch.stream, free))
        epoch.unlotted -= free
        self.free += free
        start = min(span[0] for spans in (pool, *ended.values()) for span in spans)
        lot = Lot(self._next_lot, epoch.index, start, free + sum(settled.values()), pool, free)
        for fate, ranges in ended.items():
            if ranges:
                lot.end(fate, ranges, settled[fate])
        self.lots[lot.index] = lot
        self._next_lot += 1
        return lot

    def close_lot(self, lot: Lot) -> None:
        """Forget a lot whose every position is settled."""
        for fate, spans in lot.ended.items():
            self.epochs[lot.epoch].keep(fate, spans.merged())
        del self.lots[lot.index]

    def oldest_free(self) -> Lot | None:
        """The oldest lot of which something is free."""
        for lot in self.lots.values():
            if lot.free:
                return lot
        return None

    def issue(self, lot: Lot, worker: int, size: int, min_version: int, group: int | None) -> Ticket:
        """Take ``size`` positions out of the lot's pool. ``group``: an earlier ticket's to be pushed with, or none."""
        taken = r.take(lot.pool, size)
        lot.free -= size
        self.free -= size
        ident = self._next_ticket
        self._next_ticket += 1
        ticket = Ticket(ident, worker, lot, ident if group is None else group, taken, size, min_version)
        lot.tickets[ident] = self.tickets[ident] = ticket
        return ticket

    def give_back(self, ticket: Ticket) -> None:
        """Return the ticket's positions to its lot's pool; the ticket is no more."""
        r.give_back(ticket.lot.pool, ticket.ranges)
        ticket.lot.free += ticket.size
        self.free += ticket.size
        self._forget(ticket)

    def settle(self, ticket: Ticket, fate: Fate) -> None:
        """End the ticket's positions."""
        lot = ticket.lot
        lot.end(fate, ticket.ranges, ticket.size)
        self.epochs[lot.epoch].end(fate, ticket.size)
        self._forget(ticket)

    def move(self, ticket: Ticket, lot: Lot) -> None:
        """Let the ticket count for ``lot``, whose pool repays the positions to the ticket's old one.

        Both lots keep their quota, so each still sums to exactly its batch.

        Raises:
            ValueError: the pool of ``lot`` cannot repay, or the lots are of different epochs.
        """
        if lot.free < ticket.size or lot.epoch != ticket.lot.epoch:
            raise ValueError("a ticket moves only to a lot of its epoch that can repay its positions")
        old = ticket.lot
        r.give_back(old.pool, r.take(lot.pool, ticket.size))
        lot.free -= ticket.size
        old.free += ticket.size
        del old.tickets[ticket.id]
        lot.tickets[ticket.id] = ticket
        ticket.lot = lot

    def _forget(self, ticket: Ticket) -> None:
        del ticket.lot.tickets[ticket.id]
        del self.tickets[ticket.id]
