"""A record gives back the machines that it was made on, and they predict what another policy would do on them."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from pathlib import Path

import msgspec
import pytest

from evener.core.policies import POLICIES, Asynchronous, Balanced, Delayed, Policy, Synchronous
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host, rotating
from evener.simulation.conditions import Conditions, cluster_of, conditions
from evener.simulation.drive import Simulation
from evener.trace import Header, HeaderLine, Line, RecordError, describe
from evener.trace.schema import BrokenLine, EventLine
from tests.trace.simulated_records import simulate

SETTINGS = Settings(batch=256, epochs=4, workers=4)
POSITIONS = 10_000

HOSTS = (
    Host(pace=400, overhead=0.004, noise=0.1, uplink=0.02, downlink=0.01, latency=0.001),
    Host(pace=200, overhead=0.010, noise=0.2, uplink=0.05, downlink=0.03, latency=0.005),
    Host(pace=120, overhead=0.002, noise=0.05, uplink=0.01, downlink=0.02, latency=0.0005),
    Host(pace=60, overhead=0.020, noise=0.1, uplink=0.04, downlink=0.06, latency=0.002),
)


def lines(cluster: Cluster, policy: Policy, settings: Settings = SETTINGS, positions: int = POSITIONS) -> list[Line]:
    """A simulated run's record, as a real one: nothing in it says what was simulated."""
    outcome = Simulation(cluster, dataclasses.replace(settings, workers=cluster.at_start), policy, positions).run()
    header = Header(
        run="r", created="", evener="0", script="", settings=settings, policy=describe(policy), positions=positions,
        parameters=0, kind="simulation",
    )  # fmt: skip
    return [HeaderLine(0.0, header), *(EventLine(*one) for one in outcome.log)]


def throughput(cluster: Cluster, policy: Policy) -> float:
    settings = dataclasses.replace(SETTINGS, workers=cluster.at_start)
    return Simulation(cluster, settings, policy, POSITIONS, keep_log=False).run().samples_per_second


def same_policy(found: Conditions) -> Policy:
    return POLICIES[found.header.policy.name](**found.header.policy.options)


def test_known_hosts_come_back() -> None:
    found = conditions(lines(Cluster(HOSTS, step_seconds=0.003, evaluation=0.5), Balanced()))
    assert found.workers == (0, 1, 2, 3)
    assert found.cluster.step_seconds == pytest.approx(0.003, rel=1e-3)
    assert found.cluster.evaluation == pytest.approx(0.5, rel=1e-3)
    assert (found.positions, found.header.settings.batch) == (POSITIONS, 256)
    for host, true in zip(found.cluster.hosts, HOSTS, strict=True):
        assert host.pace == pytest.approx(true.pace, rel=0.1)
        assert host.overhead + 32 / host.pace == pytest.approx(true.overhead + 32 / true.pace, rel=0.05)
        assert host.noise == pytest.approx(true.noise, rel=0.25)
        for name in ("uplink", "downlink", "latency"):
            assert getattr(host, name) == pytest.approx(getattr(true, name), abs=1e-3), name
        assert (host.paces, host.stalls, host.joins, host.dies) == ((), (), 0.0, None)


@pytest.mark.parametrize("recorded", [Balanced(), Balanced(bound=0), Delayed(), Asynchronous(), Synchronous()], ids=str)
def test_what_is_predicted_from_a_record_is_what_happens(recorded: Policy) -> None:
    true = Cluster(HOSTS)
    kind, options = type(recorded), describe(recorded).options
    found = conditions(lines(true, recorded))
    assert throughput(found.cluster, kind(**options)) == pytest.approx(throughput(true, kind(**options)), rel=0.05)
    for other in (Synchronous, Delayed, Balanced):
        # Micro-batches of one size do not tell what a small one costs.
        most = 0.05 if found.remarks == () else 0.12
        assert throughput(found.cluster, other()) == pytest.approx(throughput(true, other()), rel=most), other


def test_paces_that_change_are_followed() -> None:
    hosts = rotating([Host(pace=pace, noise=0.1) for pace in (400, 100, 200)], every=12.0)
    true = Cluster(hosts)
    found = conditions(lines(true, Balanced()))
    until = found.seconds
    for host, expected in zip(found.cluster.hosts, hosts, strict=True):
        assert len(host.paces) == pytest.approx(until // 12, abs=2)
        for time in (at + 6.0 for at in range(0, int(until) - 12, 12)):
            assert host.pace_at(time) == pytest.approx(expected.pace_at(time), rel=0.12)
    assert throughput(found.cluster, Balanced()) == pytest.approx(throughput(true, Balanced()), rel=0.05)
    assert throughput(found.cluster, Synchronous()) == pytest.approx(throughput(true, Synchronous()), rel=0.08)


def test_who_comes_late_and_who_goes() -> None:
    true = Cluster((HOSTS[0], dataclasses.replace(HOSTS[1], joins=10.0), dataclasses.replace(HOSTS[2], dies=15.0)))
    found = conditions(lines(true, Balanced()))
    assert [host.joins for host in found.cluster.hosts] == [0.0, 10.0, 0.0]
    assert [host.dies for host in found.cluster.hosts] == [None, None, 15.0]
    assert found.cluster.at_start == 2


def test_a_hold_up_is_a_stall_and_no_pace() -> None:
    stalls = ((8.0, 3.0), (20.0, 2.0))
    true = Cluster((HOSTS[0], dataclasses.replace(HOSTS[1], stalls=stalls), HOSTS[2]))
    found = conditions(lines(true, Asynchronous()))
    host = found.cluster.hosts[1]
    assert host.duration(85, 0.0) == pytest.approx(HOSTS[1].duration(85, 0.0), rel=0.1)
    assert host.paces == ()
    assert [round(seconds) for _, seconds in host.stalls] == [3, 2]
    assert [at for at, _ in host.stalls] == pytest.approx([8.0, 20.0], abs=0.5)


def test_what_a_loader_takes_to_start_is_no_latency() -> None:
    head, *events = lines(Cluster(HOSTS[:2]), Asynchronous())
    assert isinstance(head, HeaderLine)
    begun = next(at for at, line in enumerate(events) if isinstance(line, EventLine) and "Grant" in repr(line.commands))
    late = [
        dataclasses.replace(line, t=line.t + 1.5) if at > begun and isinstance(line, EventLine) else line
        for at, line in enumerate(events)
    ]
    head = dataclasses.replace(head, header=msgspec.structs.replace(head.header, kind="run"))
    found = conditions([head, *late])
    assert all(host.latency < 0.01 for host in found.cluster.hosts)


def test_what_is_declined_and_refused_is_kept_up() -> None:
    true = Cluster((HOSTS[0], dataclasses.replace(HOSTS[1], declines=7, refused=5)))
    found = conditions(lines(true, Balanced()))
    assert (found.cluster.hosts[1].declines, found.cluster.hosts[1].refused) == (7, 5)


def test_one_size_does_not_tell_overhead_from_pace() -> None:
    found = conditions(lines(Cluster(HOSTS), Synchronous(), positions=256 * 20))
    assert any("about the same size" in remark for remark in found.remarks)
    assert found.cluster.hosts[0].overhead == 0.0
    assert 64 / found.cluster.hosts[0].pace == pytest.approx(HOSTS[0].duration(64, 0.0), rel=0.05)


def test_a_worker_that_computed_nothing_has_the_pace_of_its_probe() -> None:
    slow = Host(pace=2.0)
    found = conditions(lines(Cluster((HOSTS[0], HOSTS[1], slow)), Balanced()))
    assert found.cluster.hosts[2].pace == pytest.approx(2.0)
    assert any("worker 2" in remark and "probe" in remark for remark in found.remarks)


def test_a_record_that_breaks_off_is_read_up_to_there() -> None:
    whole = lines(Cluster(HOSTS), Balanced())
    found = conditions([*whole[:2000], BrokenLine(2001, "no JSON", truncated=False), *whole[2000:]])
    assert found.seconds < conditions(whole).seconds / 2
    assert any("line 2001" in remark for remark in found.remarks)


def test_a_record_in_which_nobody_computed_is_refused() -> None:
    with pytest.raises(RecordError, match="nobody computed"):
        conditions(lines(Cluster(HOSTS), Balanced())[:3])


def test_time_begins_with_the_first_epoch() -> None:
    shifted = [
        dataclasses.replace(line, t=line.t + 100.0) if isinstance(line, EventLine) else line
        for line in lines(Cluster((HOSTS[0], dataclasses.replace(HOSTS[1], joins=10.0))), Balanced())
    ]
    found = conditions(shifted)
    assert [host.joins for host in found.cluster.hosts] == [0.0, 10.0]


def test_nobody_comes_back_as_two_hosts_of_one_time(tmp_path: Path) -> None:
    recorded = lines(Cluster(HOSTS[:2]), Balanced())
    joins = [line for line in recorded if isinstance(line, EventLine) and "Joined" in type(line.event).__name__]
    middle = len(recorded) // 2
    at = recorded[middle].t
    again = EventLine(at, joins[1].event, [])
    found = conditions([*recorded[:middle], again, *recorded[middle:]])
    assert found.workers == (0, 1, 1)
    assert found.cluster.hosts[1].dies == found.cluster.hosts[2].joins == pytest.approx(at, abs=1e-6)


def test_a_simulated_record_says_itself_what_was_simulated(tmp_path: Path) -> None:
    true = Cluster(HOSTS, step_seconds=0.003)
    notes = {"cluster": msgspec.to_builtins(true)}
    folder = simulate(tmp_path / "r", true, dataclasses.replace(SETTINGS, epochs=1), Balanced(), 2000, notes=notes)
    assert cluster_of(folder).cluster != true, "it is a real run by its header"
    file = folder / "record.jsonl"
    file.write_text(file.read_text().replace('"kind":"run"', '"kind":"simulation"', 1))
    assert cluster_of(folder).cluster == true


def test_steps_are_those_of_the_server() -> None:
    found = conditions(lines(Cluster(HOSTS, step_seconds=0.2), Asynchronous()))
    assert found.cluster.step_seconds == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_record_is_no_crash(seed: int) -> None:
    chance = random.Random(seed)
    head, *rest = lines(Cluster(HOSTS), Balanced(), positions=2000)
    chosen = chance.sample(rest, k=chance.randrange(1, len(rest)))
    if chance.random() < 0.5:
        chosen.sort(key=lambda line: line.t if isinstance(line, EventLine) else 0.0)
    with contextlib.suppress(RecordError):
        assert conditions([head, *chosen]).cluster.hosts
