from __future__ import annotations

import dataclasses

import pytest

from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.simulation.batch import too_small
from evener.simulation.cluster import Cluster, Host, rotating
from evener.simulation.drive import Simulation
from evener.simulation.faults import Fault
from evener.simulation.files import ClusterError, of_paces, parse_cluster
from evener.simulation.limit import limit
from evener.simulation.links import Link
from evener.simulation.pauses import Pareto
from evener.simulation.sentences import parse_faults
from evener.simulation.striking import script
from evener.simulation.what_if import WhatIf
from evener.simulation.writer import to_toml

FOUR = of_paces([400, 200, 100, 50])


def paces(cluster: Cluster) -> list[float]:
    return [host.pace for host in cluster.hosts]


def test_numbers_are_those_of_before() -> None:
    assert paces(WhatIf(more=((2, 3),), without=(3, 0)).apply(FOUR)) == [200, 100, 50, 50]


def test_faults_stay_with_their_hosts() -> None:
    struck = script(FOUR, parse_faults("\n".join(f"in push kill worker {worker}" for worker in range(4))))
    left = WhatIf(more=((1, 3),), without=(0, 2)).apply(struck)
    assert [str(fault) for fault in left.faults] == [
        "in push kill worker 0",
        "in push kill worker 1",
        "in push kill worker 2",
    ]
    assert paces(left) == [200, 50, 50]


def test_a_faster_link_is_never_slower() -> None:
    def throughput(mbits: float) -> float:
        cluster = WhatIf(link=mbits * 1e6).apply(dataclasses.replace(FOUR, parameters=1_000_000))
        settings = Settings(batch=256, epochs=1, workers=4)
        return Simulation(cluster, settings, Balanced(), 256 * 20, keep_log=False).run().samples_per_second

    slow, middle, fast = (throughput(mbits) for mbits in (5, 50, 500))
    assert slow < 0.9 * middle < fast


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (WhatIf(without=(4,)), "there is no host 4 to leave out: they are 0 to 3"),
        (WhatIf(more=((1, -1),)), "there is no host -1 to have more of: they are 0 to 3"),
        (WhatIf(more=((0, 1),)), "0 more hosts like 1: the number is a whole one from 1"),
        (WhatIf(without=(0, 1, 2, 3)), "nobody is left"),
        (WhatIf(link=1e6), "depends on the model's size"),
    ],
)
def test_what_cannot_be_is_refused_in_words(asked: WhatIf, says: str) -> None:
    with pytest.raises(ClusterError, match=says):
        asked.apply(FOUR)


def test_a_link_that_cannot_be_is_refused() -> None:
    with pytest.raises(ClusterError, match="positive"):
        WhatIf(link=-1.0).apply(dataclasses.replace(FOUR, parameters=1000))


def test_a_batch_too_small_for_the_workers_is_found_and_one_that_would_do() -> None:
    many = of_paces([200.0] * 16 + [20.0] * 4)
    found = too_small(many, 64, Balanced)
    assert found is not None
    assert found.enough.batch > 64
    assert found.enough.utilisation > 1.1 * found.now.utilisation
    assert f"a batch of {found.enough.batch} would do" in str(found)
    # It is no longer too small then.
    assert too_small(many, found.enough.batch, Balanced) is None


def test_who_sits_out_is_named() -> None:
    found = too_small(of_paces([400.0, 400.0, 60.0]), 64, Balanced)
    assert found is not None
    assert found.now.sits_out == (2,)
    assert "worker 2 would sit out" in str(found)


def test_a_batch_that_is_large_enough_is_no_matter() -> None:
    assert too_small(FOUR, 2048, Balanced) is None


def test_the_limit_counts_who_is_there() -> None:
    late = Host(pace=100, overhead=0.0, joins=5.0)
    stalled = Host(pace=100, overhead=0.0, stalls=((2.0, 5.0),))
    assert limit(Cluster((late, stalled)), 10.0) == pytest.approx(50 + 50)
    turning = Cluster(rotating([Host(pace=300, overhead=0.0), Host(pace=100, overhead=0.0)], every=1.0))
    assert limit(turning, 10.0) == pytest.approx(400)


def test_nobody_computes_more_than_the_limit() -> None:
    cluster = Cluster(tuple(Host(pace=pace, overhead=0.01, noise=0.2) for pace in (400, 200, 50)))
    outcome = Simulation(
        cluster, Settings(batch=2048, epochs=1, workers=3), Balanced(), 2048 * 40, keep_log=False
    ).run()
    assert 0.85 < outcome.samples_per_second / limit(cluster, outcome.seconds) <= 1.01


@pytest.mark.parametrize(
    "cluster",
    [
        FOUR,
        Cluster((Host(pace=1 / 3, noise=0.1),) * 3, step_seconds=0.25, probe=False, evaluation=1.5, seed=7),
        Cluster(rotating([Host(pace=300), Host(pace=100)], every=2.5)),
        Cluster((Host(pace=5, joins=1, dies=9.5, stalls=((2.0, 1e-5), (4.0, 1.0)), declines=3, refused=2, repeats=4),)),
    ],
)
def test_a_cluster_that_is_written_is_read_back(cluster: Cluster) -> None:
    assert parse_cluster(to_toml(cluster, ["from a test", ""])) == cluster


def test_every_value_is_written() -> None:
    link = Link(up=1e6 / 3, down=2e6, delay=0.01, loss=0.1)
    host = Host(
        2.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 70.0, ((1.0, 1.0),), ((1.0, 3.0),), 9.0, 1, 2, 0.8, 3,
        link, Pareto(90.0, 0.5, 1.2), ((3.0, 1.0),), ((4.0, 1.0, 0.5),), 2.0, 0.7, 0.9, 0.05, 0.06,
    )  # fmt: skip
    cluster = Cluster((host,), 0.1, False, 0.2, 3, 1000, 0.4, link, (Fault(0, 3.5, "slows", 2.0, 0.25, during="push"),))
    for one in (host, cluster):
        for field in dataclasses.fields(one):
            assert getattr(one, field.name) != field.default, field.name
    assert parse_cluster(to_toml(cluster)) == cluster


def test_a_batch_is_no_remedy_for_a_link_that_is_too_slow() -> None:
    poor = WhatIf(link=1e6).apply(dataclasses.replace(of_paces([400.0] * 6), parameters=4_000_000))
    assert "transfers take too long" in str(too_small(poor, 64, Balanced))
