"""What micro-batches cost beside their samples, told by micro-batches of known costs."""

from __future__ import annotations

import numpy as np
import pytest

from evener.simulation.shape import Array, Batches, Shape, shape

OVERHEAD, PUSH, PULL = 6.0, 20.0, 12.0
COUNT = 1200


def host(
    seed: int, pace: float, sizes: tuple[int, ...] = (16, 32, 64), noise: float = 0.2, every: float = 3.0
) -> Batches:
    """Micro-batches of a host one after the other, while every some micro-batches new parameters come, by the clock."""
    chance = np.random.default_rng(seed)
    size = chance.choice(sizes, COUNT).astype(float)
    seconds = (size + OVERHEAD) / pace * np.exp(chance.normal(0.0, noise, COUNT))
    pushed = chance.random(COUNT) < 0.3
    seconds += pushed * PUSH / pace
    # Parameters come when they come: a long micro-batch is the likelier to see them.
    comes = chance.exponential(every * float(np.mean(seconds)), COUNT)
    pulled = comes < seconds
    seconds += pulled * PULL / pace
    return Batches(size, seconds, np.where(pushed, 0.0, np.inf), pulled * 1.0, np.zeros(COUNT))


def test_costs_are_told_from_noise() -> None:
    found = shape([host(seed, pace) for seed, pace in enumerate((3000.0, 400.0, 50.0))])
    assert found.known
    assert found.overhead == pytest.approx(OVERHEAD, abs=1.5)
    assert found.push == pytest.approx(PUSH, rel=0.1)
    assert found.pull == pytest.approx(PULL, rel=0.15)


def test_what_was_held_up_does_not_count() -> None:
    one = host(1, 400.0)
    seconds = one.seconds.copy()
    seconds[::40] *= 15.0
    found = shape([Batches(one.sizes, seconds, one.gaps, one.pulled, one.idle)])
    assert found.overhead == pytest.approx(OVERHEAD, abs=2.5)
    assert found.push == pytest.approx(PUSH, rel=0.2)


def test_of_a_push_that_began_earlier_the_rest_counts() -> None:
    one = host(2, 400.0, noise=0.1)
    # Two thirds of the pushes began 20 ms before the micro-batch: 8 samples of 20 are done.
    pushed = np.isfinite(one.gaps)
    late = pushed & (np.arange(COUNT) % 3 > 0)
    gaps: Array = np.where(late, 0.02, one.gaps)
    found = shape([Batches(one.sizes, one.seconds - late * 0.02, gaps, one.pulled, one.idle)])
    assert found.push == pytest.approx(PUSH, rel=0.1)


def test_plain_is_what_it_took_without_transfers() -> None:
    one = host(3, 400.0, noise=0.0)
    plain = Shape(OVERHEAD, PUSH, PULL, True).plain(one)
    assert float(plain.sum()) == pytest.approx(float((one.sizes + OVERHEAD).sum()) / 400.0, rel=0.02)


def test_without_transfers_there_is_no_cost_of_one() -> None:
    one = host(4, 400.0)
    no = ~np.isfinite(one.gaps) & (one.pulled == 0)
    found = shape([Batches(*(values[no] for values in (one.sizes, one.seconds, one.gaps, one.pulled, one.idle)))])
    assert (found.push, found.pull) == (0.0, 0.0)
    assert found.overhead == pytest.approx(OVERHEAD, abs=2.0)


def test_what_a_rest_saved_is_told_from_what_samples_cost() -> None:
    """Those that begin after a wait are the large ones, so without it samples would seem to cost less."""
    one = host(7, 400.0)
    rests = np.where(one.sizes > 32, 1.0, 0.0) * (np.arange(COUNT) % 5 > 0)
    found = shape([Batches(one.sizes, one.seconds - rests * 15 / 400, one.gaps, one.pulled, rests)])
    assert found.burst(0) == pytest.approx(15, rel=0.15)
    assert found.overhead == pytest.approx(OVERHEAD, abs=2.0)
    assert found.burst(1) == 0.0


def test_a_push_that_cannot_be_told_costs_what_a_pull_does() -> None:
    one = host(8, 400.0)
    no = ~np.isfinite(one.gaps)
    found = shape([Batches(*(values[no] for values in (one.sizes, one.seconds, one.gaps, one.pulled, one.idle)))])
    assert found.push == found.pull == pytest.approx(PULL, rel=0.2)


def test_one_size_does_not_tell_the_overhead() -> None:
    found = shape([host(5, 400.0, sizes=(32,))])
    assert not found.known
    assert found.overhead == 0.0


def test_a_few_micro_batches_say_nothing() -> None:
    one = host(6, 400.0)
    few = Batches(*(values[:5] for values in (one.sizes, one.seconds, one.gaps, one.pulled, one.idle)))
    assert shape([few]) == Shape(bursts=(0.0,))
    assert shape([]) == Shape()
