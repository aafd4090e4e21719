"""Tickets that hold the others up: when it is time to do something about them, and where they can go."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter

from .ledger import QUEUED, Lot, Ticket
from .state import RunState

SLACK = 0.03
"""Seconds of lateness that are noise: a few periods of a CPU quota."""


def following(
    state: RunState, group: Sequence[Ticket], bound: int, taken: int = 0, left: float = math.inf
) -> Lot | None:
    """The lot that started tickets may move to: within the bound, the epoch, what its pool can repay, and the budget.

    A group is one push, so it moves as a whole or not at all. ``taken``: samples of that lot's pool that are promised;
    ``left``: samples that may yet become stale.
    """
    begun = [ticket for ticket in group if ticket.version is not None]
    lot = state.ledger.lots.get(group[0].lot.index + 1)
    if lot is None or not begun or lot.epoch != group[0].lot.epoch:
        return None
    oldest = min([ticket.version for ticket in begun if ticket.version is not None])
    free = lot.free - taken - sum([ticket.size for ticket in begun])
    # A single sample left over would have to be a ticket of its own.
    fits = free >= 0 and free != 1 and becomes_stale(begun) <= left
    return lot if fits and lot.index - oldest <= bound else None


def becomes_stale(group: Sequence[Ticket]) -> int:
    """Samples of a group that are stale if it moves, and are not where it is."""
    return sum(ticket.size for ticket in group if ticket.version is not None and ticket.version >= ticket.lot.index)


class _Waits:
    """What the step under way waits for: groups of tickets, each with the time at which its push is due.

    A group is overdue when it is later than the others would need to compute the samples again: waiting longer would
    cost more than it can save. ``revoked`` are tickets by when their answer is overdue: a worker that hears says within
    the time of its transfers that it gives a ticket back, or that it has started it. ``left``: samples that may yet
    become stale.
    """

    def __init__(self, state: RunState, bound: int, left: float) -> None:
        self.revoked: list[tuple[float, list[Ticket]]] = []
        self.due: list[tuple[float, list[Ticket]]] = []
        self._state = state
        self._bound = bound
        self._left = left
        self._taken = 0
        lot = state.ledger.lots.get(state.version)
        if lot is None or lot.free:
            return
        present = [m for m in state.members.values() if not m.absent]
        if not present:
            return
        groups: dict[int, list[Ticket]] = {}
        for ticket in lot.tickets.values():
            if ticket.revoked is not None:
                self.revoked.append((ticket.revoked + self._answer(ticket.worker), [ticket]))
            elif bound or ticket.state is QUEUED:
                groups.setdefault(ticket.group, []).append(ticket)
        for group in groups.values():
            if due := [ticket.due for ticket in group if ticket.due is not None]:
                self.due.append((max(due), group))
        self._uplink = max([m.uplink.value for m in present])
        self._present = present

    def _answer(self, worker: int) -> float:
        """Seconds in which ``worker`` should answer."""
        member = self._state.members.get(worker)
        return SLACK + (member.downlink.value + member.uplink.value if member is not None else 0.0)

    def before(self, due: float) -> float:
        """A time before which what is due at ``due`` is not overdue: cheap to say, for most are never late."""
        return due + (self._uplink + SLACK)

    def overdue(self, due: float, group: list[Ticket]) -> float:
        """When ``group`` is; never (``inf``) if nobody else could compute it."""
        holder, present = group[0].worker, self._present
        rest = sum([m.pace.value for m in present if m.worker != holder and not m.sits_out])
        # Those who sit out would do if all others hung.
        rest = rest or sum([m.pace.value for m in present if m.worker != holder])
        if not rest:
            return math.inf
        size = sum([ticket.size for ticket in group])
        margin = size / rest + self._uplink + SLACK
        begun = any(ticket.state is not QUEUED for ticket in group)
        if begun and self._following(group) is None:
            # It cannot move, so all that was computed would be lost: wait longer, until it has taken twice its time.
            margin = max(3 * margin, size / self._state.members[holder].pace.value)
        return due + margin

    def _following(self, group: list[Ticket]) -> Lot | None:
        return following(self._state, group, self._bound, self._taken, self._left)

    def move(self, group: list[Ticket]) -> Lot | None:
        """Where ``group`` goes, if it can; for those after it there is less room."""
        to = self._following(group)
        if to is not None:
            self._taken += sum(ticket.size for ticket in group if ticket.state is not QUEUED)
            self._left -= becomes_stale(group)
        return to


def overdue(state: RunState, bound: int, now: float, left: float = math.inf) -> list[tuple[list[Ticket], Lot | None]]:
    """Groups of tickets that the step under way waits for and that are overdue at ``now``, and where each can move.

    ``left``: samples that may yet become stale.
    """
    waits = _Waits(state, bound, left)
    found: list[tuple[list[Ticket], Lot | None]] = [(group, None) for at, group in waits.revoked if at <= now]
    for due, group in waits.due:
        if waits.before(due) <= now and waits.overdue(due, group) <= now:
            found.append((group, waits.move(group)))
    return found


def first_overdue(state: RunState, bound: int, left: float = math.inf) -> float | None:
    """The time at which the first of them is; ``None``: none will be."""
    waits = _Waits(state, bound, left)
    first = min((at for at, _ in waits.revoked), default=math.inf)
    for due, group in sorted(waits.due, key=itemgetter(0)):
        if waits.before(due) >= first:
            break
        first = min(first, waits.overdue(due, group))
    return None if first == math.inf else first
