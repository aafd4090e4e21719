"""Tickets that hold the others up: when it is time to do something about them, and where they can go."""

from __future__ import annotations

from collections.abc import Sequence

from .ledger import Lot, Ticket, TicketState
from .state import RunState

ANSWER = 0.5
"""Seconds in which a worker that hears should answer that it gives a ticket back, or that it started it."""

SLACK = 0.03
"""Seconds of lateness that are noise: a few periods of a CPU quota."""


def following(state: RunState, group: Sequence[Ticket], bound: int, taken: int = 0) -> Lot | None:
    """The lot that started tickets may move to: within the bound, the epoch, and what its pool can repay.

    A group is one push, so it moves as a whole or not at all. ``taken``: samples of that lot's pool that are promised.
    """
    begun = [ticket for ticket in group if ticket.version is not None]
    lot = state.ledger.lots.get(group[0].lot.index + 1)
    if lot is None or not begun or lot.epoch != group[0].lot.epoch:
        return None
    oldest = min(ticket.version for ticket in begun if ticket.version is not None)
    left = lot.free - taken - sum(ticket.size for ticket in begun)
    # A single sample left over would have to be a ticket of its own.
    fits = left >= 0 and left != 1
    return lot if fits and lot.index - oldest <= bound else None


def overdue(state: RunState, bound: int) -> list[tuple[float, list[Ticket]]]:
    """Groups of tickets that the step under way waits for, with the time at which each is overdue.

    Overdue is later than the others would need to compute the samples again: waiting longer would cost more
    than it can save.
    """
    lot = state.ledger.lots.get(state.version)
    # Those who sit out, too: they would do if all others hung.
    present = [m for m in state.members.values() if not m.absent]
    if lot is None or lot.free or not present:
        return []
    uplink = max(m.uplink.value for m in present)
    groups: dict[int, list[Ticket]] = {}
    found = []
    for ticket in lot.tickets.values():
        if ticket.revoked is not None:
            found.append((ticket.revoked + ANSWER, [ticket]))
        elif bound or ticket.state is TicketState.QUEUED:
            groups.setdefault(ticket.group, []).append(ticket)
    for group in groups.values():
        others = [m for m in present if m.worker != group[0].worker]
        rest = sum(m.pace.value for m in others if not m.sits_out) or sum(m.pace.value for m in others)
        if not rest:
            continue  # nobody else could compute it
        due = [ticket.due for ticket in group if ticket.due is not None]
        if not due:
            continue
        margin = sum(ticket.size for ticket in group) / rest + uplink + SLACK
        begun = any(ticket.state is not TicketState.QUEUED for ticket in group)
        if begun and following(state, group, bound) is None:
            margin *= 3  # it cannot move, so all that was computed would be lost: wait longer
        found.append((max(due) + margin, group))
    return found
