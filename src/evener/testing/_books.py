"""An account of a run kept from its events and commands alone, beside the coordinator's own ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..core.coordinator import Coordinator
from ..core.ledger import TicketState
from ..core.ranges import Range, size

FREE, OUT = "free", "out"
"""Where a position is before its end: with nobody, or with the holder of a ticket."""


class BrokenPromise(AssertionError):  # noqa: N818
    """Something happened in a run that must never happen."""


def promise(kept: object, what: str) -> None:
    """Fail unless ``kept``.

    Raises:
        BrokenPromise: it is not; the message is ``what``.
    """
    if not kept:
        raise BrokenPromise(what)


@dataclass(slots=True)
class Held:
    """A ticket that is out: ``step`` follows it when it moves."""

    ticket: int
    worker: int
    epoch: int
    step: int
    ranges: tuple[Range, ...]

    @property
    def size(self) -> int:
        """Samples."""
        return size(self.ranges)


@dataclass(slots=True)
class Accepted:
    """A push that was taken, until its sum is added."""

    tickets: tuple[Held, ...]
    versions: tuple[int, ...]
    weight: float

    @property
    def samples(self) -> int:
        """Over its tickets."""
        return sum(ticket.size for ticket in self.tickets)


@dataclass(slots=True)
class EpochBook:
    """Where each position of an epoch is: free, out, or at its end; and what its steps were."""

    places: list[str]
    last_step: int = -1
    ended: bool = False
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counts = {FREE: len(self.places)}

    def shift(self, ranges: Iterable[Range], source: str, target: str) -> None:
        """Move positions from one place to another.

        Raises:
            BrokenPromise: one of them is not where it is moved from.
        """
        for start, stop in ranges:
            promise(0 <= start < stop <= len(self.places), f"({start}, {stop}) is no range of this epoch")
            for position in range(start, stop):
                found = self.places[position]
                promise(found == source, f"position {position} goes {source} → {target} but is {found}")
                self.places[position] = target
            self.counts[source] = self.counts.get(source, 0) - (stop - start)
            self.counts[target] = self.counts.get(target, 0) + (stop - start)

    def count(self, place: str) -> int:
        """How many positions are in ``place``."""
        return self.counts.get(place, 0)


def compare(coordinator: Coordinator, books: dict[int, EpochBook], collects: bool) -> None:
    """The coordinator's state must agree with ``books``, and with itself.

    Raises:
        BrokenPromise: it does not.
    """
    state = coordinator.state
    ledger = state.ledger
    tickets = list(ledger.tickets.values())
    for index, epoch in ledger.epochs.items():
        lots = [lot for lot in ledger.lots.values() if lot.epoch == index]
        free = [span for spans in (epoch.stream, *(lot.pool for lot in lots)) for span in spans]
        out = [span for ticket in tickets if ticket.lot.epoch == index for span in ticket.ranges]
        ends = sum(epoch.ends.values())
        promise(size(free) + size(out) + ends == epoch.positions, f"epoch {index} lost or gained positions")
        book = books[index]
        for spans, place in ((free, FREE), (out, OUT)):
            promise(size(spans) == book.count(place), f"epoch {index}: {size(spans)} {place}, not {book.counts}")
            for start, stop in spans:
                wrong = stop - start - book.places[start:stop].count(place)
                promise(not wrong, f"({start}, {stop}) of epoch {index} is not {place}")
        promise(epoch.unlotted == size(epoch.stream), f"epoch {index}: the stream is not what is not cut yet")
        for lot in lots:
            promise(lot.free == size(lot.pool), f"lot {lot.index}: {lot.free} free, {size(lot.pool)} in its pool")
            held = sum(ticket.size for ticket in lot.tickets.values())
            promise(lot.free + held + lot.settled == lot.quota, f"lot {lot.index} does not sum to its quota")
            if collects:
                batch = state.settings.batch
                promise(lot.quota in (batch, epoch.positions % batch), f"lot {lot.index} is of {lot.quota}")
    of_lots = sum(lot.free for lot in ledger.lots.values())
    promise(ledger.free == of_lots, f"{ledger.free} are free, and {of_lots} of the lots")
    for member in state.members.values():
        started = [t.id for t in member.tickets.values() if t.state is TicketState.STARTED]
        promise(len(started) <= 1, f"worker {member.worker} computes tickets {started} at once")
        promise(not (member.absent and member.tickets), f"worker {member.worker} was given up on but holds tickets")
    by_member = sorted(t.id for member in state.members.values() for t in member.tickets.values())
    promise(by_member == sorted(ledger.tickets), "a ticket is out that no live worker holds")
