"""Links: how long transfers take, alone and together."""

from __future__ import annotations

import dataclasses
import math

import pytest

from evener.core import events as e
from evener.core.policies import POLICIES, Asynchronous, Balanced, Synchronous
from evener.core.state import Settings
from evener.simulation.clock import Clock
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Outcome, Simulation
from evener.simulation.links import Lane, Link, Shared, goodput
from evener.simulation.pauses import Pauses

MB = 1_000_000


def ends(clock: Clock, *lanes: Lane) -> list[float]:
    """When a transfer on each ends, all begun now."""
    found = [math.nan] * len(lanes)

    def note(at: int) -> None:
        found[at] = clock.now

    for at, lane in enumerate(lanes):
        lane.send(lambda at=at: note(at))  # type: ignore[misc]
    while clock.next is not None:
        clock.advance()
    return found


def test_transfers_of_one_host_go_one_after_the_other() -> None:
    clock = Clock()
    lane = Lane(8e6, 8e6, clock, None, 0)
    assert ends(clock, lane, lane, lane) == [1.0, 2.0, 3.0]


def test_transfers_share_the_servers_link() -> None:
    clock = Clock()
    shared = Shared(8e6, clock)
    assert ends(clock, *(Lane(8e6, math.inf, clock, shared, who) for who in range(4))) == pytest.approx([4.0] * 4)


def test_what_one_cannot_use_is_the_others() -> None:
    clock = Clock()
    shared = Shared(10e6, clock)
    slow, fast = Lane(8e6, 2e6, clock, shared, 0), Lane(8e6, math.inf, clock, shared, 1)
    assert ends(clock, slow, fast) == pytest.approx([4.0, 1.0])


def test_who_begins_later_shares_from_then_on() -> None:
    clock = Clock()
    shared = Shared(8e6, clock)
    done: list[float] = []
    for who, at in ((0, 0.0), (1, 0.5)):
        lane = Lane(8e6, math.inf, clock, shared, who)
        clock.at(at, lane.send, lambda: done.append(clock.now))
    while clock.next is not None:
        clock.advance()
    # Half a second alone, a second of half the rate each; then the rest of the other's, alone.
    assert done == pytest.approx([1.5, 2.0])


@pytest.mark.parametrize("shared", [False, True])
def test_a_cut_holds_up_what_is_under_way(shared: bool) -> None:
    clock = Clock()
    lane = Lane(8e6, 8e6, clock, Shared(1e9, clock) if shared else None, 0, Pauses(((0.25, 3.0),)))
    assert ends(clock, lane) == pytest.approx([4.0])


def test_who_dies_gives_its_part_back() -> None:
    clock = Clock()
    shared = Shared(8e6, clock)
    gone, stays = (Lane(8e6, math.inf, clock, shared, who) for who in range(2))
    clock.at(1.0, gone.close)
    first, other = ends(clock, gone, stays)
    assert math.isnan(first)
    assert other == pytest.approx(1.5)


def test_loss_makes_a_long_way_slow() -> None:
    assert goodput(1e8, 0.05, 0.0) == 1e8
    assert goodput(1e8, 0.05, 0.01) == pytest.approx(1460 * 8 / 0.1 * math.sqrt(150))
    assert goodput(None, 0.0, 0.5) == math.inf


# In a run ---------------------------------------------------------------------------------------------------


def run(cluster: Cluster, policy: str = "synchronous", batches: int = 20) -> Outcome:
    settings = Settings(64, 1, workers=len(cluster.hosts))
    return Simulation(cluster, settings, POLICIES[policy](), positions=64 * batches).run()


PLAIN = Host(1000.0, overhead=0.0, uplink=0.0, downlink=0.0, latency=0.0)


def test_a_synchronous_step_takes_its_transfers() -> None:
    """Two hosts with 32 samples each: 32 ms, and 0.8 MB there and back at 64 Mbit/s: 200 ms; two delays each way."""
    host = dataclasses.replace(PLAIN, link=Link(up=64e6, down=64e6, delay=0.01))
    seconds = run(Cluster((host, host), step_seconds=0.0, parameters=800_000)).seconds
    assert seconds == pytest.approx(20 * (0.032 + 2 * (0.1 + 0.01)) - 0.11 + 20 * 0.01, rel=0.05)


def test_the_servers_link_bounds_all_together() -> None:
    wide = Cluster((PLAIN,) * 8, parameters=MB, server=Link(up=1e9, down=1e9))
    narrow = dataclasses.replace(wide, server=Link(up=64e6, down=64e6))
    # Eight pushes of 1 MB through 8 MB/s take a second, and so do eight sets of parameters.
    assert run(narrow).seconds == pytest.approx(20 * 2.0, rel=0.06)
    assert run(wide).seconds < 0.1 * run(narrow).seconds


@pytest.mark.parametrize("policy", list(POLICIES))
def test_every_sample_counts_once_over_bad_links(policy: str) -> None:
    bad = Link(up=8e6, down=16e6, delay=0.02, loss=0.02)
    hosts = (
        dataclasses.replace(PLAIN, link=bad, cuts=((1.0, 2.0),)),
        dataclasses.replace(PLAIN, link=bad, dies=2.0),
        PLAIN,
    )
    for server in (None, Link(up=10e6, down=10e6, delay=0.001)):
        outcome = run(Cluster(hosts, parameters=100_000, server=server), policy)
        assert outcome.applied == 20 * 64


def test_messages_of_one_worker_stay_in_order() -> None:
    host = dataclasses.replace(PLAIN, link=Link(loss=0.3, delay=0.01), cuts=((0.5, 0.5),))
    simulation = Simulation(Cluster((host,), parameters=1000), Settings(8, 1), Asynchronous(), positions=400)
    begun: list[int] = []
    for _, event, _ in simulation.run().log:
        if isinstance(event, e.Started):
            begun.append(event.ticket)
        if isinstance(event, e.Computed):
            assert event.ticket in begun
    assert begun == sorted(begun)


def test_nothing_is_heard_while_the_link_is_cut() -> None:
    hosts = (dataclasses.replace(PLAIN, cuts=((0.1, 5.0),)), PLAIN)
    simulation = Simulation(Cluster(hosts), Settings(64, 1, workers=2), Balanced(), positions=64 * 200)
    heard = [
        time
        for time, event, _ in simulation.run().log
        if getattr(event, "worker", 1) == 0 and not isinstance(event, e.Joined)
    ]
    assert not [time for time in heard if 0.1 < time < 5.1]
    assert [time for time in heard if time >= 5.1]


def test_contributions_take_the_server_time() -> None:
    hosts = (dataclasses.replace(PLAIN, pace=1e6),) * 8
    free = run(Cluster(hosts, step_seconds=0.0))
    busy = run(Cluster(hosts, step_seconds=0.0, contribution_seconds=0.05))
    assert free.seconds < 0.5
    assert busy.seconds == pytest.approx(20 * 8 * 0.05, rel=0.05)


def test_a_rate_needs_a_size() -> None:
    with pytest.raises(ValueError, match=r"how large a transfer is: parameters ="):
        Cluster((dataclasses.replace(PLAIN, link=Link(up=1e6)),))


@pytest.mark.parametrize("values", [{"up": 0.0}, {"down": -1.0}, {"delay": -1.0}, {"loss": 1.0}, {"up": math.inf}])
def test_what_no_link_can_be(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a link's"):
        Link(**values)


def test_synchronous_training_waits_for_the_slow_link() -> None:
    slow = dataclasses.replace(PLAIN, link=Link(up=8e6, down=8e6))
    both = Simulation(Cluster((slow, PLAIN), parameters=MB), Settings(64, 1, workers=2), Synchronous(), 640).run()
    assert both.seconds > 10 * 1.0


@pytest.mark.parametrize("seed", range(3))
def test_links_that_take_half_a_step_do_not_choke_on_small_pushes(seed: int) -> None:
    # The quickest runs out of tickets for a moment now and then. If it pushed each time, its link would never catch up.
    link = Link(up=100e6, down=100e6, delay=0.005)
    machines = ((3000, 0.001, 0.18), (1500, 0.0025, 0.23), (750, 0.0055, 0.28), (375, 0.015, 0.30))
    hosts = tuple(Host(pace, overhead, noise, link=link) for pace, overhead, noise in machines)
    cluster = Cluster(hosts, seed=seed, parameters=800_000, server=Link(up=1e9, down=1e9))
    policy = Balanced(bound="auto", stale_fraction=1.0)
    outcome = Simulation(cluster, Settings(batch=1024, epochs=1, workers=4), policy, 1024 * 200).run()
    assert outcome.samples_per_second > 0.8 * sum(pace for pace, _, _ in machines)
