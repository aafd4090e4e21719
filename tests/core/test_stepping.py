"""The queue of steps: numbered as they fall due, said one by one, each after its contributions."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core.ledger import Lot
from evener.core.state import RunState, Settings
from evener.core.stepping import StepQueue


@pytest.fixture
def state() -> RunState:
    return RunState(Settings(batch=8, epochs=2))


@pytest.fixture
def queue(state: RunState) -> StepQueue:
    return StepQueue(state)


def lot(index: int = 0, epoch: int = 0, applied: int = 8, weight: float = 8.0) -> Lot:
    return Lot(index, epoch, 0, 8, [], 0, applied=applied, weight=weight)


def add(worker: int, samples: int = 4) -> c.Accumulate:
    return c.Accumulate(worker, 1, 0, samples, 0.5, 0)


def test_one_step_is_under_way_until_its_version_is_made(queue: StepQueue, state: RunState) -> None:
    first, second = lot(0), lot(1)
    assert queue.say() == []
    assert queue.done(1) is None
    queue.lot_due(first, 8)
    queue.lot_due(second, 8)
    assert state.issued == 2
    assert queue.done(1) is None, "it has not been said yet"
    assert queue.say() == [c.Step(0, 1, 8, 1.0, 1.0, 1)]
    assert queue.say() == []
    assert queue.done(2) is None
    assert queue.say() == []
    assert queue.done(1) is first
    assert queue.done(2) is None
    assert queue.say() == [c.Step(1, 2, 8, 1.0, 1.0, 1)]
    assert queue.done(2) is second
    assert queue.say() == []


@pytest.mark.parametrize(
    ("applied", "weight", "rescale"), [(8, 8.0, 1.0), (4, 4.0, 2.0), (4, 3.2, 2.5), (0, 0.0, 1.0), (8, 16.0, 0.5)]
)
def test_a_lot_is_rescaled_to_what_was_applied(queue: StepQueue, applied: int, weight: float, rescale: float) -> None:
    queue.lot_due(lot(applied=applied, weight=weight), 8)
    assert queue.say() == [c.Step(0, 1, applied, pytest.approx(rescale), 1.0, 1)]


def test_what_is_held_is_summed_in_the_order_of_places(queue: StepQueue) -> None:
    mine, other = lot(0, weight=99.0), lot(1, weight=2.0)
    places = [((4, 6), 2.0), ((0, 9), 0.1), ((4, 5), 0.2), ((0, 2), 0.3)]
    for worker, (place, weight) in enumerate(places):
        queue.hold(mine, place, weight, add(worker))
    queue.hold(other, (0, 0), 4.0, add(7))
    queue.lot_due(mine, 8)
    assert mine.weight == 0.3 + 0.1 + 0.2 + 2.0  # summed in this order, too
    *adds, step = queue.say()
    assert adds == [add(3), add(1), add(2), add(0)]
    assert step == c.Step(0, 1, 8, 8 / mine.weight, 1.0, 1)
    queue.done(1)
    queue.lot_due(other, 8)
    assert queue.say() == [add(7), c.Step(1, 2, 8, 2.0, 1.0, 1)]
    queue.done(2)
    queue.lot_due(mine, 8)  # nothing of it is held any more
    assert queue.say() == [c.Step(2, 3, 8, 8 / mine.weight, 1.0, 1)]


def test_a_push_is_a_step_of_its_own(queue: StepQueue) -> None:
    queue.push_due(lot(), add(3, samples=2), rate_scale=0.25, batches=0)
    queue.push_due(lot(), add(4, samples=6), rate_scale=0.75, batches=1)
    assert queue.say() == [add(3, samples=2), c.Step(0, 1, 2, 1.0, 0.25, 0)]
    queue.done(1)
    assert queue.say() == [add(4, samples=6), c.Step(1, 2, 6, 1.0, 0.75, 1)]


def test_batches_that_end_without_a_push_are_a_step_without_samples(queue: StepQueue) -> None:
    queue.nothing_due(lot(), batches=3)
    assert queue.say() == [c.Step(0, 1, 0, 1.0, 1.0, 3)]


def test_an_epoch_is_needed_until_its_last_step_is_done(queue: StepQueue) -> None:
    queue.lot_due(lot(0, epoch=0), 8)
    queue.lot_due(lot(1, epoch=1), 8)
    queue.say()
    assert [queue.needs(epoch) for epoch in (0, 1, 2)] == [True, True, False]
    queue.done(1)
    assert [queue.needs(epoch) for epoch in (0, 1)] == [False, True]
