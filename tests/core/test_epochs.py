"""Epochs: remainders, snapshots, schedulers, and how a run ends."""

from __future__ import annotations

import math

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.contributions import REFUSED_BATCHES
from evener.core.policies import POLICIES, Asynchronous, Balanced, Synchronous

from .script import Script, only

every_policy = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
batched = pytest.mark.parametrize("policy", [p for p in POLICIES.values() if p.collects], ids=str)


@batched
def test_the_last_step_of_an_epoch_is_the_remainder(policy: type) -> None:
    run = Script(policy(), positions=20, batch=8, epochs=2)
    run.join(0)
    run.work(0)
    assert [step.samples for step in run.of(c.Step)] == [8, 8, 4, 8, 8, 4]
    assert [step.rescale for step in run.of(c.Step)] == [1.0, 1.0, 2.0, 1.0, 1.0, 2.0]
    assert [(end.epoch, end.version) for end in run.of(c.EndEpoch)] == [(0, 3), (1, 6)]


@every_policy
def test_drop_last_drops_the_remainder(policy: type) -> None:
    run = Script(policy(), positions=20, batch=8, epochs=2, drop_last=True)
    run.join(0)
    run.work(0)
    assert run.of(c.Dropped) == [c.Dropped(0, ((16, 20),)), c.Dropped(1, ((16, 20),))]
    assert [(end.applied, end.dropped) for end in run.of(c.EndEpoch)] == [(16, 4), (16, 4)]
    assert run.of(c.Finish) == [c.Finish("complete", True)]


@every_policy
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("positions", [0, 1, 7, 8, 9, 24, 25])
def test_schedulers_are_due_once_a_batch_under_every_policy(policy: type, positions: int, drop_last: bool) -> None:
    run = Script(policy(), positions=positions, batch=8, epochs=2, workers=3, drop_last=drop_last)
    run.join(0, 1, 2)
    run.work(0, 1, 2)
    assert run.of(c.Finish) == [c.Finish("complete", True)]
    due = positions // 8 if drop_last else math.ceil(positions / 8)
    assert sum(step.batches for step in run.of(c.Step)) == 2 * due


@every_policy
def test_schedulers_count_samples_that_were_declined_or_refused(policy: type) -> None:
    run = Script(policy(), positions=32, batch=8, workers=2)
    run.join(0, 1)
    for turn in range(1000):
        if run.coordinator.finished:
            break
        for worker in (0, 1):
            may = [t for t in run.held(worker) if run.granted[t].min_version <= run.coordinator.state.version]
            if may and turn % 2:
                run.tell(e.Declined(worker, may[0]))
            elif may:
                run.push(worker, may[0], verdict="ok" if worker else "not finite")
    assert run.of(c.Finish) == [c.Finish("complete", True)]
    assert sum(step.batches for step in run.of(c.Step)) == 4


def test_asynchronous_scales_the_rate_by_the_share_of_a_batch() -> None:
    run = Script(Asynchronous(), positions=16, batch=8, workers=4)
    run.join(0, 1, 2, 3)
    run.work(0, 1, 2, 3)
    assert {(step.samples, step.rate_scale, step.rescale) for step in run.of(c.Step)} == {(2, 0.25, 1.0)}


def test_asynchronous_adds_a_push_as_it_is() -> None:
    run = Script(Asynchronous(), positions=16, batch=8, workers=4)
    run.join(0, 1, 2, 3)
    run.work(0, 1, 2, 3)
    assert {add.factor for add in run.of(c.Accumulate)} == {1.0}


@every_policy
def test_an_empty_epoch_is_no_obstacle(policy: type) -> None:
    run = Script(policy(), positions=0, epochs=3)
    run.join(0)
    assert [end.epoch for end in run.of(c.EndEpoch)] == [0, 1, 2]
    assert run.of(c.Finish) == [c.Finish("complete", True)]


# Snapshots --------------------------------------------------------------------------------------------------


@every_policy
def test_at_most_two_snapshots_wait_and_the_hold_is_recorded(policy: type) -> None:
    run = Script(policy(), positions=16, epochs=5, snapshots=False)
    run.join(0)
    run.work(0)
    assert [end.epoch for end in run.of(c.EndEpoch)] == [0, 1]
    assert [hold.epoch for hold in run.of(c.Hold)] == [2]
    assert only(run.tell(e.SnapshotTaken(0)), c.DrawEpoch) == [c.DrawEpoch(2)]
    run.work(0)
    assert [end.epoch for end in run.of(c.EndEpoch)] == [0, 1, 2]
    assert [hold.epoch for hold in run.of(c.Hold)] == [2, 3]


@every_policy
def test_snapshots_that_are_taken_hold_nobody(policy: type) -> None:
    run = Script(policy(), positions=16, epochs=5)
    run.join(0)
    run.work(0)
    assert run.of(c.Hold) == []
    assert [end.epoch for end in run.of(c.EndEpoch)] == [0, 1, 2, 3, 4]


def test_an_epoch_ends_before_a_step_of_the_next_although_that_waits() -> None:
    run = Script(Asynchronous(), positions=4, batch=4, epochs=2, workers=2, steps=False)
    run.join(0, 1)
    first = [run.held(worker)[0] for worker in (0, 1)]
    for worker, ticket in enumerate(first):
        run.start(worker, ticket)
    second = [next(t for t in run.held(worker) if t not in first) for worker in (0, 1)]
    for tickets in (first, second):
        for worker in (0, 1):
            run.push(worker, tickets[worker])
    said = run.tell(e.StepDone(1, 0.0)) + run.tell(e.StepDone(2, 0.0))
    kinds = [type(x) for x in said if isinstance(x, c.EndEpoch | c.Step)]
    assert kinds == [c.Step, c.EndEpoch, c.Step]
    assert [end.version for end in only(said, c.EndEpoch)] == [2]


def test_two_epochs_may_end_at_once() -> None:
    run = Script(Asynchronous(), positions=2, batch=2, epochs=2, workers=2, snapshots=False)
    run.join(0, 1)
    ahead, behind = run.held(1)[0], run.held(0)[0]
    assert (run.granted[behind].epoch, run.granted[ahead].epoch) == (0, 1)
    assert only(run.push(1, ahead), c.EndEpoch) == []
    said = run.push(0, behind)
    assert [end.epoch for end in only(said, c.EndEpoch)] == [0, 1]
    assert only(said, c.Finish) == [c.Finish("complete", True)]


# Ends -------------------------------------------------------------------------------------------------------


@every_policy
def test_a_run_whose_every_contribution_is_refused_is_given_up(policy: type) -> None:
    run = Script(policy(), positions=800, batch=8, workers=2)
    run.join(0, 1)
    run.work(0, 1, verdict="loss is not finite")
    finish = run.of(c.Finish)
    assert [end.ok for end in finish] == [False]
    assert "refused: loss is not finite" in finish[0].reason
    assert sum(discard.samples for discard in run.of(c.Discard)) <= (REFUSED_BATCHES + 2) * 8


def test_one_good_contribution_keeps_the_run_going() -> None:
    run = Script(Synchronous(), positions=400, batch=8)
    run.join(0)
    for number in range(50):
        run.work(0, rounds=1, verdict="ok" if number % 7 == 6 else "not finite")
    assert run.of(c.Finish) == [c.Finish("complete", True)]


@every_policy
def test_a_short_epoch_of_refusals_ends_the_run(policy: type) -> None:
    run = Script(policy(), positions=8, batch=8, epochs=3)
    run.join(0)
    run.work(0, verdict="not finite")
    assert [(end.ok, "refused" in end.reason) for end in run.of(c.Finish)] == [(False, True)]


@every_policy
def test_a_script_that_never_steps_is_told(policy: type) -> None:
    run = Script(policy(), positions=24, batch=8, epochs=3)
    run.join(0)
    while not run.coordinator.finished:
        may = [t for t in run.held(0) if run.granted[t].min_version <= run.coordinator.state.version]
        run.tell(e.Declined(0, may[0]))
    assert [(end.ok, "never called optimizer.step()" in end.reason) for end in run.of(c.Finish)] == [(False, True)]
    assert len(run.of(c.EndEpoch)) == 1


@every_policy
def test_a_run_may_be_asked_to_stop(policy: type) -> None:
    run = Script(policy())
    run.join(0)
    assert only(run.tell(e.StopAsked("target reached")), c.Finish) == [c.Finish("target reached", True)]


def test_balanced_ends_an_epoch_while_the_next_is_under_way() -> None:
    run = Script(Balanced(1, 1.0), positions=32, batch=32, epochs=3, workers=2)
    run.join(0, 1)
    run.work(0, 1)
    assert [(end.epoch, end.version) for end in run.of(c.EndEpoch)] == [(0, 1), (1, 2), (2, 3)]
