"""Transfers are work for a worker's processor: they hold up the micro-batch under way."""

from __future__ import annotations

import dataclasses
import math
import statistics

import pytest

from evener.core import events as e
from evener.core.policies import Asynchronous, Policy, Synchronous
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.simulation.files import ClusterError, parse_cluster

ALONE = Host(pace=100.0, overhead=0.0, uplink=0.01, downlink=0.01, latency=0.001)
BATCH = 100
"""A second of computing."""


def seconds(policy: Policy, steps: int = 6, **values: object) -> list[float]:
    """What each micro-batch of a worker that is alone took."""
    cluster = Cluster((dataclasses.replace(ALONE, **values),), probe=False)  # type: ignore[arg-type]
    outcome = Simulation(cluster, Settings(BATCH, 1, workers=1), policy, positions=steps * BATCH).run()
    assert outcome.applied == steps * BATCH
    return [event.seconds for _, event, _ in outcome.log if isinstance(event, e.Computed)]


def test_a_push_holds_up_the_next_micro_batch() -> None:
    first, *others = seconds(Asynchronous(), push_work=0.5)
    assert first == pytest.approx(1.0)
    assert others == pytest.approx([1.5] * len(others))


def test_a_push_that_is_through_holds_up_nothing() -> None:
    # It waits for the new parameters: by then the push has gone.
    assert seconds(Synchronous(), push_work=0.01) == pytest.approx([1.0] * 6)


def test_of_a_push_only_the_rest_is_in_the_way() -> None:
    # 22 ms of it pass while it waits: there and back, and a step of 1 ms.
    first, *others = seconds(Synchronous(), push_work=0.5)
    assert first == pytest.approx(1.0)
    assert others == pytest.approx([1.5 - 0.021] * len(others), abs=0.004)


def test_parameters_that_come_hold_up_what_is_computed() -> None:
    plain = seconds(Asynchronous())
    held = seconds(Asynchronous(), pull_work=0.25)
    assert plain == pytest.approx([1.0] * len(plain))
    # The first computes on the parameters there are; while the others compute, those of the push before come.
    assert held[0] == pytest.approx(1.0)
    assert held[1:] == pytest.approx([1.25] * len(held[1:]))


def test_who_waits_for_parameters_is_not_held_up_by_them() -> None:
    assert seconds(Synchronous(), pull_work=0.25) == pytest.approx([1.0] * 6)


def test_on_a_slower_processor_they_take_longer() -> None:
    took = seconds(Asynchronous(), push_work=0.5, paces=((2.5, 50.0),))
    assert took[1] == pytest.approx(1.5)
    assert took[3:] == pytest.approx([3.0] * len(took[3:]))


def test_who_has_rested_is_ahead() -> None:
    # It waits for 22 ms: there and back, and a step of 1 ms. 5 ms of it go to what comes.
    _, *others = seconds(Synchronous(), burst=0.015)
    assert others == pytest.approx([1.0 - 0.015] * len(others))
    _, *others = seconds(Synchronous(), burst=1.0, pull_work=0.005)
    assert others == pytest.approx([1.0 - 0.016] * len(others), abs=0.004)


def test_who_does_not_rest_is_at_its_pace() -> None:
    assert sum(seconds(Asynchronous(), steps=40, burst=0.5)[1:]) == pytest.approx(39.0, rel=0.001)


def test_what_one_takes_longer_the_next_takes_less() -> None:
    took = seconds(Asynchronous(), steps=300, scatter=0.1)
    assert sum(took) == pytest.approx(300.0, abs=0.4)
    assert statistics.stdev(took) == pytest.approx(0.1 * math.sqrt(2.0), rel=0.15)


def test_they_are_in_cluster_files() -> None:
    [host] = parse_cluster('[[hosts]]\npace = 1\npush_work = "5 ms"\npull_work = 0.002').hosts
    assert (host.push_work, host.pull_work) == (0.005, 0.002)


@pytest.mark.parametrize("key", ["push_work", "pull_work"])
def test_they_are_times(key: str) -> None:
    for wrong, says in (("-1", "not negative"), ("'fast'", "is not a time"), ("true", "is not a time")):
        with pytest.raises(ClusterError, match=f"line 3: host table 1, '{key}': .*{says}"):
            parse_cluster(f"[[hosts]]\npace = 1\n{key} = {wrong}")
    with pytest.raises(ValueError, match=f"{key} is not negative"):
        Host(1.0, **{key: -1.0})
