"""Balanced: planned batches with a staleness budget. Ours, and the default."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import ClassVar

from .. import plan
from ..budget import Budget
from ..commands import Planned
from ..fitting import Fitting
from ..forecast import Forecast
from ..ledger import QUEUED, Lot
from ..members import Member
from ..overdue import first_overdue, overdue
from ..state import RunState
from ..team import Team
from .base import Assignment, Late, Policy, whole

FRACTION = 0.6
"""Of its share of a step's remainder, what a worker gets as one ticket (guided self-scheduling)."""

SHORTEST = 0.03
"""Seconds under which a ticket is not worth its overhead, unless it would be more than a sixteenth of the batch."""

AGAIN = 0.25
"""Seconds after which all of many workers that were passed over are asked again; a forecast is kept as long at most."""

AUTO = "auto"
"""The word for a bound that follows from the transfers."""

MOST = 4
"""The bound where it is :data:`AUTO`, in steps: whoever needs more is served better by a larger batch."""


class Balanced(Policy):
    """The optimizer sees what it would see in synchronous training; who computed the samples does not matter.

    For a worker that asks, the plan takes the first open step whose forecast close leaves it a useful share and
    grants a part of that share, so that all pushes of a step land together. A ticket that cannot land before the
    close of step ``t`` is thereby bound to ``t+1``. Whether it may start on the weights at hand is the staleness
    budget's to say.

    Args:
        bound: ``S``, the most staleness tolerated, in steps. 0: synchronous SGD with shares in proportion to pace.
            ``"auto"``: as many steps as the longest way from a worker's push to newer parameters takes at present,
            at least 1 and at most 4.
        stale_fraction: ``φ``, the mean share of a batch's samples that may have staleness ≥ 1, in [0, 1]. By
            default what ``docs/results/study`` found to cost no accuracy.
        look_ahead: whether a ticket that starts ``j`` steps early is computed where momentum will have carried the
            parameters by then: at ``w_v + Σ_{k=1..j} μᵏ (w_v − w_{v−1})``.

    Raises:
        ValueError: ``bound`` is neither ``"auto"`` nor a whole number from 0, ``stale_fraction`` is outside [0, 1], or
            ``look_ahead`` is no yes or no.
    """

    name: ClassVar[str] = "balanced"

    def __init__(self, bound: int | str = 1, stale_fraction: float = 0.05, look_ahead: bool = False) -> None:
        number = isinstance(stale_fraction, int | float) and not isinstance(stale_fraction, bool)
        if not number or not 0 <= stale_fraction <= 1:
            raise ValueError(f"stale_fraction must be a number between 0 and 1, not {stale_fraction!r}")
        if look_ahead not in (False, True):
            raise ValueError(f"look_ahead must be true or false, not {look_ahead!r}")
        self.bound = bound
        self.most = MOST if bound == AUTO else whole("bound", bound, 0, f"steps (or the word {AUTO!r})")
        self.stale_fraction = stale_fraction
        self.look_ahead = bool(look_ahead)
        self.reproducible = self.most == 0
        self._reach = 1 if bound == AUTO else self.most
        self._budget = Budget(stale_fraction)
        self._fitting = Fitting(stale_fraction)
        self._seen: tuple[int, int, int] | None = None
        self._team: Team | None = None
        self._same: Team | None = None  # as long as its members are
        self._forecast: Forecast | None = None
        self._sizes: dict[int, tuple[int, tuple[int, ...], tuple[int, ...]]] = {}
        self._waited: tuple[int, int] | None = None
        self._overdue: float | None = None

    @property
    def lots_ahead(self) -> int:  # type: ignore[override]
        """Lots that may be open beyond the oldest."""
        return max(1, self._reach)

    # What a worker may do next ------------------------------------------------------------------------------

    def assign(self, state: RunState, member: Member, now: float) -> Assignment | None:
        """A ticket of the first open step that leaves this worker a useful share."""
        free = [lot for lot in state.ledger.lots.values() if lot.free]
        if state.few and member.waits(state.version):
            # It would be given only what it may start now: most of those who ask are answered without a plan.
            while free and not self._may_start(state, member, free[-1], now):
                free.pop()
        if not free:
            return None
        forecast = self._foresee(state, now)
        team = forecast.team
        sizes = self._sizes_for(state, team, member)
        elapsed = now - forecast.now
        # Who sits out is of use again only when all others hang for longer than it needs.
        if member.sits_out and forecast.least_late < sizes[0] / member.pace.value:
            return None
        for step, mine, close in forecast.steps(member, now, free[-1].index):
            start, pace, _ = mine
            part = pace / (pace + team.others_pace(member))
            share = plan.caution(part, member.noise.value) * pace * (close - start)
            if share < plan.worth(part) * sizes[0] and not step.lands_first(mine, sizes[0], elapsed):
                continue
            return self._ticket(member, step.lot, share, sizes, forecast)
        return None

    def granted(self, state: RunState, member: Member, lot: Lot) -> None:
        """A forecast that is kept knows of it."""
        if self._forecast is not None and not state.few:
            self._forecast.granted(member.worker, list(member.tickets.values())[-1].size)

    def hinges(self, state: RunState, now: float) -> object:
        """On everything. Of many workers only the best placed are asked again all the time."""
        if state.few:
            return None
        return state.version, int(now / AGAIN)

    def best_placed(self, state: RunState) -> Iterable[int]:
        """Who has time for a ticket, by the last forecast."""
        return () if self._forecast is None or state.few else self._forecast.useful()

    def _look(self, state: RunState) -> Team:
        """Who takes part; looked up again, and forecast again, where something has changed."""
        seen = state.glance, state.version, len(state.ledger.lots)
        if self._team is None or self._seen != seen:
            self._seen, self._team, self._forecast = seen, Team(state, self._same), None
            self._same = self._team
        return self._team

    def _foresee(self, state: RunState, now: float) -> Forecast:
        """When steps close, as long as that holds."""
        team = self._look(state)
        if self._forecast is None or now > self._forecast.now + AGAIN:
            self._forecast = Forecast(state, team, now, self._reach, self._budget.runners)
        return self._forecast

    def came(self, state: RunState, member: Member, now: float) -> None:
        """There is another team."""
        self._same = self._team = self._forecast = None
        self._sizes.pop(member.worker, None)
        self._fitting.forget(member.worker)

    went = came

    def _may_start(self, state: RunState, member: Member, lot: Lot, now: float) -> bool:
        """Whether a ticket of ``lot`` might be one that ``member`` may start on the weights that there are."""
        if lot.index <= state.version:
            return True
        team, budget = self._same or self._look(state), self._budget
        least = min(self._fitting.smallest(team, member), lot.free)
        if budget.runs_ahead(member, lot):
            return True
        return budget.covers(least) and budget.covers(least, self._foresee(state, now).promised)

    def _ticket(self, member: Member, lot: Lot, share: float, sizes: Sequence[int], forecast: Forecast) -> Assignment:
        size = plan.ticket_size(sizes, share, lot.free, FRACTION)
        if member.version >= lot.index:
            return Assignment(lot, size, lot.index)
        # The weights of this step are not at the worker yet. It may start without them only within the budget, and
        # then on no more than the wait is worth: what began stale stays stale.
        hide = min(plan.floor_to(sizes, min(share, member.pace.value * member.turn.value)), lot.free)
        if self._budget.runs_ahead(member, lot) or self._budget.covers(hide, forecast.promised):
            if lot.free - hide < sizes[0]:
                hide = lot.free if lot.free <= 1.5 * sizes[0] else hide
            forecast.promised += hide
            return Assignment(lot, hide, max(0, lot.index - self._reach))
        return Assignment(lot, size, lot.index)

    def _sizes_for(self, state: RunState, team: Team, member: Member) -> tuple[int, ...]:
        """The ladder without what does not suit this worker: too large to be efficient, or too short for a ticket."""
        ladder = team.sizes
        known, of, found = self._sizes.get(member.worker, (-1, (), ()))
        if known != member.learnt or of is not ladder:
            sizes = member.efficient(self._fitting.ladder(team, member))
            shortest = plan.floor_to(sizes, min(member.pace.value * SHORTEST, state.settings.batch / 16))
            found = sizes[bisect_left(sizes, shortest) :]
            self._sizes[member.worker] = member.learnt, ladder, found
        return found

    # The staleness budget -----------------------------------------------------------------------------------

    def opened(self, state: RunState, lot: Lot) -> Sequence[Planned]:
        """Choose who may run ahead into this step, and how far; said when it changes."""
        if not self.most:
            return ()
        if self._same is None:
            self._team = None  # others sit out than did: nothing is kept beyond that
        team = self._look(state)
        before = self._reach, self._budget.runners
        if self.bound == AUTO:
            step = state.settings.batch / max(sum(team.paces), 1e-9)
            self._reach = max(1, min(MOST, math.ceil(max(team.trips, default=0.0) / step)))
        runners = [self._runner(state, team, member) for member in team.members]
        samples = self._budget.of(lot)
        self._budget.runners = plan.choose_runners(runners, samples)
        if (self._reach, self._budget.runners) == before:
            return ()
        return (Planned(lot.index, self._reach, tuple(sorted(self._budget.runners)), samples),)

    def _runner(self, state: RunState, team: Team, member: Member) -> plan.Runner:
        """What running ahead is worth: the wait it saves, or all that ``member`` does if it cannot help otherwise."""
        seconds, step, fits = self._fitting.fit(team, member)
        hidden = member.pace.value * member.turn.value
        stale = plan.floor_to(self._sizes_for(state, team, member), hidden)
        if not fits:
            a_step = stale * min(1.0, step / seconds)
            return plan.Runner(member.worker, a_step, a_step)
        return plan.Runner(member.worker, hidden, stale)

    def closed(self, state: RunState, lot: Lot) -> None:
        """Settle the budget."""
        self._budget.settle(lot, state.settings.batch)

    def memory(self) -> tuple[tuple[str, float], ...]:
        """What the budget has saved, or owes."""
        return self._budget.memory()

    def recall(self, memory: tuple[tuple[str, float], ...]) -> None:
        """It still does."""
        self._budget.recall(memory)

    def too_stale(self, staleness: int) -> bool:
        """Beyond the bound."""
        return staleness > self.most

    # Workers that hold others up ----------------------------------------------------------------------------

    def sits_out(self, state: RunState, member: Member) -> str:
        """A worker sits out when its smallest ticket would make the steps of the others longer."""
        team = self._look(state)
        if self._fitting.suit(state.settings, team, member):
            self._sizes.pop(member.worker, None)
        why = self._fitting.useless(state.settings, team, member, ahead=self._reach > 0)
        if bool(why) != member.sits_out:
            self._same = None
        return why

    def deadline(self, state: RunState) -> float | None:
        """When the earliest ticket of the step under way counts as late, once nothing of it is left to hand out."""
        lot = state.ledger.lots.get(state.version)
        if lot is None or lot.free:
            return None
        seen = lot.index, state.glance  # a deadline that comes too soon costs a look
        if self._waited != seen:
            self._waited, self._overdue = seen, first_overdue(state, self.most, self._left(state))
        return self._overdue

    def late(self, state: RunState, now: float) -> list[Late]:
        """Move what can move within the budget, free what cannot; take back what was not started."""
        self._waited = None
        remedies: list[Late] = []
        for group, to in overdue(state, self.most, now, self._left(state)):
            for ticket in group:
                if ticket.state is QUEUED:
                    remedies.append(Late(ticket, expire=ticket.revoked is not None))
                elif self.most:
                    remedies.append(Late(ticket, to, expire=to is None))
        return remedies

    def _left(self, state: RunState) -> float:
        """Samples of the step under way that may yet move to the next."""
        lots = [lot for lot in state.lots() if lot.index <= state.version + 1]
        return self._budget.left(lots, state.settings.batch)
