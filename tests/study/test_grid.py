import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from study import grid
from study.grid import BASE, FASHION, GRADED, HAR, POLICIES, ROTATING, SEEDS, TUNING_SEED, UNIFORM_BUT_ONE, Run

ROOT = Path(__file__).parents[2]
RUN = Run(HAR, GRADED, "balanced 10%", 0.1, 0)


def trials_of_everything(rate: float) -> dict[str, float]:
    """Scores under which every policy is best at ``rate``; asked again, as plans grow with scores."""
    scores: dict[str, float] = {}
    for _ in range(3):
        scores |= {run.key: float(run.rate == rate) for run in grid.planned(scores) if run.seed == TUNING_SEED}
    return scores


def test_a_key_is_the_same_in_another_process():
    code = "from study.grid import *; print(Run(HAR, GRADED, 'balanced 10%', 0.1, 0).key)"
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == RUN.key


@pytest.mark.parametrize(
    "change",
    [
        {"cluster": UNIFORM_BUT_ONE},
        {"policy": "balanced 25%"},
        {"policy": "balanced 10% look-ahead"},
        {"rate": 0.3},
        {"seed": 1},
        {"place": "real"},
        {"problem": dataclasses.replace(HAR, norm="group")},
        {"problem": dataclasses.replace(HAR, batch=128)},
    ],
)
def test_whatever_the_result_depends_on_is_in_the_key(change):
    assert dataclasses.replace(RUN, **change).key != RUN.key


@pytest.mark.parametrize("change", [{"tier": 4}, {"quick": True}])
def test_when_a_run_is_wanted_is_not_in_the_key(change):
    assert dataclasses.replace(RUN, **change).key == RUN.key


def test_targets_do_not_change_a_run():
    assert dataclasses.replace(RUN, problem=dataclasses.replace(HAR, targets=(0.1, 0.2))).key == RUN.key


def test_no_run_is_planned_twice():
    keys = [run.key for run in grid.planned(trials_of_everything(0.1))]
    assert len(keys) == len(set(keys))


def test_until_rates_are_tried_there_are_trials_alone():
    assert {run.seed for run in grid.planned({})} == {TUNING_SEED}


def test_every_policy_has_the_same_trials_or_those_of_its_relative():
    runs = grid.planned({})
    own = set(POLICIES) - {"balanced 5%", "balanced 10% look-ahead", "balanced 25% look-ahead"}
    assert {run.policy for run in runs} == own
    for problem in (HAR, FASHION):
        for cluster in (GRADED, UNIFORM_BUT_ONE):
            for policy in own - {BASE}:
                tried = [
                    run.rate for run in runs if (run.problem, run.cluster, run.policy) == (problem, cluster, policy)
                ]
                assert sorted(tried) == sorted(problem.rates)
        tried = [run.rate for run in runs if (run.problem, run.policy) == (problem, BASE)]
        assert sorted(tried) == sorted(problem.rates)  # its trials on one cluster are good for both


def test_the_transferred_rate_is_the_best_of_synchronous():
    scores = {run.key: run.rate if run.rate < 0.3 else 0.0 for run in grid.tuning(HAR, GRADED, BASE)}
    core = [run for run in grid.planned(scores) if run.problem == HAR and run.seed in SEEDS]
    assert {run.rate for run in core} == {0.1}
    wanted = {(cluster, policy, seed) for cluster in (GRADED, UNIFORM_BUT_ONE) for policy in POLICIES for seed in SEEDS}
    assert wanted <= {(run.cluster, run.policy, run.seed) for run in core}


def test_of_equal_rates_the_smallest_is_chosen():
    scores = {run.key: 0.5 for run in grid.tuning(HAR, GRADED, BASE)}
    assert grid.chosen(HAR, GRADED, BASE, scores) == min(HAR.rates)


def test_a_rate_is_chosen_when_all_trials_are_in_and_not_before():
    scores = {run.key: 0.5 for run in grid.tuning(HAR, GRADED, BASE)}
    scores.popitem()
    assert grid.chosen(HAR, GRADED, BASE, scores) is None


def test_where_a_policys_own_rate_is_the_transferred_one_nothing_is_run_again():
    runs = grid.planned(trials_of_everything(0.1))
    later = [run for run in runs if run.tier == 4 and run.seed in SEEDS]
    assert later == []


def test_the_most_important_comes_first():
    runs = grid.planned(trials_of_everything(0.1))
    assert [run.tier for run in runs] == sorted(run.tier for run in runs)
    first = [run for run in runs if run.tier == 1]
    assert {(run.problem.data, run.seed) for run in first} == {("har", 0)}
    assert {run.cluster for run in first} == {GRADED, UNIFORM_BUT_ONE}
    assert {run.policy for run in first} == set(POLICIES)


def test_the_quick_part_compares_all_policies_on_both_data_sets_and_clusters():
    runs = [run for run in grid.planned(trials_of_everything(0.1)) if run.quick]
    compared = {(run.problem, run.cluster, run.policy) for run in runs if run.seed == 0}
    assert len(compared) == 2 * 2 * len(POLICIES)
    assert len(runs) == len(compared) + len(HAR.rates) + len(FASHION.rates)


def test_all_runs_of_a_problem_train_on_the_same_samples():
    runs = grid.planned(trials_of_everything(0.1))
    for problem in {run.problem for run in runs}:
        sizes = {
            tuple(
                run.arguments()[run.arguments().index(name) + 1]
                for name in ("--batch", "--pieces", "--steps", "--keep")
            )
            for run in runs
            if run.problem == problem
        }
        assert len(sizes) == 1
        assert problem.pieces >= 20


def test_rotating_speeds_are_the_same_ones_at_any_time():
    hosts = dataclasses.replace(RUN, cluster=ROTATING).emulated().hosts
    for time in (0.0, 15.0, 27.0, 1000.0):
        assert sorted(host.pace_at(time) for host in hosts) == [50, 100, 200, 500]
    assert hosts[0].pace_at(0.0) != hosts[0].pace_at(15.0)
