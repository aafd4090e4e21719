"""What is measured, in which order, and what a cluster may be."""

import doctest
import importlib
import itertools
from dataclasses import replace

import pytest

from benchmarks.clusters import CLUSTERS, MOST_CORES, Cluster, Happening, Link, find, rotation, stalls
from benchmarks.goals import GOALS
from benchmarks.plan import PLANS, block, estimate, parts, shorten
from benchmarks.systems import LIMIT, SYSTEMS


@pytest.mark.parametrize(
    "module",
    ["clusters", "places", "plan", "progress", "results", "switch", "runners.job", "systems", "table"],
)
def test_examples_in_docstrings(module):
    assert doctest.testmod(importlib.import_module(f"benchmarks.{module}")).failed == 0


def test_the_limit_is_measured_before_and_after_everything_else():
    for plan in PLANS.values():
        for one in plan:
            order = [system for _, system in one.order()]
            if one.limit_every:
                assert order[0] is LIMIT
                assert order[-1] is LIMIT
            else:
                assert LIMIT not in order


def test_the_limit_may_be_measured_more_rarely_than_the_systems():
    one = block("8-4-2-1", "small", ["balanced"], repetitions=5, seconds=1, limit_every=2)
    names = [system.name for _, system in one.order()]
    assert names == ["limit", "balanced", "balanced", "limit", "balanced", "balanced", "limit", "balanced", "limit"]


def test_without_a_limit_there_is_no_oracle():
    with pytest.raises(ValueError, match="oracle"):
        block("8-4-2-1", "small", ["ddp-oracle"], 1, 1, limit_every=0)


@pytest.mark.parametrize("goal", GOALS, ids=lambda goal: f"{goal.at[0]}-{goal.system}-{goal.how}")
def test_the_full_plan_measures_every_goal(goal):
    blocks = [one for one in PLANS["full"] if (one.cluster.name, one.workload, one.batch) == goal.at]
    measured = {system.name for one in blocks for system in one.systems}
    assert {goal.system, *goal.against} <= measured
    if goal.how in ("limit", "host"):
        assert all(one.limit_every for one in blocks)
    if goal.how == "pair":  # both in one block: only then a repetition is a pair
        assert any({goal.system, *goal.against} <= {system.name for system in one.systems} for one in blocks)


def test_what_rotates_or_stalls_is_measured_for_forty_seconds():
    for one in PLANS["full"]:
        if one.cluster.changes:
            assert {one.window(system) for system in (*one.systems, LIMIT)} == {40.0}


def test_adding_a_host_is_measured_in_seven_pairs():
    [one] = [one for one in PLANS["full"] if one.cluster.name == "fifth"]
    assert one.repetitions >= 7
    shares = one.cluster.shares
    assert shares[-1] == pytest.approx(min(shares[:-1]) / 10, rel=1e-3)
    assert [system.leaves_out for system in one.systems] == [0, 1]


def test_every_system_is_measured_as_often_as_asked():
    one = block("8-4-2-1", "small", ["balanced", "ddp", "ddp-oracle"], repetitions=3, seconds=1)
    names = [system.name for _, system in one.order()]
    assert [names.count(name) for name in ("balanced", "ddp", "ddp-oracle", "limit")] == [3, 3, 3, 4]


def test_with_many_systems_the_limit_is_measured_between_them_too():
    one = block("8-4-2-1", "small", [system.name for system in SYSTEMS if system is not LIMIT], 1, 1)
    names = [system.name for _, system in one.order()]
    gaps = [i for i, name in enumerate(names) if name == "limit"]
    assert len(gaps) == 3
    assert max(b - a for a, b in itertools.pairwise(gaps)) <= len(SYSTEMS) // 2 + 1


def test_repetitions_turn_the_order_round():
    one = block("8-4-2-1", "small", ["balanced", "ddp"], 2, 1)
    assert [s.name for _, s in one.order()] == ["limit", "balanced", "ddp", "limit", "ddp", "balanced", "limit"]


def test_plans_take_no_longer_than_promised():
    assert estimate(PLANS["full"]) < 40 * 60
    assert estimate(PLANS["quick"]) < 3 * 60


def test_shorter_windows_take_less_time():
    assert estimate(shorten(PLANS["quick"], 0.5)) < estimate(PLANS["quick"])


def test_names_of_clusters_and_systems_are_unique():
    for named in (CLUSTERS, SYSTEMS):
        assert len({one.name for one in named}) == len(named)


def test_an_unknown_name_is_refused_with_those_that_are_valid():
    with pytest.raises(ValueError, match=r"no cluster 'moon'.*8-4-2-1"):
        find("moon")
    with pytest.raises(ValueError, match=r"no system 'horovod'.*balanced"):
        block("8-4-2-1", "small", ["horovod"], 1, 1)
    with pytest.raises(ValueError, match=r"no workload 'huge'.*small"):
        block("8-4-2-1", "huge", ["ddp"], 1, 1)


def test_shares_leave_room_for_the_server():
    assert all(sum(cluster.shares) <= MOST_CORES + 1e-9 for cluster in CLUSTERS)
    with pytest.raises(ValueError, match="at most"):
        Cluster("greedy", "", (1.0, 0.9))


@pytest.mark.parametrize("link", [{"rate_mbit": -1}, {"delay_ms": -1}, {"loss": 1.0}])
def test_impossible_links_are_refused(link):
    with pytest.raises(ValueError, match="must not be negative"):
        Link(**link)


def test_nothing_happens_to_a_host_that_there_is_not():
    with pytest.raises(ValueError, match="there is not"):
        Cluster("odd", "", (0.1,), happenings=(Happening(0.5, 1, "kill"),))


def test_every_host_stands_still_for_a_tenth_of_the_time():
    window = 40.0
    for host in range(4):
        own = [one for one in stalls(4, seed=1, window=window) if one.host == host]
        assert [one.what for one in own] == ["stall", "resume"] * (len(own) // 2)
        lengths = [window * (after.at - before.at) for before, after in zip(own[::2], own[1::2], strict=True)]
        assert sum(lengths) == pytest.approx(0.1 * window)
        assert all(0.5 <= length <= 1.5 for length in lengths)
        assert [one.at for one in own] == sorted(one.at for one in own)


def test_stalls_follow_from_their_seed():
    assert stalls(4, seed=1) == stalls(4, seed=1)
    assert stalls(4, seed=1) != stalls(4, seed=2)


def test_the_servers_host_may_have_a_link_of_its_own():
    fast, slow = Link(rate_mbit=1000), Link(rate_mbit=100)
    assert Cluster("two", "", (0.1, 0.1), slow, server=fast).links == (slow, slow, fast)
    assert Cluster("two", "", (0.1, 0.1), slow).links == (slow, slow, slow)


def test_each_host_may_have_a_link_of_its_own():
    fast, slow = Link(rate_mbit=1000), Link(rate_mbit=100)
    assert Cluster("two", "", (0.1, 0.1), each=(slow, fast), server=fast).links == (slow, fast, fast)
    with pytest.raises(ValueError, match="each host has one link"):
        Cluster("two", "", (0.1, 0.1), each=(slow,))


def test_keys_are_the_clusters_choice_unless_somebody_says_otherwise_and_only_evener_has_any():
    eight = block("eight", "small", ["balanced", "ddp"], 1, 1)
    assert [eight.keyed(system) for system in eight.systems] == [True, False]
    assert not any(map(replace(eight, keys=False).keyed, eight.systems))
    assert replace(block("equal", "small", ["balanced"], 1, 1), keys=True).keyed(eight.systems[0])


def test_hosts_with_several_processes_are_for_systems_that_know_them():
    with pytest.raises(ValueError, match=r"several processes.*PyTorch DDP"):
        block("groups", "small", ["balanced", "ddp"], 1, 1)


def test_rotation_leaves_the_sum_of_speeds_as_it_is():
    shares = (0.8, 0.4, 0.2, 0.1)
    turns = rotation(shares)
    for at in {one.at for one in turns}:
        assert sorted(one.share for one in turns if one.at == at) == sorted(shares)


@pytest.mark.parametrize("rates", [[1.0], [8, 4, 2, 1], [1, 1, 1, 0.001], [0.1] * 7])
@pytest.mark.parametrize("batch", [8, 64, 511])
def test_parts_make_up_the_batch(batch, rates):
    divided = parts(batch, rates)
    assert sum(divided) == batch
    assert min(divided) >= 1
    assert all(a >= b for a, b, fast, slow in zip(divided, divided[1:], rates, rates[1:], strict=False) if fast > slow)


def test_a_batch_smaller_than_the_cluster_is_refused():
    with pytest.raises(ValueError, match="batch of 3"):
        parts(3, [1, 1, 1, 1])
