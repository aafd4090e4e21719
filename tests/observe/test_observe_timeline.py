from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import POLICIES
from evener.core.state import Settings
from evener.observe.intervals import CAUSES, STATES, Interval
from evener.observe.levels import Levels
from evener.observe.timeline import Timeline
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.trace import EventLine, Line


def grant(worker: int, ticket: int, step: int = 0, min_version: int = 0, samples: int = 10) -> c.Grant:
    return c.Grant(worker, ticket, 0, step, step, ((0, samples),), min_version)


def step(version: int) -> c.Step:
    return c.Step(version - 1, version, 10, 1.0, 1.0, 1)


def said(lines: Iterable[Line], worker: int = 0) -> list[tuple[str, str, float]]:
    found = [one for one in Timeline().follow(lines) if one.worker == worker]
    return [(one.state, one.cause, round(one.seconds, 6)) for one in found]


BEGIN = [
    EventLine(0.0, e.Joined(0, pace=10.0), []),
    EventLine(1.0, e.Joined(1, pace=10.0), []),
    EventLine(2.0, e.EpochDrawn(0, 100), [grant(0, 1), grant(1, 2)]),
    EventLine(2.0, e.Started(0, 1, 0), []),
    EventLine(2.0, e.Started(1, 2, 0), [grant(0, 3, 1, 1), grant(1, 4, 1, 1)]),
]


def test_a_worker_waits_for_parameters_that_another_holds_up() -> None:
    lines = [
        *BEGIN,
        EventLine(3.0, e.Computed(0, 1, 1.0), []),
        EventLine(3.25, e.Arrived(0, 1, (1,), (0,), 10.0), [c.Accumulate(0, 1, 0, 10, 0.5, 0)]),
        EventLine(4.0, e.Computed(1, 2, 2.0), []),
        EventLine(4.5, e.Arrived(1, 1, (2,), (0,), 10.0), [c.Accumulate(1, 1, 0, 10, 0.5, 0), step(1)]),
        EventLine(4.75, e.StepDone(1, 0.25), [c.Publish(1)]),
        EventLine(5.0, e.Received(0, 1), []),
        EventLine(5.125, e.Started(0, 3, 1), []),
        EventLine(6.125, e.Computed(0, 3, 1.0), [c.Finish("complete", True)]),
    ]
    assert said(lines) == [
        ("waiting", "start", 2.0),
        ("computing", "", 1.0),
        ("transferring", "contribution", 0.25),
        ("waiting", "step", 1.25),
        ("waiting", "server", 0.25),
        ("transferring", "parameters", 0.25),
        ("waiting", "handover", 0.125),
        ("computing", "", 1.0),
    ]
    found = list(Timeline().follow(lines))
    (waited,) = [one for one in found if one.worker == 0 and one.cause == "step"]
    assert waited.by == 1
    assert waited.version == 1
    assert waited.ticket == 3
    (computed,) = [one for one in found if one.worker == 0 and one.state == "computing" and one.ticket == 3]
    assert (computed.step, computed.version, computed.samples) == (1, 1, 10)


def test_nobody_holds_itself_up() -> None:
    lines = [
        *BEGIN[:1],
        EventLine(1.0, e.EpochDrawn(0, 100), [grant(0, 1)]),
        EventLine(1.0, e.Started(0, 1, 0), [grant(0, 2, 1, 1)]),
        EventLine(2.0, e.Computed(0, 1, 1.0), []),
        EventLine(2.5, e.Arrived(0, 1, (1,), (0,), 10.0), [step(1)]),
        EventLine(3.0, e.StepDone(1, 0.5), [c.Publish(1)]),
    ]
    assert all(one.by == -1 for one in Timeline().follow(lines))


def test_a_worker_without_a_ticket_waits_for_one_and_the_end_of_it_has_a_cause() -> None:
    lines = [
        *BEGIN[:4],
        EventLine(3.0, e.Computed(0, 1, 1.0), []),
        EventLine(3.0, e.Arrived(0, 1, (1,), (0,), 10.0), []),
        EventLine(3.5, e.Left(1, "died"), [c.Returned(2, "died"), grant(0, 5)]),
        EventLine(3.5, e.Started(0, 5, 0), []),
        EventLine(4.5, e.Computed(0, 5, 1.0), []),
        EventLine(4.5, e.Arrived(0, 2, (5,), (0,), 10.0), [c.EndEpoch(0, 1, 20, 0, 0, 0)]),
        EventLine(5.5, e.SnapshotTaken(0), []),
        EventLine(6.0, e.EpochDrawn(1, 100), [c.Finish("complete", True)]),
    ]
    assert said(lines)[1:] == [
        ("computing", "", 1.0),
        ("waiting", "ticket", 0.5),
        ("computing", "", 1.0),
        ("waiting", "epoch", 1.5),
    ]
    (waited,) = [one for one in Timeline().follow(lines) if one.worker == 0 and one.cause == "ticket"]
    assert waited.by == 1


def test_who_leaves_is_away_until_it_comes_back() -> None:
    lines = [
        *BEGIN,
        EventLine(2.5, e.Left(0, "the connection broke"), [c.Returned(1, "left"), c.Returned(3, "left")]),
        EventLine(4.0, e.Joined(0, 0, 10.0), [grant(0, 9)]),
        EventLine(4.0, e.Started(0, 9, 0), []),
        EventLine(5.0, e.Computed(0, 9, 1.0), []),
        EventLine(5.5, e.Left(0, "died"), []),
        EventLine(7.0, e.Tick(), [c.Finish("stopped", True)]),
    ]
    assert said(lines) == [
        ("waiting", "start", 2.0),
        ("computing", "", 0.5),
        ("away", "the connection broke", 1.5),
        ("computing", "", 1.0),
        ("transferring", "contribution", 0.5),
        ("away", "died", 1.5),
    ]


def test_what_takes_far_longer_than_the_pace_predicts_is_a_stall_and_only_its_excess() -> None:
    lines = [*BEGIN[:4], EventLine(12.0, e.Computed(0, 1, 10.0), [])]  # 10 samples at 10 samples/s
    assert said(lines)[1:] == [("computing", "", 1.0), ("stalled", "slow", 9.0)]


def test_a_stall_that_nobody_saw_the_end_of_shows_too() -> None:
    lines = [*BEGIN[:4], EventLine(30.0, e.Left(0, "silent for 20 s"), [])]
    assert said(lines)[1:] == [("computing", "", 1.0), ("stalled", "slow", 27.0)]


def test_a_worker_that_stays_slow_is_believed() -> None:
    lines: list[Line] = list(BEGIN[:1])
    t, found = 0.0, []
    for ticket in range(20):
        lines.append(EventLine(t, e.Tick(), [grant(0, ticket)]))
        lines.append(EventLine(t, e.Started(0, ticket, 0), []))
        t += 1.0 if ticket < 5 else 10.0
        lines.append(EventLine(t, e.Computed(0, ticket, 1.0), []))
        lines.append(EventLine(t, e.Arrived(0, ticket, (ticket,), (0,), 10.0), []))
    found = [one.state for one in Timeline().follow(lines)]
    assert "stalled" in found[:12]
    assert "stalled" not in found[-5:]


def test_reports_that_come_twice_or_late_or_after_the_contribution_change_nothing() -> None:
    lines = [
        *BEGIN,
        EventLine(2.5, e.Started(0, 1, 0), []),
        EventLine(3.0, e.Arrived(0, 1, (1,), (0,), 10.0), []),
        EventLine(3.0, e.Started(0, 1, 0), []),
        EventLine(3.5, e.Computed(0, 1, 1.0), []),
        EventLine(3.5, e.Computed(7, 99, 1.0), []),
        EventLine(4.0, e.Tick(), []),
    ]
    assert said(lines)[1:] == [("computing", "", 1.0), ("waiting", "end", 1.0)]


CLUSTERS = {
    "plain": Cluster((Host(pace=400), Host(pace=200), Host(pace=100))),
    "faults": Cluster(
        (
            Host(pace=400, noise=0.2, dies=1.5),
            Host(pace=200, stalls=((1.0, 2.0),), declines=7),
            Host(pace=100, joins=0.7, refused=9, jitter=0.01, repeats=5),
            Host(pace=300, repeats=3, jitter=0.02, dies=4.0),
            Host(pace=50),
        )
    ),
}


@pytest.mark.parametrize("policy", sorted(POLICIES))
@pytest.mark.parametrize("cluster", sorted(CLUSTERS))
def test_intervals_cover_each_workers_time_without_gap_or_overlap(policy: str, cluster: str) -> None:
    hosts = CLUSTERS[cluster]
    simulation = Simulation(hosts, Settings(batch=64, epochs=3, workers=hosts.at_start), POLICIES[policy](), 512)
    log = simulation.run().log
    found = list(Timeline().follow([EventLine(*entry) for entry in log]))
    joined = {event.worker: t for t, event, _ in reversed(log) if isinstance(event, e.Joined)}
    end = next(t for t, _, commands in log if any(isinstance(command, c.Finish) for command in commands))
    by_worker = {
        worker: list(group)
        for worker, group in itertools.groupby(sorted(found, key=lambda one: one.worker), lambda one: one.worker)
    }
    assert set(by_worker) == {worker for worker, t in joined.items() if t < end}
    for worker, own in by_worker.items():
        assert own[0].start == joined[worker]
        assert own[-1].stop == end
        assert all(one.start < one.stop for one in own)
        assert all(one.stop == other.start for one, other in itertools.pairwise(own))
    assert all(one.state in STATES and (one.state == "away" or one.cause in CAUSES) for one in found)
    # What was computed is what the workers themselves measured, up to messages' latencies.
    measured = sum(event.seconds for t, event, _ in log if isinstance(event, e.Computed) and t <= end)
    if cluster == "plain":
        shown = sum(one.seconds for one in found if one.state == "computing")
        assert shown == pytest.approx(measured, rel=0.02)


def interval(number: int, worker: int = 0) -> Interval:
    return Interval(worker, float(number), number + 1.0, "computing", ticket=number)


def test_all_intervals_are_kept_while_there_is_room() -> None:
    levels = Levels(room=64, window=4)
    levels.add(interval(number) for number in range(64))
    assert levels.complete
    assert [one.ticket for one in levels.kept()] == list(range(64))


def test_with_too_many_whole_windows_are_kept_over_the_whole_run() -> None:
    levels = Levels(room=64, window=4)
    for number in range(10_000):
        levels.add([interval(number)])
    kept = [one.ticket for one in levels.kept()]
    assert not levels.complete
    assert 24 <= len(kept) <= 64
    starts = kept[::4]
    assert all(
        kept[i : i + 4] == list(range(start, start + 4))
        for i, start in zip(range(0, len(kept), 4), starts, strict=False)
    )
    distances = {b - a for a, b in itertools.pairwise(starts)}
    assert len(distances) == 1
    assert starts[0] == 0
    assert starts[-1] > 8_000


def test_the_whole_run_is_always_there_in_bins() -> None:
    levels = Levels(room=64, window=4)
    for number in range(10_000):
        levels.add([interval(number, worker=number % 2)])
    width, fractions = levels.fractions()
    seconds = [width * sum(fractions[worker][0]) for worker in levels.workers]
    assert seconds == pytest.approx([5_000, 5_000])
    assert all(len(kind) <= 480 for worker in levels.workers for kind in fractions[worker])
