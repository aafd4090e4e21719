"""Who holds which ticket, and the ways in which a ticket ends."""

from __future__ import annotations

from . import commands as c
from . import events as e
from .feeding import Feeder
from .ledger import Fate, Ticket
from .state import RunState


class Holdings:
    """Keeps the ledger and what its members have in hand in step.

    Args:
        state: of the run.
        feeder: hears whose hands are free, and that positions are.
        out: what goes back is said here.
    """

    def __init__(self, state: RunState, feeder: Feeder, out: list[c.Command]) -> None:
        self._state = state
        self._feeder = feeder
        self._out = out

    def live(self, worker: int, ticket: int) -> Ticket | None:
        """The ticket, if it is the worker's."""
        found = self._state.ledger.tickets.get(ticket)
        return found if found is not None and found.worker == worker else None

    def known(self, worker: int, ticket: int) -> Ticket | None:
        """The ticket if it is the worker's, or was and the worker may not know yet that it is not."""
        member = self._state.members.get(worker)
        return None if member is None else member.tickets.get(ticket) or member.lost.get(ticket)

    def released(self, report: e.Released, now: float) -> None:
        """A worker gives a revoked ticket back."""
        if found := self.live(report.worker, report.ticket):
            self.give_back(found, "revoked")
        self.answered(report.worker, report.ticket)

    def answered(self, worker: int, ticket: int) -> None:
        """The worker is through with ``ticket``."""
        if (member := self._state.members.get(worker)) and member.lost.pop(ticket, None):
            member.changed = True
            self._feeder.offer(worker)

    def settle(self, ticket: Ticket, fate: Fate) -> None:
        """Its positions reach their end."""
        self._state.ledger.settle(ticket, fate)
        self._forget(ticket)

    def give_back(self, ticket: Ticket, why: str) -> None:
        """Its positions are free again; its worker may not know yet."""
        self._state.ledger.give_back(ticket)
        self._forget(ticket)
        if member := self._state.members.get(ticket.worker):
            member.lost[ticket.id] = ticket
            member.changed = True
        self._out.append(c.Returned(ticket.id, why))
        self._feeder.offer_all()

    def _forget(self, ticket: Ticket) -> None:
        if member := self._state.members.get(ticket.worker):
            member.tickets.pop(ticket.id, None)
            member.changed = True
