"""Workers that hang, stall or are slow: who is given up, what moves, and that the others go on."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.leases import LEAST
from evener.core.policies import POLICIES, Asynchronous, Balanced, Policy, Synchronous

from .script import Script, only

PATIENCE = 5.0
every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)


@every_policy
def test_who_starts_and_does_not_finish_is_given_up_after_patience(policy: type) -> None:
    run = Script(policy(), positions=64, batch=32, workers=2, patience=PATIENCE)
    run.join(0, 1)
    run.start(1, run.held(1)[0])
    run.work(0)
    for _ in range(30):
        run.wait(1.0)
        run.work(0)
    assert run.of(c.Finish) == [c.Finish("complete", True)]
    assert {add.worker for add in run.of(c.Accumulate)} == {0}


@every_policy
def test_who_never_starts_is_given_up_after_patience(policy: type) -> None:
    run = Script(policy(), positions=64, batch=32, workers=2, patience=PATIENCE)
    run.join(0, 1)
    for _ in range(30):
        run.work(0)
        run.wait(1.0)
    assert run.of(c.Finish) == [c.Finish("complete", True)]


def test_patience_is_not_lost_before_its_time() -> None:
    run = Script(Synchronous(), positions=64, batch=32, workers=2, patience=PATIENCE)
    run.join(0, 1)
    run.start(1, run.held(1)[0])
    run.work(0)
    assert only(run.wait(PATIENCE - 0.5), c.Returned) == []


def test_a_long_ticket_has_ten_times_its_duration() -> None:
    run = Script(Synchronous(), positions=32, batch=32, workers=2, patience=PATIENCE)
    run.join(0, pace=100.0)
    run.join(1, pace=4.0)  # 16 samples: 4 s
    run.start(1, run.held(1)[0])
    run.work(0)
    assert only(run.wait(4 + 38), c.Returned) == []
    assert only(run.wait(6), c.Returned)


def test_a_long_ticket_has_ten_times_its_duration_and_the_wait_for_its_parameters() -> None:
    run = Script(Synchronous(), positions=64, batch=32, workers=2, patience=PATIENCE)
    run.join(0, pace=100.0)
    run.join(1, pace=4.0)
    run.work(0, 1, rounds=1)
    run.tell(e.Received(0, 1))
    run.work(0)
    assert only(run.wait(4 + 38), c.Returned) == []  # of step 1, whose parameters never reach worker 1
    assert only(run.wait(6), c.Returned)


def steady(run: Script, seconds: float, steps: int = 8) -> None:
    """Worker 1 computes each of its tickets in so many seconds, and its transfers take a tenth of that."""
    for step in range(steps):
        ticket = run.held(1)[0]
        run.start(1, ticket)
        run.now += seconds
        run.tell(e.Computed(1, ticket, seconds))
        run.now += seconds / 10
        run.push(1, ticket)
        run.work(0)
        run.now += seconds / 10
        run.tell(e.Received(1, step + 1))


def test_who_was_quick_until_it_hung_is_not_waited_for_as_long_as_a_stranger() -> None:
    run = Script(Synchronous(), positions=32 * 20, batch=32, workers=2, patience=60.0)
    run.join(0, 1)
    steady(run, 0.02)
    run.start(1, run.held(1)[0])
    run.work(0)
    assert only(run.wait(LEAST), c.Returned) == []
    assert only(run.wait(2.0), c.Returned)


def test_who_is_slow_is_not_dead() -> None:
    run = Script(Synchronous(), positions=32 * 20, batch=32, workers=2, patience=60.0)
    run.join(0, 1)
    steady(run, 1.0)
    run.start(1, run.held(1)[0])
    run.work(0)
    assert only(run.wait(55.0), c.Returned) == []
    assert only(run.wait(10.0), c.Returned)


def test_what_is_computed_is_due_with_the_last_of_its_push() -> None:
    run = Script(Balanced(0), positions=64, batch=64)
    run.join(0, pace=100.0)
    first = run.held(0)[0]
    run.start(0, first)
    run.tell(e.Computed(0, first, run.samples(first) / 100.0))
    run.start(0, run.held(0)[1])
    computed, *others = (run.coordinator.state.ledger.tickets[ticket] for ticket in run.held(0))
    assert {ticket.group for ticket in others} == {computed.group}
    assert computed.due == max(ticket.due for ticket in others)


def test_who_was_given_up_takes_part_again_when_it_shows_progress() -> None:
    run = Script(Synchronous(), positions=96, batch=32, workers=2, patience=PATIENCE)
    run.join(0, 1)
    hung = run.held(1)[0]
    run.start(1, hung)
    run.work(0)
    run.wait(PATIENCE + 2)
    assert run.held(1) == []
    assert only(run.tell(e.Received(1, 1)), c.Grant) == [], "receiving is no progress while it computes"
    said = run.tell(e.Computed(1, hung, 7.0))
    assert only(run.push(1, hung), c.Discard)
    run.work(0, rounds=1)
    assert run.held(1) or only(said, c.Grant)


def test_who_waited_for_parameters_takes_part_again_when_it_has_them() -> None:
    run = Script(Synchronous(), positions=96, batch=32, workers=2, patience=PATIENCE)
    run.join(0, 1)
    run.work(0, 1, rounds=1)
    run.tell(e.Received(0, 1))
    run.work(0)
    run.wait(PATIENCE + 2)
    assert run.held(1) == []
    run.tell(e.Received(1, 1))
    run.work(0, 1)
    assert run.of(c.Finish) == [c.Finish("complete", True)]
    assert [add.worker for add in run.of(c.Accumulate)].count(1) >= 2


# Balanced does not wait -------------------------------------------------------------------------------------


def late_run(policy: Policy, hold: bool = True, positions: int = 256) -> Script:
    """Two workers; the second holds a ticket of step 0 (started if ``hold``), all else of that step is done."""
    run = Script(policy, positions=positions, batch=64, workers=2, patience=60.0)
    run.join(0, 1)
    if hold:
        run.start(1, run.held(1)[0])
        for ticket in run.held(1)[1:]:
            run.tell(e.Released(1, ticket))
    for _ in range(200):
        free = run.coordinator.state.ledger.lots[0].free
        mine = [t for t in run.held(0) if run.granted[t].step == 0]
        if not mine and not free:
            return run
        for ticket in mine:
            run.start(0, ticket)
            run.push(0, ticket)
        if not mine:
            run.now += 0.1
            run.tell(e.Tick())
    raise AssertionError(f"{free} positions are left, and the one who is there is not given them")


def test_a_late_ticket_moves_to_the_next_step_and_is_repaid_from_it() -> None:
    run = late_run(Balanced(1, 0.1))
    late = run.held(1)[0]
    said = run.wait(5.0)
    assert only(said, c.Moved) == [c.Moved(late, 1)]
    run.work(0)
    said = run.push(1, late, version=0)
    adds = only(said, c.Accumulate)
    assert [(add.step, add.staleness) for add in adds] == [(1, 1)]


def test_a_ticket_moves_no_further_than_the_bound() -> None:
    run = late_run(Balanced(1, 0.1))
    late = run.held(1)[0]
    for _ in range(40):
        for ticket in run.held(0):
            if run.granted[ticket].min_version <= run.coordinator.state.version:
                run.start(0, ticket)
                run.push(0, ticket)
        run.wait(0.5)
    assert [move.step for move in run.of(c.Moved)] == [1]
    assert late in [x.ticket for x in run.of(c.Returned)]
    assert run.of(c.Finish) == [c.Finish("complete", True)]


def test_a_ticket_that_was_not_started_is_asked_back() -> None:
    run = late_run(Balanced(1), hold=False)
    queued = run.held(1)[0]
    for _ in range(10):
        if c.Revoke(1, queued) not in run.said:
            run.wait(0.1)
    assert c.Revoke(1, queued) in run.said
    said = run.tell(e.Released(1, queued))
    assert only(said, c.Returned) == [c.Returned(queued, "revoked")]


@pytest.mark.parametrize("bound", [0, 1, 2])
def test_who_does_not_answer_is_not_waited_for(bound: int) -> None:
    run = late_run(Balanced(bound), hold=False)
    queued = run.held(1)[0]
    said = run.wait(3.0)
    assert c.Revoke(1, queued) in said
    assert c.Returned(queued, "overdue") in said
    run.work(0)
    assert only(run.push(1, queued, version=0), c.Accumulate) == []


def test_a_late_ticket_of_the_last_step_is_computed_again() -> None:
    run = late_run(Balanced(1), positions=64)
    late = run.held(1)[0]
    said = run.wait(5.0)
    assert late in [x.ticket for x in only(said, c.Returned)]
    assert only(run.push(1, late, version=0), c.Discard)
    run.work(0)
    assert run.of(c.Finish) == [c.Finish("complete", True)]


def test_with_bound_0_what_was_started_is_waited_for() -> None:
    run = late_run(Balanced(0))
    late = run.held(1)[0]
    assert late not in [x.ticket for x in only(run.wait(5.0), c.Returned)]
    assert only(run.push(1, late, version=0), c.Accumulate)


def test_what_was_left_to_a_better_placed_worker_is_not_left_to_it_for_ever() -> None:
    run = Script(Balanced(1), positions=64, batch=64, workers=2, patience=60.0)
    run.join(0, pace=60.0)
    run.join(1, pace=1000.0)
    run.start(1, run.held(1)[0])
    run.work(0)
    assert run.coordinator.state.ledger.lots[0].free, "some are left to the faster one"
    assert 0 in [grant.worker for grant in only(run.wait(3.0), c.Grant)]


def test_a_slow_link_is_learnt_although_its_pushes_come_too_late() -> None:
    run = Script(Balanced(1), positions=32, batch=32, workers=2, patience=60.0)
    run.join(0, 1)
    for _ in range(20):
        for worker in (0, 1):
            may = [t for t in run.held(worker) if run.granted[t].min_version <= run.coordinator.state.version]
            for ticket in may[:1]:
                run.start(worker, ticket)
                run.wait(run.samples(ticket) / 100.0)
                run.tell(e.Computed(worker, ticket, run.samples(ticket) / 100.0))
                run.wait(4.0)
                run.push(worker, ticket, version=0)
        if run.coordinator.finished:
            break
    assert run.of(c.Finish) == [c.Finish("complete", True)]


def test_transfers_are_learnt_from_pushes_and_from_the_parameters_that_follow() -> None:
    run = Script(Synchronous(), positions=32, batch=16)
    run.join(0)
    ticket = run.held(0)[0]
    run.start(0, ticket)
    run.tell(e.Computed(0, ticket, 0.1))
    run.now = 0.3
    run.push(0, ticket)
    run.now = 0.7
    run.tell(e.Received(0, 1))
    member = run.coordinator.state.members[0]
    learnt = member.uplink.value, member.downlink.value, member.turn.value
    assert learnt == pytest.approx((0.3, 0.4, 0.7))


def test_parameters_that_are_told_of_twice_came_once() -> None:
    run = Script(Synchronous(), positions=32, batch=16)
    run.join(0)
    run.push(0, run.held(0)[0])
    for run.now in (0.4, 5.0):
        run.tell(e.Received(0, 1))
    assert run.coordinator.state.members[0].downlink.value == 0.4


# Slow workers -----------------------------------------------------------------------------------------------


def test_a_very_slow_worker_sits_out_is_told_so_and_comes_back() -> None:
    run = Script(Balanced(1), positions=640, batch=64, workers=2)
    run.join(0, pace=1000.0)
    run.join(1, pace=2.0)
    sits = run.of(c.SitOut)
    assert [(x.worker, "smallest ticket" in x.why) for x in sits] == [(1, True)]
    assert run.held(1) == []
    run.tell(e.Left(0, "died"))
    run.work(1)
    assert run.of(c.SitOut)[-1] == c.SitOut(1, "")
    assert run.of(c.Finish) == [c.Finish("complete", True)]


def test_alone_nobody_is_too_slow() -> None:
    run = Script(Balanced(1), positions=64, batch=64)
    run.join(0, pace=0.01)
    assert run.of(c.SitOut) == []
    assert run.held(0)


# Each policy's own rule -------------------------------------------------------------------------------------


def test_synchronous_sums_in_rank_order() -> None:
    run = Script(Synchronous(), positions=9, batch=9, workers=3)
    run.join(0, 1, 2)
    for worker in (2, 0, 1):
        assert run.of(c.Accumulate) == []
        run.push(worker, *run.held(worker))
    assert [add.worker for add in run.of(c.Accumulate)] == [0, 1, 2]


def test_synchronous_shares_are_equal_and_wait_for_the_version() -> None:
    run = Script(Synchronous(), positions=90, batch=30, workers=3)
    run.join(0, 1, 2)
    run.work(0, 1, 2)
    assert {run.samples(ticket) for ticket in run.granted} == {10}
    assert all(grant.min_version == grant.step for grant in run.granted.values())


def test_asynchronous_applies_each_push_at_once() -> None:
    run = Script(Asynchronous(), positions=64, batch=8, workers=2)
    run.join(0, 1)
    slow = run.held(1)[0]
    for expected in range(1, 4):
        said = run.push(0, run.held(0)[0])
        assert [step.version for step in only(said, c.Step)] == [expected]
    said = run.push(1, slow, version=0)
    assert [(add.step, add.staleness, add.samples) for add in only(said, c.Accumulate)] == [(3, 3, 4)]


def test_who_must_wait_for_parameters_is_given_none_of_a_step_that_closes_before_they_come() -> None:
    run = Script(Balanced(0), positions=640, batch=64, workers=2)
    run.join(0, 1, pace=1000.0)
    while run.coordinator.state.version < 1:
        run.work(0, 1, rounds=1)
    run.tell(e.Received(0, 1))
    run.now += 1.0
    run.tell(e.Received(1, 1))  # a second of transfer, and a step takes 0.064 s
    while run.coordinator.state.version < 2:
        run.work(0, 1, rounds=1)
    assert {grant.worker for grant in run.granted.values() if grant.step == 2} == {0}


def test_what_begins_ahead_of_its_parameters_is_no_more_than_hides_their_transfer() -> None:
    run = Script(Balanced(1, 1.0), positions=1024, batch=512, workers=2)
    run.join(0, 1, pace=1000.0)
    # 0.02 s from a push to new parameters, as long as nothing is known: 20 samples, and 24 is the size for that.
    while not (ahead := [grant for grant in run.granted.values() if grant.min_version < grant.step]):
        run.work(0, 1, rounds=1)
    assert ahead[0].step == 1
    assert run.samples(ahead[0].ticket) == 24


def test_balanced_gives_shares_in_proportion_to_pace() -> None:
    run = Script(Balanced(0), positions=512, batch=512, workers=2)
    run.join(0, pace=3000.0)
    run.join(1, pace=1000.0)
    ledger = run.coordinator.state.ledger
    while ledger.lots and ledger.lots[0].free:
        member = min(run.coordinator.state.members.values(), key=lambda m: m.ready(run.now, 0))
        ticket = run.held(member.worker)[0]
        run.start(member.worker, ticket)
        run.now += run.samples(ticket) / 4000.0
        run.tell(e.Computed(member.worker, ticket, run.samples(ticket) / member.pace.value))
        run.push(member.worker, ticket)
    shares = {w: sum(run.samples(t) for t, g in run.granted.items() if g.worker == w) for w in (0, 1)}
    assert shares[0] == pytest.approx(384, abs=64)


@pytest.mark.parametrize(("bound", "fraction"), [(-1, 0.1), (1, -0.1), (1, 1.5)])
def test_options_of_balanced_are_checked(bound: int, fraction: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Balanced(bound, fraction)


def test_parameters_that_lay_there_before_a_worker_came_are_no_slow_link() -> None:
    run = Script(Balanced(), positions=320, batch=32, workers=1)
    run.join(0)
    while not (version := run.coordinator.state.version):
        run.work(0, rounds=1)
    run.now += 60.0  # the server was stopped, say, or everybody had gone
    run.tell(e.Joined(1, version - 1, 100.0))
    run.tell(e.Received(1, version))
    run.work(0, 1)
    assert run.of(c.SitOut) == []
    assert {add.worker for add in run.of(c.Accumulate)} == {0, 1}
