"""What is found out once for all who ask is what each would have found out alone; and what a forecast looks at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evener.core import plan
from evener.core.forecast import Forecast, Step
from evener.core.ledger import Lot, Ticket, TicketState
from evener.core.members import Mean, Member
from evener.core.policies import Balanced
from evener.core.state import RunState, Settings
from evener.core.team import Team
from evener.testing.strategies import Schedule, schedules

# A few moments and paces only, so that workers are often equal.
moments = st.sampled_from((0.0, 0.5, 1.0, 1.7))
paces = st.sampled_from((10.0, 33.3, 0.1))


@given(st.lists(st.tuples(moments, paces), min_size=1, max_size=6), st.integers(0, 100), moments, moments, st.data())
def test_the_close_is_that_of_the_asker_among_its_rivals(
    team: list[tuple[float, float]], free: int, sooner: float, landed: float, data: st.DataObject
) -> None:
    basins = [(start, pace, worker) for worker, (start, pace) in enumerate(team)]
    step = Step(Lot(0, 0, 0, 100, [], free), basins, landed)
    asker = data.draw(st.integers(0, len(team)))  # the last takes no part
    start, pace = team[asker] if asker < len(team) else (1.0, 10.0)
    mine = (max(0.0, start - sooner), pace, asker)
    rivals = [basin for basin in basins if basin[2] != asker]
    assert step.close(mine) == max(plan.close_time([mine, *rivals], free), landed)
    piece = min(free, 16)
    first = all(mine[0] + piece / pace <= begin + piece / other for begin, other, _ in rivals)
    assert step.lands_first(mine, 16) is first


@given(
    st.lists(st.tuples(moments, paces), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 7), st.sampled_from((0, 0, 1, 16, 100)), st.sampled_from((8, 16)))),
)
def test_who_delivers_first_is_known_whoever_was_given_something_else(
    team: list[tuple[float, float]], said: list[tuple[int, int, int]]
) -> None:
    step = Step(Lot(0, 0, 0, 100, [], 50), [(*basin, worker) for worker, basin in enumerate(team)], 0.0)
    begins = dict(enumerate(team))
    for number, samples, piece in said:
        worker = number % len(team)
        start, pace = begins[worker]
        if samples:
            step.delay(worker, samples)
            begins[worker] = start + samples / pace, pace
            continue
        landings = {other: begin + piece / speed for other, (begin, speed) in begins.items()}
        rivals = [landing for other, landing in landings.items() if other != worker]
        first = all(landings[worker] <= landing for landing in rivals)
        assert step.lands_first((start, pace, worker), piece) is first
        assert min(landings, key=lambda other: (landings[other], other)) in step.first()


class Forgetful(Balanced):
    """Looks at everything anew for each question."""

    def _look(self, state: RunState) -> Team:
        self._team = self._same = None
        return super()._look(state)


@given(schedules(), st.sampled_from((0, 1, 2, "auto")), st.sampled_from((0.0, 0.1, 0.5)))
def test_a_plan_that_is_kept_decides_as_one_made_anew(schedule: Schedule, bound: int | str, fraction: float) -> None:
    kept = schedule.run(Balanced(bound, fraction), watch=False)
    anew = schedule.run(Forgetful(bound, fraction), watch=False)
    assert kept.log == anew.log


class Thorough(Balanced):
    """Compares whoever asks with all others, even where nothing can come of it."""

    def _may_start(self, state: RunState, member: Member, lot: Lot, now: float) -> bool:
        return True


@given(schedules(), st.sampled_from((0, 1, 2, "auto")), st.sampled_from((0.0, 0.1, 0.5)))
def test_who_is_answered_without_a_plan_would_get_nothing_by_one(
    schedule: Schedule, bound: int | str, fraction: float
) -> None:
    quick = schedule.run(Balanced(bound, fraction), watch=False)
    thorough = schedule.run(Thorough(bound, fraction), watch=False)
    assert quick.log == thorough.log


# A team -----------------------------------------------------------------------------------------------------


def run_of(paces: Sequence[float], batch: int = 100, micro_batch: int = 0, lots: int = 2) -> RunState:
    """Workers of these paces, a quarter of a second from the server, which is half a second from them."""
    state = RunState(Settings(batch, 1, micro_batch=micro_batch))
    for worker, pace in enumerate(paces):
        state.members[worker] = Member(worker, Mean(pace), 1, 0, uplink=Mean(0.25), downlink=Mean(0.5))
    epoch = state.ledger.open_epoch(0, lots * batch)
    for _ in range(lots):
        state.ledger.open_lot(epoch, batch)
    return state


@given(st.lists(st.floats(1.0, 500.0), min_size=1, max_size=6), st.integers(2, 300), st.integers(0, 40))
def test_all_but_each_are_all_but_each(paces: list[float], batch: int, micro_batch: int) -> None:
    state = run_of(paces, batch, micro_batch)
    for member in state.members.values():
        member.uplink.value += member.worker
    outsider = Member(9, Mean(50.0), 1, 0)
    team = Team(state)
    assert team.sizes == ((min(micro_batch, batch),) if micro_batch else plan.ladder(batch, len(paces)))
    for member in (*state.members.values(), outsider):
        others = [other for other in state.members.values() if other is not member]
        assert team.others_pace(member) == pytest.approx(sum(other.pace.value for other in others))
        assert team.others_trip(member) == min((other.uplink.value + 0.5 for other in others), default=0.0)
        if not others:
            assert team.others_step(member) == math.inf
            continue
        size = team.sizes[0]
        whole = plan.whole_tickets([other.seconds(size) for other in others], math.ceil(batch / size))
        step = max(batch / sum(other.pace.value for other in others), whole)
        assert team.others_step(member) == pytest.approx(step)


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_the_tickets_of_a_team_are_cut_for_its_number(workers: int) -> None:
    assert Team(run_of([10.0] * workers, batch=12)).sizes == plan.ladder(12, max(1, workers))


@pytest.mark.parametrize("away", ["sits_out", "absent"])
def test_who_takes_no_part_is_not_in_the_team(away: str) -> None:
    state = run_of([10.0, 20.0, 40.0])
    setattr(state.members[1], away, True)
    team = Team(state)
    assert team.members == [state.members[0], state.members[2]]
    assert [team.others_pace(member) for member in state.members.values()] == [40.0, 50.0, 10.0]


# A forecast -------------------------------------------------------------------------------------------------


def give(
    state: RunState, worker: int, size: int, needs: int = 0, lot: int = 0, due: float | None = None, version: int = -1
) -> Ticket:
    """A ticket; begun on ``version`` if that is one."""
    ticket = state.ledger.issue(state.ledger.lots[lot], worker, size, needs, None)
    ticket.due = due
    if version >= 0:
        ticket.state, ticket.version, ticket.started = TicketState.STARTED, version, 0.0
    state.members[worker].tickets[ticket.id] = ticket
    return ticket


def seen(
    state: RunState, worker: int, now: float = 3.0, reach: int = 1, runners: Sequence[int] = ()
) -> list[tuple[int, object, object]]:
    """Each step's lot, when the worker could begin, and when the step closes."""
    forecast = Forecast(state, Team(state), 3.0, 1, set(runners))
    return [
        (step.lot.index, pytest.approx(mine[0]), pytest.approx(close))
        for step, mine, close in forecast.steps(state.members[worker], 3.0)
    ]


def test_the_next_step_begins_with_the_parameters_of_the_one_before() -> None:
    state = run_of([10.0])
    first = 3.25 + 10.0
    assert seen(state, 0) == [(0, 3.25, first), (1, first + 0.5 + 0.25, first + 0.75 + 10.0)]


def test_who_runs_ahead_begins_without_them() -> None:
    state = run_of([10.0])
    assert seen(state, 0, runners=[0]) == [(0, 3.25, 13.25), (1, 3.25, 13.25)]
    assert seen(state, 0, runners=[7])[1] != (1, 3.25, 13.25)


@pytest.mark.parametrize(("published", "at"), [(2.9, 3.4), (2.5, 3.0), (1.0, 3.0), (None, 3.0)])
def test_parameters_that_are_under_way_are_there_a_transfer_after_their_publication(
    published: float | None, at: float
) -> None:
    state = run_of([10.0])
    state.ledger.close_lot(state.ledger.lots[0])
    state.version = 1
    if published is not None:
        state.published[1] = published
    assert seen(state, 0) == [(1, at + 0.25, at + 10.25)]
    assert seen(state, 0, runners=[0]) == [(1, 3.25, 13.25)]
    state.members[0].version = 1
    assert seen(state, 0) == [(1, 3.25, 13.25)]


def test_what_it_has_of_a_step_and_may_not_start_yet_comes_first() -> None:
    state = run_of([10.0, 10.0])
    for worker, size in ((0, 20), (0, 10), (1, 10)):
        give(state, worker, size, needs=1, lot=1)
    assert seen(state, 0) == [(0, 3.25, 8.25), (1, 8.25 + 0.5 + 3.0 + 0.25, 14.0)]


@pytest.mark.parametrize(("due", "close"), [(9.0, 10.25), (10.25, 10.25), (12.0, 12.0)])
def test_a_step_of_which_nothing_is_free_closes_when_all_have_done_and_its_last_ticket_lands(
    due: float, close: float
) -> None:
    state = run_of([10.0])
    give(state, 0, 60, due=due, version=0)  # under way since 0
    give(state, 0, 40, due=8.0)
    assert seen(state, 0) == [(1, close + 0.75, close + 10.75)]


def test_who_may_be_stale_is_counted_once_and_as_long_as_it_may() -> None:
    state = run_of([10.0])
    forecast = Forecast(state, Team(state), 3.0, 1, set())
    assert forecast.promised == 0
    give(state, 0, 3, needs=1, lot=1)  # waits for its parameters
    give(state, 0, 5, needs=0, lot=1)  # may begin without them
    give(state, 0, 7, needs=0, lot=1, version=0)  # has
    give(state, 0, 11, needs=0, lot=1, version=1)  # might have, but had them
    give(state, 0, 13, needs=0, lot=0)  # of the step under way
    assert Forecast(state, Team(state), 3.0, 1, set()).promised == 5 + 7


def test_the_least_lateness_is_that_of_the_timeliest() -> None:
    state = run_of([10.0, 10.0, 10.0])
    give(state, 0, 10, version=0)  # due at 1
    give(state, 1, 20, version=0)  # at 2
    state.members[2].absent = True
    assert Forecast(state, Team(state), 5.0, 1, set()).least_late == pytest.approx(3.0)
    state.members[0].absent = state.members[1].absent = True
    assert Forecast(state, Team(state), 5.0, 1, set()).least_late == math.inf


def test_who_sits_out_is_told_the_same_forecast() -> None:
    state = run_of([10.0, 10.0])
    state.members[1].sits_out = True
    assert seen(state, 1)[0] == (0, 3.25, 3.25 + 5.0)
    assert seen(state, 0)[0] == (0, 3.25, 3.25 + 10.0)


def test_who_can_do_nothing_for_a_step_is_given_some_of_the_next() -> None:
    state = run_of([100.0, 100.0])
    give(state, 1, 90, due=1.15, version=0)  # until 0.9; worker 0 will have done the other ten by then
    wanted = Balanced(1, 1.0).assign(state, state.members[1], 0.0)
    assert wanted is not None
    assert wanted.lot.index == 1


@pytest.mark.parametrize(
    ("pace", "downlink", "fraction", "runners"),
    [
        (100.0, 5.0, 0.2, (1,)),  # a ticket of 16 is out in each step, because of its link
        (100.0, 5.0, 0.15, ()),
        (10.0, 0.5, 0.1, (1,)),  # a ticket takes 1.85 s and a step 1.12 s: 9.7 of 16 samples a step
        (10.0, 0.5, 0.09, ()),
        (100.0, 0.5, 0.17, (0,)),  # both fit, and a ticket a step hides the wait of either
        (100.0, 0.5, 0.33, (0, 1)),
    ],
)
def test_who_may_run_ahead_is_who_the_budget_allows(
    pace: float, downlink: float, fraction: float, runners: tuple[int, ...]
) -> None:
    state = run_of([100.0, pace])
    state.members[1].downlink.value = downlink
    planned = Balanced(1, fraction).opened(state, state.ledger.lots[0])
    assert [said.ahead for said in planned] == ([runners] if runners else [])
    budget = 100 * fraction * (1 - 0.03 * (1 - fraction))
    assert [said.samples for said in planned] == ([pytest.approx(budget)] if runners else [])


@pytest.mark.parametrize(
    ("pace", "leaves", "stays_out"), [(15.0, True, True), (16.5, False, True), (18.0, False, False)]
)
def test_who_sits_out_must_fit_better_than_that_to_be_called_back(pace: float, leaves: bool, stays_out: bool) -> None:
    # The other's step takes 1.12 s and 0.75 s of transfers, of which a ticket may take 0.9, or 0.81 to come back.
    for sits_out, too_slow in ((False, leaves), (True, stays_out)):
        state = run_of([100.0, pace])
        state.members[1].sits_out = sits_out
        assert bool(Balanced(0).sits_out(state, state.members[1])) is too_slow


@pytest.mark.parametrize(
    ("pace", "uplink", "downlink", "said"),
    [
        (5.0, 0.25, 0.5, "its smallest ticket takes 1.9 s, too long for a step of 1.1 s: a larger batch"),
        (5.0, 0.5, 1.5, "its smallest ticket takes 2.1 s, too long for a step of 1.1 s: a larger batch"),
        (100.0, 0.5, 3.0, "its link is too slow: new parameters take 3 s to it, its smallest ticket 0.16 s, too long"),
        (100.0, 3.0, 0.5, "its link is too slow: a contribution takes 3 s from it, its smallest ticket 0.16 s, too"),
        (5.0, 0.5, 9.0, "its link is too slow: new parameters take 9 s to it, its smallest ticket 1.6 s, too long"),
    ],
)  # fmt: skip
def test_who_sits_out_is_told_what_is_too_slow(pace: float, uplink: float, downlink: float, said: str) -> None:
    state = run_of([100.0, pace])
    slow = state.members[1]
    slow.uplink.value, slow.downlink.value = uplink, downlink
    assert Balanced(0).sits_out(state, slow).startswith(said)


@pytest.mark.parametrize(("free", "size"), [(20, 20), (24, 24), (25, 16), (30, 16), (60, 16)])
def test_what_begins_ahead_takes_only_a_small_rest_along(free: int, size: int) -> None:
    state = run_of([100.0, 100.0])
    policy = Balanced(1, 1.0)
    policy.opened(state, state.ledger.lots[0])
    give(state, 1, 100, due=1.25, version=0)
    state.ledger.issue(state.ledger.lots[1], 1, 100 - free, 1, None)
    wanted = policy.assign(state, state.members[0], 0.0)
    assert wanted is not None
    assert (wanted.lot.index, wanted.size, wanted.min_version) == (1, size, 0)
