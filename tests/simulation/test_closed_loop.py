"""The loop is closed: machines, a record of them, the machines from the record, and the same speeds on those."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest

from evener.core.policies import POLICIES
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host, rotating
from evener.simulation.conditions import conditions
from evener.simulation.drive import Outcome, Simulation
from evener.simulation.links import Link
from evener.trace import Header, HeaderLine, Line, describe
from evener.trace.schema import EventLine

SECONDS = 12.0
SETTINGS = Settings(batch=512, epochs=1000, workers=4)
EPOCH = 51_200


def host(share: float) -> Host:
    """All hosts do the same for a micro-batch, a push and a set of parameters: some faster, some slower."""
    pace = 8000.0 * share
    work = {"overhead": 6 / pace, "push_work": 15 / pace, "pull_work": 10 / pace}
    return Host(pace, noise=0.1, uplink=0.004, latency=0.0008, **work)


UNEQUAL = tuple(map(host, (0.4, 0.2, 0.1, 0.05)))


def limited(share: float) -> Host:
    """A host under a CPU quota: 20 samples' work in hand after a rest, and ends that scatter by as much as 12 are."""
    plain = host(share)
    return dataclasses.replace(plain, noise=0.0, burst=20 / plain.pace, scatter=12 / plain.pace)


WITHIN = {"balanced": 0.02, "asynchronous": 0.04, "synchronous": 0.045}
"""The slowest host's some twenty micro-batches decide what synchronous training does: that is chance, too."""
UNDER_QUOTAS = 0.07
"""There ends scatter so much that parameters, which come while they are late, are taken for dearer than they are; and
the slowest hosts, which idle seldom, tell little of what a rest saves them."""

CLUSTERS = {
    "unequal": UNEQUAL,
    "straggler": tuple(map(host, (0.3, 0.3, 0.3, 0.03))),
    "quotas": tuple(map(limited, (0.4, 0.2, 0.1, 0.05))),
    "rotating": rotating(UNEQUAL, every=3.0),
    "death and join": (
        UNEQUAL[0],
        dataclasses.replace(UNEQUAL[1], dies=4.0),
        *UNEQUAL[2:],
        dataclasses.replace(UNEQUAL[1], joins=6.0),
    ),
}


def run(cluster: Cluster, policy: str, keep_log: bool = False) -> tuple[float, Outcome]:
    """Samples/s until the last step of some seconds."""
    simulation = Simulation(cluster, SETTINGS, POLICIES[policy](), EPOCH, keep_log=keep_log)
    applied, at = 0, 0.0
    for _ in simulation.work():
        if simulation.outcome.applied > applied:
            applied, at = simulation.outcome.applied, simulation.now
        if simulation.now > SECONDS:
            break
    return applied / at, simulation.outcome


def record(cluster: Cluster, kind: Literal["run", "simulation"]) -> list[Line]:
    """What a run of the policy balanced leaves behind."""
    _, recorded = run(cluster, "balanced", keep_log=True)
    header = Header(
        run="r", created="", evener="0", script="", settings=SETTINGS, policy=describe(POLICIES["balanced"]()),
        positions=EPOCH, parameters=cluster.parameters // 4, kind=kind,
    )  # fmt: skip
    return [HeaderLine(0.0, header), *(EventLine(*one) for one in recorded.log)]


@pytest.mark.parametrize("kind", CLUSTERS)
def test_a_record_predicts_every_policy(kind: str) -> None:
    true = Cluster(CLUSTERS[kind])
    found = conditions(record(true, "simulation"))
    for other, most in WITHIN.items():
        expected, _ = run(true, other)
        predicted, _ = run(found.cluster, other)
        most = max(most, UNDER_QUOTAS) if kind == "quotas" else most
        assert predicted == pytest.approx(expected, rel=most), other


def test_on_a_slow_link_pushes_queue() -> None:
    """The fastest host computes a push faster than its link carries one: what it may lead to asynchronously is that."""
    link = Link(up=20e6)
    true = Cluster(tuple(dataclasses.replace(one, uplink=0.0008, link=link) for one in UNEQUAL), parameters=400_000)
    found = conditions(record(true, "run")).cluster
    assert [host.link.up for host in found.hosts if host.link] == pytest.approx([20e6] * 4, rel=0.1)
    expected, _ = run(true, "asynchronous")
    predicted, _ = run(found, "asynchronous")
    assert predicted == pytest.approx(expected, rel=0.05)
    unlimited, _ = run(dataclasses.replace(true, hosts=UNEQUAL), "asynchronous")
    assert unlimited > 1.2 * expected
