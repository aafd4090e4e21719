"""When a ticket that is late has held the others up for long enough, and where it may go."""

from __future__ import annotations

import pytest

from evener.core.ledger import Ticket, TicketState
from evener.core.members import Mean, Member
from evener.core.overdue import SLACK, first_overdue, following, overdue
from evener.core.state import RunState, Settings

UPLINK = 0.25


@pytest.fixture
def state() -> RunState:
    """Worker 0 has all of step 0, whose 40 samples the others would compute at 10 and 40 samples/s; step 1 is free."""
    state = RunState(Settings(batch=40, epochs=1))
    for worker, pace in enumerate((5.0, 10.0, 40.0)):
        state.members[worker] = Member(worker, Mean(pace), 1, 0, uplink=Mean(UPLINK if worker == 2 else 0.1))
    epoch = state.ledger.open_epoch(0, 120)
    for _ in range(2):
        state.ledger.open_lot(epoch, 40)
    return state


def hold(state: RunState, size: int = 40, due: float | None = 5.0, group: int | None = None) -> Ticket:
    ticket = state.ledger.issue(state.ledger.lots[0], 0, size, 0, group)
    ticket.due = due
    return ticket


def start(ticket: Ticket, version: int = 0) -> None:
    ticket.state, ticket.version, ticket.started = TicketState.STARTED, version, 0.0


def at(state: RunState, bound: int = 1) -> float | None:
    """When the first is overdue; that moment and the one before agree with it."""
    time = first_overdue(state, bound)
    if time is not None:
        assert overdue(state, bound, time)
        assert not overdue(state, bound, time - 1e-6)
    return time


# How long to wait -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sitting", "absent", "pace"),
    [([], [], 50.0), ([2], [], 10.0), ([1, 2], [], 50.0), ([0], [], 50.0), ([], [2], 10.0), ([1], [2], 10.0)],
    ids=[
        "all",
        "one sits out",
        "the others sit out",
        "the holder sits out",
        "one is absent",
        "nobody but who sits out",
    ],
)
def test_it_is_overdue_when_the_others_would_have_computed_it_again(
    state: RunState, sitting: list[int], absent: list[int], pace: float
) -> None:
    hold(state)
    for worker in sitting:
        state.members[worker].sits_out = True
    for worker in absent:
        state.members[worker].absent = True
    uplink = 0.1 if absent else UPLINK  # of the slowest that is here
    assert at(state) == pytest.approx(5.0 + 40 / pace + uplink + SLACK)


def test_what_nobody_else_could_compute_is_never_overdue(state: RunState) -> None:
    hold(state)
    state.members[1].absent = state.members[2].absent = True
    assert at(state) is None
    state.members[0].absent = True
    assert at(state) is None


def test_nothing_is_overdue_while_something_is_free_or_when_it_is_due_is_unknown(state: RunState) -> None:
    hold(state, 30)
    assert at(state) is None
    hold(state, 10, due=None)
    assert at(state) == pytest.approx(5.0 + 30 / 50 + UPLINK + SLACK)
    for ticket in state.ledger.tickets.values():
        ticket.due = None
    assert at(state) is None
    state.version = 7
    assert at(state) is None


def test_a_push_is_due_with_its_last_ticket_and_is_computed_again_whole(state: RunState) -> None:
    first = hold(state, 10, due=4.0)
    hold(state, 30, due=6.0, group=first.group)
    assert at(state) == pytest.approx(6.0 + 40 / 50 + UPLINK + SLACK)


def test_of_several_pushes_the_first_counts(state: RunState) -> None:
    large, small = hold(state, 30, due=4.9), hold(state, 10, due=5.0)
    assert at(state) == pytest.approx(5.0 + 10 / 50 + UPLINK + SLACK)
    late = 5.0 + 10 / 50 + UPLINK + SLACK + 0.01
    assert overdue(state, 1, late) == [([small], None)]
    assert overdue(state, 1, 9.0) == [([large], None), ([small], None)]


def test_what_was_asked_back_is_overdue_when_there_is_no_answer(state: RunState) -> None:
    hold(state, 30, due=1.0).revoked = 7.0
    hold(state, 10, due=9.0)
    worker = state.members[0]
    assert at(state) == pytest.approx(7.0 + worker.downlink.value + worker.uplink.value + SLACK)


@pytest.mark.parametrize("bound", [1, 2])
def test_what_was_started_and_may_move_is_waited_for_as_long(state: RunState, bound: int) -> None:
    start(hold(state))
    assert at(state, bound) == pytest.approx(5.0 + 40 / 50 + UPLINK + SLACK)


@pytest.mark.parametrize(("pace", "longer"), [(5.0, 40 / 5), (20.0, 3 * (40 / 50 + UPLINK + SLACK))])
def test_what_was_started_and_cannot_move_is_waited_for_longer(state: RunState, pace: float, longer: float) -> None:
    ticket = hold(state)
    start(ticket)
    state.members[0].pace.value = pace
    state.ledger.issue(state.ledger.lots[1], 1, 1, 1, None)  # the next step cannot repay 40 any more
    assert at(state) == pytest.approx(5.0 + longer)
    ticket.state, ticket.version = TicketState.QUEUED, None
    assert at(state) == pytest.approx(5.0 + 40 / 50 + UPLINK + SLACK)


def test_with_bound_0_what_was_started_is_waited_for_for_ever(state: RunState) -> None:
    start(hold(state, 30, due=1.0))
    queued = hold(state, 10)
    assert at(state, 0) == pytest.approx(5.0 + 10 / 50 + UPLINK + SLACK)
    start(queued)
    assert at(state, 0) is None


# Where it may go --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "taken", "moves"),
    [(40, 0, True), (40, 1, False), (39, 0, False), (38, 0, True), (38, 2, True), (38, 1, False)],
)
def test_it_moves_where_it_can_be_repaid_and_leaves_no_single_sample(
    state: RunState, size: int, taken: int, moves: bool
) -> None:
    ticket = hold(state, size)
    start(ticket)
    assert following(state, [ticket], 1, taken) is (state.ledger.lots[1] if moves else None)


@pytest.mark.parametrize(("left", "moves"), [(40.0, True), (39.9, False)])
def test_it_moves_where_so_many_may_yet_become_stale(state: RunState, left: float, moves: bool) -> None:
    ticket = hold(state)
    start(ticket)
    time = first_overdue(state, 1, left)
    assert overdue(state, 1, time, left) == [([ticket], state.ledger.lots[1] if moves else None)]
    assert (time == first_overdue(state, 1)) == moves


def test_what_is_stale_already_costs_nothing_more(state: RunState) -> None:
    state.version = 1
    state.ledger.open_lot(state.ledger.epochs[0], 40)
    ticket = state.ledger.issue(state.ledger.lots[1], 0, 40, 0, None)
    ticket.due = 5.0
    start(ticket)
    assert overdue(state, 2, 9.0, left=0.0) == [([ticket], state.ledger.lots[2])]


def test_of_several_only_so_many_move_as_may_become_stale(state: RunState) -> None:
    tickets = [hold(state, 20), hold(state, 20)]
    for ticket in tickets:
        start(ticket)
    first = 5.0 + 20 / 50 + UPLINK + SLACK + 0.01
    lot = state.ledger.lots[1]
    assert overdue(state, 1, first) == [([tickets[0]], lot), ([tickets[1]], lot)]
    assert overdue(state, 1, first, left=20.0) == [([tickets[0]], lot)]
    assert overdue(state, 1, 15.0, left=20.0) == [([tickets[0]], lot), ([tickets[1]], None)]


def test_it_moves_within_the_bound_of_its_oldest_and_within_the_epoch(state: RunState) -> None:
    group = [hold(state, 10), hold(state, 10), hold(state, 10)]
    assert following(state, group, 1) is None, "none has begun"
    start(group[0])
    assert following(state, group, 1) is state.ledger.lots[1]
    assert following(state, group, 0) is None
    state.ledger.lots[1].epoch = 1
    assert following(state, group, 1) is None
    del state.ledger.lots[1]
    assert following(state, group, 1) is None


def test_only_what_has_begun_must_be_repaid(state: RunState) -> None:
    group = [hold(state, 10), hold(state, 30)]
    start(group[0])
    state.ledger.issue(state.ledger.lots[1], 1, 30, 1, None)
    assert following(state, group, 1) is state.ledger.lots[1]
    start(group[1])
    assert following(state, group, 1) is None
