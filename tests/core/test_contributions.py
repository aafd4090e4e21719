"""What comes of a push: when it counts, when it does not, and who hears of it."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.contributions import REFUSED_BATCHES
from evener.core.members import Member
from evener.core.policies import Asynchronous, Balanced, Policy, Stale, Synchronous
from evener.core.state import RunState

from .script import Script, only


class Listening(Synchronous):
    """Notes what has settled."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[int, int, float]] = []

    def settled(self, state: RunState, member: Member, samples: int, now: float) -> None:
        super().settled(state, member, samples, now)
        self.heard.append((member.worker, samples, now))


def pair(policy: Policy | None = None, positions: int = 64) -> Script:
    run = Script(policy or Synchronous(), positions=positions, batch=8, workers=2)
    run.join(0, 1)
    return run


# Whether it counts ------------------------------------------------------------------------------------------


def test_the_first_push_may_be_number_0_and_counts_once() -> None:
    run = pair()
    run.push(0, *run.held(0), number=0)
    ahead = run.held(0)
    assert run.push(0, *ahead, number=0) == []
    assert run.held(0) == ahead
    assert len(only(run.push(1, *run.held(1), number=7), c.Accumulate)) == 2


@pytest.mark.parametrize("versions", [(), (0, 0)])
def test_a_push_that_does_not_name_each_tickets_version_is_discarded(versions: tuple[int, ...]) -> None:
    run = pair()
    (ticket,) = run.held(0)
    (discard,) = only(run.tell(e.Arrived(0, 1, (ticket,), versions, 4.0)), c.Discard)
    assert (discard.samples, discard.refused) == (4, False)


def test_a_push_for_two_steps_is_discarded() -> None:
    run = Script(Balanced(1, 1.0), positions=64, batch=32)
    run.join(0)
    tickets: dict[int, int] = {}
    for _ in range(30):
        for ticket in run.held(0):
            tickets.setdefault(run.granted[ticket].step, ticket)
        if len(tickets) == 2:
            break
        begin = next(t for t in run.held(0) if run.coordinator.state.ledger.tickets[t].started is None)
        run.start(0, begin)
        run.tell(e.Computed(0, begin, 0.1))
    said = run.push(0, *tickets.values(), version=0)
    (discard,) = only(said, c.Discard)
    assert discard.samples == sum(run.samples(ticket) for ticket in tickets.values())
    assert sorted(back.ticket for back in only(said, c.Returned)) == sorted(tickets.values())


def test_a_push_of_nothing_is_discarded() -> None:
    run = pair()
    assert only(run.tell(e.Arrived(0, 1, (), (), 0.0)), c.Discard)
    run.work(0, 1)
    assert run.of(c.Finish) == [c.Finish("complete", True)]


@pytest.mark.parametrize("bound", [0, 1, 2])
def test_what_is_as_stale_as_the_bound_counts_and_what_is_staler_does_not(bound: int) -> None:
    for staleness in (bound, bound + 1):
        run = Script(Balanced(bound), positions=320, batch=32)
        run.join(0)
        while run.coordinator.state.version < 4:
            run.work(0, rounds=1)
        ticket = next(t for t in run.held(0) if run.granted[t].step == 4)
        said = run.push(0, ticket, version=4 - staleness)
        if staleness == bound:
            assert [add.staleness for add in only(said, c.Accumulate)] == [staleness]
        else:
            assert [discard.why for discard in only(said, c.Discard)] == [f"staleness {staleness} is beyond the bound"]
            assert [back.ticket for back in only(said, c.Returned)] == [ticket]


def test_staleness_is_that_of_the_oldest_parameters_and_counts_the_samples_that_were_stale() -> None:
    policy = Balanced(2, 1.0)
    run = Script(policy, positions=1280, batch=64)
    run.join(0)
    while run.coordinator.state.version < 4:
        run.work(0, rounds=1)
    lot = run.coordinator.state.ledger.lots[4]
    first = next(t for t in run.held(0) if run.granted[t].step == 4)
    run.start(0, first)
    run.tell(e.Computed(0, first, 0.1))
    second = next(t for t in run.held(0) if run.granted[t].step == 4 and t != first)
    said = run.tell(e.Arrived(0, 999, (first, second), (4, 3), 1.0))
    assert [(add.staleness, add.samples) for add in only(said, c.Accumulate)] == [
        (1, run.samples(first) + run.samples(second))
    ]
    assert lot.stale == run.samples(second)
    third = next(t for t in run.held(0) if run.granted[t].step == 4)
    run.push(0, third, version=3, number=1000)
    assert lot.stale == run.samples(second) + run.samples(third)


def test_what_was_lost_is_answered_for_by_its_push() -> None:
    run = Script(Balanced(1), positions=256, batch=64, workers=2, patience=60.0)
    run.join(0, 1)
    hung = run.held(1)[0]
    for _ in range(100):
        for ticket in run.held(0):
            if run.granted[ticket].step == 0:
                run.start(0, ticket)
                run.push(0, ticket)
        if hung not in run.held(1):
            break
        run.wait(0.1)
    assert c.Revoke(1, hung) in run.said, "it was asked back, and then given up"
    lost = list(run.coordinator.state.members[1].lost)
    assert hung in lost
    assert not run.held(1), "who does not answer is given nothing"
    run.push(1, *lost, version=0)
    assert not run.coordinator.state.members[1].lost
    run.work(0, rounds=2)
    assert run.held(1)


# Who hears of it --------------------------------------------------------------------------------------------


def test_a_policy_hears_of_all_that_ends_and_of_nothing_else() -> None:
    policy = Listening()
    run = pair(policy)
    run.now = 1.0
    run.push(0, *run.held(0))
    run.now = 2.0
    run.push(1, *run.held(1), verdict="not finite")
    run.now = 3.0
    run.tell(e.Declined(0, run.held(0)[0]))
    run.push(0, *run.held(1))  # another's: discarded
    assert policy.heard == [(0, 4, 1.0), (1, 4, 2.0), (0, 4, 3.0)]


def test_a_turn_is_measured_from_the_push_that_is_waited_for() -> None:
    run = Script(Synchronous(), positions=64, batch=16, workers=2)
    run.join(0, 1)
    (ticket,) = run.held(0)
    run.start(0, ticket)
    run.now = 1.0
    run.tell(e.Computed(0, ticket, 1.0))
    run.now = 1.5
    run.push(0, ticket)
    run.push(1, *run.held(1))
    (ticket,) = run.held(0)
    run.start(0, ticket, 1)  # the parameters were there, but nobody has told
    run.now = 2.0
    run.tell(e.Computed(0, ticket, 0.5))
    run.push(0, ticket)
    run.now = 4.0
    run.tell(e.Received(0, 1))
    assert run.coordinator.state.members[0].turn.value == pytest.approx(3.0)
    run.push(1, *run.held(1))
    run.now = 9.0
    run.tell(e.Received(0, 2))
    assert run.coordinator.state.members[0].turn.value == pytest.approx(3.0), "the second push was not waited for"


def test_a_turn_ends_with_the_version_that_the_push_is_in() -> None:
    run = Script(Synchronous(), positions=64, batch=16)
    run.join(0)
    run.push(0, *run.held(0))
    (ticket,) = run.held(0)
    run.start(0, ticket, 1)
    run.tell(e.Computed(0, ticket, 0.1))
    run.push(0, ticket)
    for run.now, version in ((1.0, 0), (2.0, 1), (7.0, 2)):
        run.tell(e.Received(0, version))
    assert run.coordinator.state.members[0].turn.value == pytest.approx(7.0)


def test_an_uplink_is_measured_from_the_last_that_was_computed() -> None:
    run = Script(Balanced(0), positions=64, batch=64)
    run.join(0)
    tickets = []
    for run.now in (1.0, 2.0):
        ticket = next(t for t in run.held(0) if t not in tickets)
        run.start(0, ticket)
        run.tell(e.Computed(0, ticket, 0.5))
        tickets.append(ticket)
    run.now = 2.75
    run.push(0, *tickets)
    assert run.coordinator.state.members[0].uplink.value == pytest.approx(0.75)


@pytest.mark.parametrize(("version", "cause"), [(None, "learning rate"), (0, "staleness")])
def test_the_watch_hears_of_losses_and_staleness(version: int | None, cause: str) -> None:
    run = Script(Asynchronous(), positions=64 * 100, batch=64)
    run.join(0)
    for number in range(60):
        (ticket, *_) = run.held(0)
        now = run.coordinator.state.version
        versions = (now if version is None else version,)
        loss = 1.0 if number < 30 else 1e4
        run.tell(e.Arrived(0, number, (ticket,), versions, 64.0, norm=1.0, loss=loss))
    warnings = run.of(c.Warn)
    assert [warning.cause for warning in warnings] == [cause]
    assert warnings[0].text.startswith("the loss began at 1 and rose to 1e+04")
    assert ("100% of the last samples" in warnings[0].text) is (version == 0)


# Refused ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [Synchronous, Asynchronous])
def test_a_run_is_given_up_after_eight_batches_of_refusals_in_a_row(policy: type[Policy]) -> None:
    run = Script(policy(), positions=800, batch=8)
    run.join(0)
    for refused in range(1, REFUSED_BATCHES + 1):
        run.push(0, run.held(0)[0], verdict=f"reason {refused}")
        assert run.coordinator.finished is (refused == REFUSED_BATCHES)
    (finish,) = run.of(c.Finish)
    assert (finish.ok, "reason 8" in finish.reason) == (False, True)


def test_one_that_is_accepted_ends_the_row() -> None:
    run = Script(Synchronous(), positions=800, batch=8)
    run.join(0)
    for number in range(2 * REFUSED_BATCHES - 1):
        run.push(0, run.held(0)[0], verdict="ok" if number == REFUSED_BATCHES - 1 else "not finite")
    assert not run.coordinator.finished
    run.push(0, run.held(0)[0], verdict="not finite")
    assert run.coordinator.finished


@pytest.mark.parametrize("how", ["declined", "refused"])
def test_batches_that_end_without_a_push_move_the_schedule_under_policies_that_step_per_push(how: str) -> None:
    run = Script(Stale(5, push=4), positions=20, batch=8)
    run.join(0)
    steps = []
    while not run.coordinator.finished and run.held(0):
        ticket = run.held(0)[0]
        run.start(0, ticket)
        gone = len(steps) % 2 == 0
        said = run.tell(e.Declined(0, ticket)) if gone and how == "declined" else []
        said = said or run.push(0, ticket, verdict="not finite" if gone else "ok")
        steps.append([(step.samples, step.batches) for step in only(said, c.Step)])
    # Ends of batches are after 8, 16 and 20 samples: the second, fourth and fifth push.
    assert steps == [[], [(4, 1)], [], [(4, 1)], [(0, 1)]]
