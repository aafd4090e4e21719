"""Hosts fitted to records of simulated runs, where they are known."""

import pytest

from evener.core.policies import Balanced, Synchronous
from evener.core.state import Settings
from evener.simulation.drive import Simulation
from evener.trace import Writer
from study import clusters
from study.real import fit

CLUSTER = clusters.cluster("10:4:2:1", "har")


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Timing alone, two policies: micro-batches of one size, and of several."""
    made = []
    for policy in (Synchronous(), Balanced(stale_fraction=0.1)):
        settings = Settings(batch=256, epochs=2, workers=4)
        outcome = Simulation(CLUSTER, settings, policy, positions=256 * 40).run()
        folder = tmp_path_factory.mktemp(policy.name)
        with Writer(folder) as writer:
            writer.header(run=policy.name, settings=settings, policy=policy, parameters=1)
            for t, event, commands in outcome.log:
                writer.event(t, event, commands)
        made.append(folder)
    return made


def test_hosts_are_found_again(records):
    for found, true in zip(fit(records), CLUSTER.hosts, strict=True):
        assert found.pace == pytest.approx(true.pace, rel=0.05)
        assert found.overhead == pytest.approx(true.overhead, rel=0.7)
        assert found.noise == pytest.approx(true.noise, rel=0.2)
        # A report takes its latency, so transfers seem that much shorter or longer.
        assert found.uplink == pytest.approx(true.uplink, abs=1.5 * true.latency)
        assert found.downlink == pytest.approx(true.downlink, abs=1.5 * true.latency)


def test_their_limit_is_found_again(records):
    assert clusters.limit(fit(records)) == pytest.approx(clusters.limit(CLUSTER.hosts), rel=0.02)
