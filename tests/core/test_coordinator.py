"""Joining, leaving, contributions and races: what every policy shares."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.ledger import TicketState
from evener.core.policies import Asynchronous, Balanced, Policy, Synchronous

from .script import Script, only

# Beginning --------------------------------------------------------------------------------------------------


def test_the_run_begins_when_all_who_are_expected_have_joined() -> None:
    run = Script(Synchronous(), workers=2)
    assert run.join(0) == []
    said = run.join(1)
    assert only(said, c.DrawEpoch) == [c.DrawEpoch(0)]
    assert {grant.worker for grant in only(said, c.Grant)} == {0, 1}


def test_patience_ends_the_wait_for_the_others() -> None:
    run = Script(Synchronous(), workers=3, patience=5.0)
    run.join(0)
    assert run.wait(4.9) == []
    assert {grant.worker for grant in only(run.wait(0.2), c.Grant)} == {0}


def test_patience_counts_anew_when_all_have_left_before_the_beginning() -> None:
    run = Script(Synchronous(), workers=2, patience=5.0)
    run.join(0)
    run.wait(4.0)
    run.tell(e.Left(0, "gone"))
    assert run.coordinator.deadline() is None
    run.wait(10.0)
    run.join(1)
    assert run.wait(4.9) == []
    assert only(run.wait(0.2), c.Grant)


def test_nothing_is_expected_before_anybody_comes_and_after_the_end() -> None:
    run = Script(Balanced())
    assert run.coordinator.deadline() is None
    run.join(0)
    run.tell(e.StopAsked("enough"))
    assert run.coordinator.deadline() is None


def test_an_unmeasured_pace_is_taken_to_be_that_of_the_slowest_known() -> None:
    run = Script(Balanced())
    run.join(0, pace=300.0)
    run.join(1, pace=50.0)
    run.join(2, pace=None)
    assert run.coordinator.state.members[2].pace.value == 50.0


def test_a_pace_of_nothing_is_no_measurement() -> None:
    run = Script(Balanced())
    run.join(0, pace=50.0)
    run.join(1, pace=0.0)
    assert run.coordinator.state.members[1].pace.value == 50.0


def test_a_pace_below_one_sample_a_second_is_one() -> None:
    run = Script(Balanced())
    run.join(0, pace=50.0)
    run.join(1, pace=0.5)
    assert run.coordinator.state.members[1].pace.value == 0.5


def test_who_has_nothing_to_do_is_ready_now() -> None:
    run = Script(Balanced(), workers=2)
    run.join(0)
    assert run.coordinator.state.members[0].ready(3.0, 0) == (3.0, 0.0)


def test_a_pace_is_learnt_from_what_was_computed() -> None:
    run = Script(Synchronous())
    run.join(0, pace=None)
    ticket = run.held(0)[0]
    run.start(0, ticket)
    run.tell(e.Computed(0, ticket, 0.1))
    assert run.coordinator.state.members[0].pace.value == run.samples(ticket) / 0.1


def test_the_first_micro_batch_counts_as_one_of_several_for_a_pace_that_was_probed() -> None:
    run = Script(Synchronous())
    run.join(0, pace=1000.0)
    ticket = run.held(0)[0]
    run.start(0, ticket)
    run.tell(e.Computed(0, ticket, 0.1))
    assert run.samples(ticket) / 0.1 < 500.0 < run.coordinator.state.members[0].pace.value < 1000.0


# Coming and going -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Synchronous(), Asynchronous(), Balanced()])
def test_what_a_dead_worker_held_goes_to_the_living(policy: Policy) -> None:
    run = Script(policy, positions=64, batch=32, workers=2)
    run.join(0, 1)
    lost = run.held(1)
    said = run.tell(e.Left(1, "died"))
    assert [x.ticket for x in only(said, c.Returned)] == lost
    run.work(0)
    assert run.of(c.Finish) == [c.Finish("complete", True)]
    assert sum(add.samples for add in run.of(c.Accumulate)) == 64


def test_the_share_of_a_dead_worker_is_split_among_the_living() -> None:
    run = Script(Synchronous(), positions=12, batch=12, workers=3)
    run.join(0, 1, 2)
    for worker in (0, 1):
        run.start(worker, *run.held(worker))
    run.tell(e.Left(2, "died"))
    assert [[run.samples(t) for t in run.held(worker)] for worker in (0, 1)] == [[4, 2], [4, 2]]


def test_who_joins_late_takes_part_from_a_step_that_is_not_handed_out() -> None:
    run = Script(Synchronous(), positions=32, batch=8, workers=2)
    run.join(0, 1)
    assert [grant.step for grant in only(run.join(2), c.Grant)] == [1]
    run.work(0, 1, rounds=1)
    run.work(0, 1, 2)
    shares = {step: sorted(add.worker for add in run.of(c.Accumulate) if add.step == step) for step in range(4)}
    assert shares[0] == [0, 1]
    assert shares[3] == [0, 1, 2]


def test_who_joins_anew_starts_with_nothing() -> None:
    run = Script(Synchronous(), workers=2)
    run.join(0, 1)
    old = run.held(0)
    said = run.join(0)
    assert [x.ticket for x in only(said, c.Returned)] == old
    assert only(run.push(0, *old), c.Accumulate) == []


# Contributions ----------------------------------------------------------------------------------------------


def test_a_push_of_one_lost_ticket_is_discarded_whole() -> None:
    run = Script(Balanced(0), positions=64, batch=64)
    run.join(0)
    first = run.held(0)[0]
    run.start(0, first)
    second = next(t for t in run.held(0) if t != first)
    run.tell(e.Released(0, second))
    said = run.push(0, first, second)
    assert [x.samples for x in only(said, c.Discard)] == [run.samples(first)]
    assert [x.ticket for x in only(said, c.Returned)] == [first]
    assert not only(said, c.Accumulate)


def test_a_push_of_another_workers_ticket_is_discarded() -> None:
    run = Script(Synchronous(), workers=2)
    run.join(0, 1)
    said = run.push(0, *run.held(1))
    assert only(said, c.Discard)
    assert only(run.push(1, *run.held(1)), c.Discard) == []


def test_what_is_discarded_is_discarded_for_a_reason() -> None:
    run = Script(Synchronous(), workers=2)
    run.join(0, 1)
    (discard,) = only(run.push(0, *run.held(1)), c.Discard)
    assert "no longer this worker's" in discard.why


def test_a_refused_contribution_ends_its_samples_and_the_divisor_shrinks() -> None:
    run = Script(Synchronous(), positions=8, workers=2)
    run.join(0, 1)
    said = run.push(0, *run.held(0), verdict="not finite")
    assert only(said, c.Discard) == [c.Discard(0, 1, "not finite", 4, True)]
    said = run.push(1, *run.held(1))
    assert [(add.samples, add.factor) for add in only(said, c.Accumulate)] == [(4, 0.5)]
    assert [(step.samples, step.rescale) for step in only(said, c.Step)] == [(4, 2.0)]
    assert [(end.applied, end.refused) for end in only(said, c.EndEpoch)] == [(4, 4)]


def test_a_declined_ticket_ends_its_samples() -> None:
    run = Script(Synchronous(), positions=8, workers=2)
    run.join(0, 1)
    run.tell(e.Declined(0, *run.held(0)))
    said = run.push(1, *run.held(1))
    assert [(end.applied, end.declined) for end in only(said, c.EndEpoch)] == [(4, 4)]


def test_a_released_ticket_is_granted_again() -> None:
    run = Script(Synchronous(), positions=8, workers=2)
    run.join(0, 1)
    ticket = run.held(0)[0]
    said = run.tell(e.Released(0, ticket))
    assert only(said, c.Returned) == [c.Returned(ticket, "revoked")]
    assert [grant.ranges for grant in only(said, c.Grant)] != []


def test_a_whole_batch_needs_no_rounding() -> None:
    run = Script(Synchronous(), positions=8, workers=2)
    run.join(0, 1)
    run.work(0, 1)
    assert [add.factor for add in run.of(c.Accumulate)] == [0.5, 0.5]
    assert [step.rescale for step in run.of(c.Step)] == [1.0]


def test_one_step_at_a_time() -> None:
    run = Script(Asynchronous(), positions=16, workers=2, steps=False)
    run.join(0, 1)
    assert only(run.push(0, run.held(0)[0]), c.Step)
    assert only(run.push(1, run.held(1)[0]), c.Step) == []
    said = run.tell(e.StepDone(1, 0.0))
    assert only(said, c.Publish) == [c.Publish(1)]
    assert [step.version for step in only(said, c.Step)] == [2]


def test_each_version_is_published_once_its_step_is_done() -> None:
    run = Script(Synchronous(), positions=8, workers=1, steps=False)
    run.join(0)
    run.work(0, rounds=1)
    assert run.of(c.Publish) == []
    assert run.tell(e.StepDone(99, 0.0)) == []
    assert only(run.tell(e.StepDone(1, 0.0)), c.Publish) == [c.Publish(1)]
    assert only(run.tell(e.StepDone(1, 0.0)), c.Publish) == []


# Races ------------------------------------------------------------------------------------------------------

STRANGERS = [
    e.Left(9, "died"),
    e.Started(9, 0, 0),
    e.Computed(9, 0, 0.1),
    e.Arrived(9, 1, (0,), (0,), 4.0),
    e.Declined(9, 0),
    e.Released(9, 0),
    e.Received(9, 1),
    e.Started(0, 77, 0),
    e.Computed(0, 77, 0.1),
    e.Declined(0, 77),
    e.Released(0, 77),
    e.Started(0, 1, 0),
    e.Declined(0, 1),
    e.Released(0, 1),
    e.SnapshotTaken(5),
]


@pytest.mark.parametrize("event", STRANGERS, ids=repr)
def test_strangers_change_nothing(event: e.Event) -> None:
    plain, disturbed = Script(Synchronous(), workers=2), Script(Synchronous(), workers=2)
    for run in (plain, disturbed):
        run.join(0, 1)
        assert run.granted[1].worker == 1
    assert disturbed.tell(event) == []
    for run in (plain, disturbed):
        run.work(0, 1)
    assert disturbed.said == plain.said


def test_a_contribution_may_arrive_before_it_is_known_to_be_started() -> None:
    run = Script(Balanced(), positions=32, batch=32)
    run.join(0)
    ticket = run.held(0)[0]
    assert only(run.push(0, ticket), c.Accumulate)
    held = run.held(0)
    assert run.start(0, ticket, 0) == []
    assert run.tell(e.Computed(0, ticket, 0.1)) == []
    assert run.held(0) == held


def test_a_repeated_contribution_counts_once() -> None:
    run = Script(Synchronous(), positions=8, workers=2)
    run.join(0, 1)
    ticket = run.held(0)[0]
    run.push(0, ticket, number=1)
    assert run.push(0, ticket, number=1) == []
    said = run.push(1, *run.held(1), number=1)
    assert [(add.worker, add.samples) for add in only(said, c.Accumulate)] == [(0, 4), (1, 4)]


def test_a_late_report_does_not_start_a_ticket_twice() -> None:
    run = Script(Balanced(), positions=64, batch=64)
    run.join(0)
    ticket = run.held(0)[0]
    run.start(0, ticket)
    run.tell(e.Computed(0, ticket, 0.1))
    held = run.held(0)
    assert run.start(0, ticket) == []
    assert run.held(0) == held
    run.start(0, held[1])
    tickets = run.coordinator.state.ledger.tickets
    assert [tickets[ticket].state for ticket in held[:2]] == [TicketState.COMPUTED, TicketState.STARTED]


def test_nothing_is_said_after_the_end() -> None:
    run = Script(Synchronous())
    run.join(0)
    assert run.tell(e.StopAsked("enough")) == [c.Finish("enough", True)]
    assert run.coordinator.finished
    assert run.tell(e.StopAsked("again")) == []
    assert run.join(1) == []
    assert run.push(0, 0) == []
