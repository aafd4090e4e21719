"""With fixed micro-batches, what is summed and in which order does not depend on the workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evener.core import commands as c
from evener.core import events as e
from evener.core.coordinator import Coordinator
from evener.core.policies import POLICIES, Balanced, Policy
from evener.core.ranges import Range, block
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Outcome, Simulation
from evener.testing.strategies import Schedule, schedules


@st.composite
def reproducible(draw: Callable[[st.SearchStrategy[object]], object], faults: bool = True) -> Schedule:
    """A schedule with fixed micro-batches, of all sizes: one a step to half a batch."""
    schedule: Schedule = draw(schedules(faults))  # type: ignore[assignment]
    size: int = draw(st.sampled_from((2, 3, 8, 16, 50, 1000)))  # type: ignore[assignment]
    return replace(schedule, settings=replace(schedule.settings, micro_batch=size))


def blocks(start: int, stop: int, size: int) -> list[Range]:
    """All blocks from ``start`` to ``stop``, by the rule in words."""
    cuts = [*range(start, stop, size), stop]
    if stop - start > 1 and cuts[-1] - cuts[-2] == 1:
        del cuts[-2]
    return list(pairwise(cuts))


@given(start=st.integers(0, 500), count=st.integers(1, 200), size=st.integers(2, 60))
def test_blocks_cover_a_lot(start: int, count: int, size: int) -> None:
    at, found = start, []
    while at < start + count:
        found.append(block((start, start + count), at, size))
        at = found[-1][1]
    assert found == blocks(start, start + count, size)
    assert all(stop - first >= 2 for first, stop in found) or count == 1


@pytest.mark.parametrize("at", [99, 101, 109, 110])
def test_no_block_begins_elsewhere(at: int) -> None:
    with pytest.raises(ValueError, match="no block"):
        block((100, 110), at, 3)


def sums(outcome: Outcome) -> list[list[tuple[int, Range]]]:
    """For each step, the epoch and positions of what was added, in order."""
    tickets: dict[int, tuple[int, Range]] = {}
    pushes: dict[tuple[int, int], tuple[int, ...]] = {}
    steps: list[list[tuple[int, Range]]] = []
    adding: list[tuple[int, Range]] = []
    for _, event, commands in outcome.log:
        if isinstance(event, e.Arrived):
            pushes.setdefault((event.worker, event.push), event.tickets)
        for command in commands:
            match command:
                case c.Grant(ticket=ticket, epoch=epoch, ranges=(one,)):
                    tickets[ticket] = epoch, one
                case c.Grant():
                    raise AssertionError(f"{command} is more than a block")
                case c.Accumulate(worker, push):
                    (ticket,) = pushes[worker, push]
                    adding.append(tickets[ticket])
                case c.Step():
                    steps.append(adding)
                    adding = []
                case _:
                    pass
    return steps


def expected(settings: Settings, positions: int) -> list[list[tuple[int, Range]]]:
    """The same by the rule."""
    steps = []
    for epoch in range(settings.epochs):
        for start in range(0, positions, settings.batch):
            stop = min(start + settings.batch, positions)
            if stop - start == settings.batch or not settings.drop_last:
                steps.append([(epoch, one) for one in blocks(start, stop, settings.micro_batch)])
    return steps


@given(schedule=reproducible())
def test_steps_sum_their_blocks_in_order_whatever_happens(schedule: Schedule) -> None:
    outcome = schedule.run(Balanced(bound=0))
    assert outcome.finish is not None
    wanted, found = expected(schedule.settings, schedule.positions), sums(outcome)
    if any(host.declines or host.refused for host in schedule.cluster.hosts):
        # What the script skipped, or what was no number, is missing; the rest keeps its order.
        for ours, all_of_it in zip(found, wanted, strict=False):
            assert ours == [one for one in all_of_it if one in ours]
    else:
        assert found == wanted
        assert outcome.finish == c.Finish("complete", True)


@given(schedule=reproducible(faults=False))
def test_without_faults_every_position_is_applied(schedule: Schedule) -> None:
    outcome = schedule.run(Balanced(bound=0))
    wanted = schedule.positions
    if schedule.settings.drop_last:
        wanted -= wanted % schedule.settings.batch
    assert outcome.finish == c.Finish("complete", True)
    assert outcome.applied == wanted * schedule.settings.epochs


@given(schedule=reproducible())
def test_a_recorded_run_replays_to_the_same_commands(schedule: Schedule) -> None:
    log = schedule.run(Balanced(bound=0), watch=False).log
    fresh = Coordinator(schedule.settings, Balanced(bound=0))
    assert [fresh.handle(event, now) for now, event, _ in log] == [commands for _, _, commands in log]


@given(weights=st.permutations([0.1, 0.2, 0.3, 1e16, 3.3, 7.7]))
def test_weights_are_summed_in_the_same_order(weights: list[float]) -> None:
    """The weight of a block is its own; which arrives first is not."""
    own = dict(zip(range(0, 12, 2), (0.1, 0.2, 0.3, 1e16, 3.3, 7.7), strict=True))
    run = Coordinator(Settings(batch=12, epochs=1, workers=6, micro_batch=2), Balanced(bound=0))
    for worker in range(6):
        run.handle(e.Joined(worker, pace=100.0), 0.0)
    grants = [command for command in run.handle(e.EpochDrawn(0, 12), 0.0) if isinstance(command, c.Grant)]
    said: list[c.Command] = []
    done: set[int] = set()
    while len(done) < 6:
        waiting = sorted((g for g in grants if g.ticket not in done), key=lambda g: weights.index(own[g.ranges[0][0]]))
        for grant in waiting:
            done.add(grant.ticket)
            weight = own[grant.ranges[0][0]]
            new = run.handle(e.Arrived(grant.worker, len(done), (grant.ticket,), (0,), weight), 0.0)
            said += new
            grants += [command for command in new if isinstance(command, c.Grant)]
    (step,) = (command for command in said if isinstance(command, c.Step))
    assert step.rescale == 12 / sum([0.1, 0.2, 0.3, 1e16, 3.3, 7.7])
    adds = [command.factor for command in said if isinstance(command, c.Accumulate)]
    assert adds == [weight / 12 for weight in (0.1, 0.2, 0.3, 1e16, 3.3, 7.7)]


def test_a_fast_worker_computes_more_blocks() -> None:
    settings = Settings(batch=256, epochs=4, workers=2, micro_batch=16)
    run = Simulation(Cluster((Host(pace=800.0), Host(pace=100.0))), settings, Balanced(bound=0), positions=2560)
    outcome = run.run()
    added: dict[int, int] = {0: 0, 1: 0}
    for _, _, commands in outcome.log:
        for command in commands:
            if isinstance(command, c.Accumulate):
                added[command.worker] += command.samples
    assert added[0] > 4 * added[1] > 0
    assert outcome.samples_per_second > 0.7 * 900


@pytest.mark.parametrize(
    "policy", [Balanced(bound=1), *(made() for name, made in POLICIES.items() if name != "balanced")]
)
def test_only_where_time_decides_nothing(policy: Policy) -> None:
    with pytest.raises(ValueError, match="balanced with bound 0"):
        Coordinator(Settings(batch=32, epochs=1, micro_batch=16), policy)


@pytest.mark.parametrize("size", [-1, 1])
def test_a_micro_batch_has_two_samples_or_more(size: int) -> None:
    with pytest.raises(ValueError, match="2 samples or more"):
        Coordinator(Settings(batch=32, epochs=1, micro_batch=size), Balanced(bound=0))
