"""The checker's book of positions: one byte each, from their first grant on and as long as their epoch is under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..core.ranges import Range
from ..core.standing import EpochStanding
from .accounting import APPLIED, DECLINED, DROPPED, FREE, HELD, REFUSED, WORDS, EpochAccount

MOST = 1 << 30
"""Positions of an epoch that are followed: a number gone wrong must not take all memory."""


@dataclass(slots=True)
class Book:
    """An epoch's positions: how many, and the state of each, as far as they were granted; the others are free."""

    positions: int
    states: bytearray

    @classmethod
    def of(cls, epoch: EpochStanding) -> Book:
        """The book of an epoch of which only the ends are known."""
        book = cls(min(max(epoch.positions, 0), MOST), bytearray())
        ends = ((APPLIED, epoch.applied), (DECLINED, epoch.declined), (REFUSED, epoch.refused))
        for end, ranges in (*ends, (DROPPED, epoch.dropped)):
            book.put(end, ranges)
        return book

    def put(self, state: int, ranges: Sequence[Range]) -> None:
        """These positions, as far as there are such, are in ``state``."""
        for start, stop in ranges:
            start, stop = max(0, start), min(stop, self.positions)
            if stop > len(self.states):
                self.states.extend(bytes([FREE]) * (stop - len(self.states)))
            if start < stop:
                self.states[start:stop] = bytes([state]) * (stop - start)

    def same(self, other: Book) -> bool:
        """Whether both say the same."""
        ours, theirs = (book.states.rstrip(bytes([FREE])) for book in (self, other))
        return self.positions == other.positions and ours == theirs


class Positions:
    """Follows every position from free through held to its end.

    Args:
        complain: is told in words what does not fit.

    Attributes:
        ended: accounts of the epochs that are over, in the order of their ends.

    Example:
        >>> from evener.trace.accounting import FREE
        >>> book = Positions(print)
        >>> book.draw(0, 64)
        >>> book.mark(0, [(0, 48)], FREE, HELD, "ticket 1")
        >>> book.mark(0, [(32, 64)], FREE, HELD, "ticket 2")
        ticket 2 has position 32 of epoch 0, which is held by a ticket
    """

    def __init__(self, complain: Callable[[str], None]) -> None:
        self.ended: list[EpochAccount] = []
        self._complain = complain
        self._counts: dict[int, int] = {}
        self._states: dict[int, bytearray] = {}

    def draw(self, epoch: int, positions: int) -> None:
        """An epoch begins; all of it is free."""
        if epoch in self._states or any(account.epoch == epoch for account in self.ended):
            self._complain(f"epoch {epoch} was drawn twice")
        if not 0 <= positions <= MOST:
            self._complain(f"epoch {epoch} is said to have {positions} positions; the checker follows 0 to {MOST}")
            positions = 0
        self._counts[epoch] = positions
        self._states[epoch] = bytearray()

    def count(self, epoch: int) -> int | None:
        """How many positions an epoch under way has; ``None``: it is not under way."""
        return self._counts.get(epoch)

    def mark(self, epoch: int, ranges: Sequence[Range], old: int, new: int, what: str) -> None:
        """Take positions from one state to the next; complain of ``what`` where they are not in it."""
        book = self._states.get(epoch)
        if book is None:
            self._complain(f"{what} is of epoch {epoch}, which is not under way")
            return
        for start, stop in ranges:
            if not 0 <= start < stop <= self._counts[epoch]:
                self._complain(f"{what} has positions {start} to {stop}; epoch {epoch} has {self._counts[epoch]}")
                continue
            if stop > len(book):
                book.extend(bytes([FREE]) * (stop - len(book)))
            states = book[start:stop]
            if states.count(old) != stop - start:
                at = next(i for i, state in enumerate(states) if state != old)
                self._complain(f"{what} has position {start + at} of epoch {epoch}, which is {WORDS[states[at]]}")
            book[start:stop] = bytes([new]) * (stop - start)

    def restore(self, ended: Sequence[EpochAccount], epochs: Mapping[int, Book]) -> None:
        """Forget everything but this: the epochs that are over, and where the positions of the others are."""
        self.ended[:] = ended
        self._counts = {epoch: book.positions for epoch, book in epochs.items()}
        self._states = {epoch: bytearray(book.states) for epoch, book in epochs.items()}

    def books(self) -> dict[int, Book]:
        """A copy of the books of the epochs under way; what tickets hold is free there."""
        free = bytes.maketrans(bytes([HELD]), bytes([FREE]))
        return {epoch: Book(self._counts[epoch], states.translate(free)) for epoch, states in self._states.items()}

    def end(self, epoch: int) -> EpochAccount | None:
        """An epoch is over; its account, or ``None``: it was not under way."""
        states = self._states.pop(epoch, None)
        if states is None:
            return None
        account = _account(epoch, self._counts.pop(epoch), states, True)
        self.ended.append(account)
        return account

    def accounts(self) -> tuple[EpochAccount, ...]:
        """Those of all epochs, over or under way."""
        under_way = (_account(epoch, self._counts[epoch], states, False) for epoch, states in self._states.items())
        return (*self.ended, *under_way)


def _account(epoch: int, positions: int, states: bytearray, ended: bool) -> EpochAccount:
    count = states.count
    ends = (count(APPLIED), count(DECLINED), count(REFUSED), count(DROPPED))
    return EpochAccount(epoch, positions, *ends, count(HELD), ended)
