"""Whether a goal is met."""

import pytest

from benchmarks.goals import Goal, evaluate, judge
from benchmarks.results import Result, Session
from benchmarks.table import goals_table

AT = ("8-4-2-1", "small", 512)


def result(system, rate=None, repetition=0, **fields):
    return Result(*AT[:2], system, AT[2], repetition, samples_per_second=rate, **fields)


def limit(rate=100.0):
    return result("limit", rate, by_host=(0.8 * rate, 0.2 * rate))


def run(rate, repetition=0, slow=0.2, **fields):
    return result("balanced", rate, repetition, by_host=((1 - slow) * rate, slow * rate), **fields)


SHARE = Goal("share", AT, "balanced", 0.95, stale=0.15)


def test_the_median_of_the_repetitions_decides():
    block = [limit(), run(99.0), run(96.0, 1), run(80.0, 2), limit()]
    found = judge(SHARE, block)
    assert found.met
    assert (found.found.median, found.found.least, found.found.most) == pytest.approx((0.96, 0.8, 0.99))
    assert not judge(SHARE, [limit(), run(99.0), run(94.0, 1), run(80.0, 2), limit()]).met


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"stale_fraction": 0.16}, "16.0% were stale"),
        ({"problems": "position 7 counted twice"}, "position 7 counted twice"),
        ({"slow": 0.0}, "host 1 was left out"),
        ({"ended_early": "host 1 ended"}, "1 of 1 runs failed"),
    ],
)
def test_a_figure_that_was_got_by_other_means_does_not_count(fields, why):
    found = judge(SHARE, [limit(), run(99.0, **fields), limit()])
    assert found.met is False
    assert why in found.why


def test_as_stale_as_allowed_is_allowed():
    assert judge(SHARE, [limit(), run(99.0, stale_fraction=0.15), limit()]).met


def test_the_slowest_host_counts_as_much_as_the_others():
    goal = Goal("hosts", AT, "balanced", 0.90, "host")
    found = judge(goal, [limit(), run(98.0, slow=0.17), limit()])
    assert found.found.median == pytest.approx(98 * 0.17 / 20)
    assert found.met is False


def test_pairs_are_of_the_same_repetition():
    goal = Goal("pairs", AT, "balanced", 1.5, "pair", ("ddp",))
    block = [run(30.0), result("ddp", 10.0), result("ddp", 20.0, 1), run(40.0, 1), run(50.0, 2)]
    found = judge(goal, block)
    assert found.count == 2
    assert (found.found.least, found.found.most) == (2.0, 3.0)


def test_the_best_of_the_peers_is_the_one_to_beat():
    goal = Goal("peers", AT, "balanced", 2.5, "best", ("ddp", "hivemind", "torchft-diloco"))
    block = [run(30.0), result("ddp", 10.0), result("hivemind", 15.0), result("torchft-diloco", failed="no such wheel")]
    found = judge(goal, block)
    assert found.found.median == 2.0
    assert found.met is False
    assert "the best: hivemind" in found.why
    assert "failed: torchft-diloco" in found.why


def test_without_trying_all_peers_it_is_not_said_who_is_best():
    goal = Goal("peers", AT, "balanced", 2.5, "best", ("ddp", "hivemind"))
    found = judge(goal, [run(30.0), result("ddp", 10.0)])
    assert found.met is None
    assert "not tried: hivemind" in found.why


def test_a_system_that_failed_has_not_met_its_goal():
    assert judge(SHARE, [limit(), result("balanced", failed="no"), limit()]).met is False


def test_goals_of_which_nothing_was_measured_are_not_in_the_table():
    session = Session("some", {}, results=[limit(), run(96.0), limit()])
    other = Goal("other", ("straggler", "small", 512), "balanced", 1.0)
    found = evaluate(session, (SHARE, other))
    assert [one.measure for one in found] == ["share"]
    lines = goals_table(found)
    assert "| share | ≥ 0.95 | 0.960 | 1 |  | yes |  |" in lines
    assert lines[-1] == "1 of 1 goals met."
