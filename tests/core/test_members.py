"""What is known of a member: its speeds, when it is ready, and when its tickets are due."""

from __future__ import annotations

import math
from random import Random

import pytest

from evener.core.ledger import Ledger, Ticket, TicketState
from evener.core.members import ENOUGH, SLOWER, Mean, Member


@pytest.fixture
def member() -> Member:
    """10 samples/s; half a second to the server, and 2 from it."""
    return Member(0, Mean(10.0), 1, version=0, uplink=Mean(0.5), downlink=Mean(2.0))


def test_one_transfer_that_hung_is_no_slow_link() -> None:
    member = Member(0, Mean(10.0), 1, version=0)
    for seconds in (0.01, 0.01, 1.0):
        member.downlink.add(seconds)
    assert member.downlink.value <= 0.015
    for _ in range(20):
        member.downlink.add(1.0)
    assert member.downlink.value > 0.9, "but one that stays slow is"


@pytest.mark.parametrize("times_out", [0, 1, 2])
def test_a_transfer_that_was_doubted_for_long_is_soon_believed_again(times_out: int) -> None:
    member = Member(0, Mean(10.0), 1, version=0, times_out=times_out)
    member.downlink.add(1.0)
    for _ in range(10_000):
        member.fade()
    assert member.downlink.value < 1e-9
    for _ in range(ENOUGH):
        member.downlink.add(1.0)
    assert member.downlink.value > 0.7


@pytest.fixture
def ledger() -> Ledger:
    """Three lots of 100 positions are open."""
    ledger = Ledger()
    epoch = ledger.open_epoch(0, 300)
    for _ in range(3):
        ledger.open_lot(epoch, 100)
    return ledger


def give(ledger: Ledger, member: Member, lot: int, size: int, needs: int = 0, group: int | None = None) -> Ticket:
    ticket = ledger.issue(ledger.lots[lot], member.worker, size, needs, group)
    member.tickets[ticket.id] = ticket
    return ticket


def started(ticket: Ticket, at: float | None) -> Ticket:
    ticket.state, ticket.started, ticket.version = TicketState.STARTED, at, 0
    return ticket


# How noisy it is --------------------------------------------------------------------------------------------


def test_noise_is_the_deviation_of_durations_by_what_was_expected(member: Member) -> None:
    random = Random(0)
    for _ in range(300):
        member.learn(16, 1.6 * math.exp(random.gauss(0.0, 0.3)))
    assert member.noise.value == pytest.approx(0.3, abs=0.1)
    for _ in range(100):
        member.learn(16, 1.6)
    assert member.noise.value < 0.03


def test_the_first_duration_of_all_says_nothing_about_noise(member: Member) -> None:
    before = member.noise.value
    member.learn(16, 1000.0)  # its pace was only a guess
    assert member.noise.value == before


# When tickets are due ---------------------------------------------------------------------------------------


def test_tickets_are_due_in_turn_the_one_under_way_first(ledger: Ledger, member: Member) -> None:
    later, sooner = give(ledger, member, 1, 20), give(ledger, member, 0, 10)
    under_way = started(give(ledger, member, 2, 30), 4.0)
    member.schedule(5.0, version=0)
    assert [ticket.due for ticket in (under_way, sooner, later)] == pytest.approx([7.5, 8.5, 10.5])


def test_what_is_not_under_way_begins_now(ledger: Ledger, member: Member) -> None:
    first, second = give(ledger, member, 0, 10), give(ledger, member, 0, 20)
    member.schedule(5.0, version=0)
    assert [first.due, second.due] == pytest.approx([6.5, 8.5])
    started(first, None)
    member.schedule(6.0, version=0)
    assert [first.due, second.due] == pytest.approx([7.5, 9.5])


def test_what_is_granted_behind_a_late_ticket_is_not_late_from_the_start(ledger: Ledger, member: Member) -> None:
    late = started(give(ledger, member, 0, 10), 1.0)
    behind = give(ledger, member, 1, 20)
    member.schedule(50.0, version=0)
    assert late.due == pytest.approx(2.5)
    assert behind.due == pytest.approx(52.5), "or it would be asked back at once, and granted anew, without end"


def test_what_must_wait_for_a_version_is_never_due_and_holds_nothing_up(ledger: Ledger, member: Member) -> None:
    waits, may = give(ledger, member, 1, 20, needs=1), give(ledger, member, 2, 10, needs=0)
    waits.due = 3.0
    member.schedule(5.0, version=0)
    assert waits.due is None
    assert may.due == pytest.approx(6.5)


def test_what_needs_parameters_that_are_under_way_begins_when_they_are_there(ledger: Ledger, member: Member) -> None:
    at_once, after = give(ledger, member, 0, 10), give(ledger, member, 1, 10, needs=1)
    member.schedule(5.0, version=1)
    assert [at_once.due, after.due] == pytest.approx([6.5, 5.0 + 2.0 + 1.0 + 0.5])
    member.version = 1
    member.schedule(5.0, version=1)
    assert after.due == pytest.approx(7.5)


def test_what_is_computed_is_due_with_the_last_of_its_group(ledger: Ledger, member: Member) -> None:
    done = give(ledger, member, 0, 10)
    rest = [give(ledger, member, 0, 10, group=done.group), give(ledger, member, 0, 20, group=done.group)]
    give(ledger, member, 1, 50)
    done.state, done.due = TicketState.COMPUTED, 2.0
    member.schedule(5.0, version=0)
    assert [ticket.due for ticket in (done, *rest)] == pytest.approx([8.5, 6.5, 8.5])


def test_what_is_computed_and_alone_is_due_after_its_transfer(ledger: Ledger, member: Member) -> None:
    done = give(ledger, member, 0, 10)
    started(give(ledger, member, 1, 10), 5.0)
    done.state = TicketState.COMPUTED
    member.schedule(5.0, version=0)
    assert done.due == pytest.approx(5.5)


# When it is ready -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "at", "late"),
    [
        (4.0, 7.0 + 1.0, 0.0),  # started at 4, with 30 samples; 10 more in the queue
        (6.5, 7.0 + 1.0, 0.0),
        (9.0, 9.0 + 2.0 + 1.0, 2.0),  # late by 2, and expected to be late by as much again
    ],
)
def test_it_is_ready_when_all_that_it_may_start_is_done(
    ledger: Ledger, member: Member, now: float, at: float, late: float
) -> None:
    started(give(ledger, member, 0, 30), 4.0)
    give(ledger, member, 0, 10)
    give(ledger, member, 1, 50, needs=1)
    assert member.ready(now, version=0) == pytest.approx((at, late))
    assert member.ready(now, version=1) == pytest.approx((at + 5.0, late))


def test_what_it_has_not_started_in_time_makes_it_late(ledger: Ledger, member: Member) -> None:
    ticket = give(ledger, member, 0, 10)
    for due, late in ((5.5, 0.0), (4.0, 1.0)):
        ticket.due = due
        assert member.ready(5.0, version=0) == pytest.approx((5.0 + late + 1.0, late))
    ticket.min_version = 1
    assert member.ready(5.0, version=0) == (5.0, 0.0)


def test_what_it_has_lost_makes_it_late_but_is_not_ahead_of_it(ledger: Ledger, member: Member) -> None:
    queued, begun = give(ledger, member, 0, 10), started(give(ledger, member, 0, 10), 3.5)
    queued.due = 4.0
    member.lost, member.tickets = member.tickets, {}
    assert member.ready(5.0, version=0) == pytest.approx((6.0, 1.0))
    del member.lost[queued.id]
    assert member.ready(5.0, version=0) == pytest.approx((5.5, 0.5))
    begun.state = TicketState.COMPUTED
    assert member.ready(5.0, version=0) == (5.0, 0.0)


# How fast it is ---------------------------------------------------------------------------------------------


def test_the_rate_of_a_size_is_the_median_once_it_is_known() -> None:
    member = Member(0, Mean(10.0), 1, 0)
    for number in range(ENOUGH):
        assert 16 not in member.rates
        member.learn(16, 0.5 if number else 8.0)
    assert member.seconds(16) == 0.5
    assert member.seconds(32) == 32 / member.pace.value
    for _ in range(15):
        member.learn(16, 2.0)
    assert member.seconds(16) == 2.0, "what is old is forgotten"


@pytest.mark.parametrize(
    ("rates", "sizes"),
    [
        ({}, (8, 16, 32)),
        ({8: 100.0}, (8, 16, 32)),
        ({8: 100.0, 16: 100.0 * SLOWER, 32: 100.0 * SLOWER - 0.1}, (8, 16)),
        ({8: 50.0, 16: 100.0, 32: 90.0}, (8, 16)),
        ({16: 100.0, 32: 50.0}, (8, 16)),
        ({32: 100.0, 64: 1e6}, (8, 16, 32)),
        ({8: 100.0, 32: 50.0}, (8, 16)),
    ],
)
def test_sizes_that_are_known_to_be_slower_are_avoided(rates: dict[int, float], sizes: tuple[int, ...]) -> None:
    member = Member(0, Mean(10.0), 1, 0, rates=rates)
    assert member.efficient((8, 16, 32)) == sizes
