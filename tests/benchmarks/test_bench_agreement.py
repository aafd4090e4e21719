"""Predictions beside measurements: the plan, the table, and a prediction of something that was simulated."""

import dataclasses
import json

import msgspec
import pytest

from benchmarks.agreement import report
from benchmarks.agreement.__main__ import main
from benchmarks.agreement.measure import Run, save
from benchmarks.agreement.plan import CASES, DEATH, LINKED, POLICIES, ROTATING, Case, chosen
from benchmarks.agreement.predict import Window, from_profiles, simulated, window_of
from benchmarks.agreement.report import Row, same_order, write
from benchmarks.cluster import SERVER
from benchmarks.results import Spread
from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.profile import Machine, Profile, Transfers
from tests.trace.simulated_records import simulate

FACTS = {"created": "then", "machine": {"cores": 2}, "workload": "small", "repetitions": 1, "factor": 1.0}


def profile(pace, step=0.001):
    transfers = Transfers(800_000, 800_000, push=2.0 / pace, pull=1.0 / pace, message=0.0005, cpu=0.001)
    durations = {size: [0.002 + size / pace] * 3 for size in (8, 16, 32, 64, 128)}
    return Profile(Machine("x", "cpu", "2", 1), "", 512, 200_000, durations, (), transfers, step)


PROFILES = [profile(pace) for pace in (3000.0, 1500.0, 800.0, 400.0, 6000.0)]


# The plan ---------------------------------------------------------------------------------------------------


def test_policies_take_turns_and_every_other_repetition_runs_backwards():
    turns = [(repetition, system.name) for repetition, system in CASES[0].order(2)]
    assert turns == [*((0, name) for name in POLICIES), *((1, name) for name in POLICIES[::-1])]


def test_the_estimate_grows_with_what_is_measured():
    case = CASES[0]
    once, thrice = case.estimate(1, 1.0), case.estimate(3, 1.0)
    assert case.estimate(1, 2.0) - once == pytest.approx(3 * case.seconds)
    assert thrice > 2 * once


def test_cases_are_chosen_by_name():
    assert chosen([]) == CASES
    assert [case.cluster.name for case in chosen(["rotating", "equal"])] == ["equal", "rotating"]
    with pytest.raises(ValueError, match=r"no cluster 'equals' here\. Choose from: .*equal,"):
        chosen(["equals"])


# The table --------------------------------------------------------------------------------------------------


def row(policy, measured, by_profile, by_record=None, **more):
    spread = None if measured is None else Spread(measured, measured - 1, measured + 1)
    return Row("equal", policy, 1, spread, by_profile, by_record, {}, **more)


def test_errors_are_parts_of_what_was_measured():
    one = row("balanced", 200.0, 190.0)
    assert one.error(190.0) == pytest.approx(-0.05)
    assert one.error(None) is None
    assert row("balanced", None, 190.0).error(190.0) is None


def test_ties_have_no_order():
    measured = {"a": 100.0, "b": 96.0, "c": 50.0}
    assert same_order(measured, {"a": 90.0, "b": 95.0, "c": 60.0})
    assert not same_order(measured, {"a": 90.0, "b": 95.0, "c": 93.0})
    assert not same_order({"a": 100.0, "b": 94.0}, {"a": 90.0, "b": 95.0})
    assert not same_order({"a": 100.0, "b": 94.0}, {"a": 90.0, "b": 90.0})


def test_the_page_says_what_is_near_and_what_is_not(tmp_path):
    made = [
        row("balanced", 200.0, 206.0, 150.0),
        row("synchronous", 100.0, 120.0, 160.0),
        row("asynchronous", None, 300.0, problems=("it did not begin",)),
    ]
    page = write(tmp_path / "new", [chosen(["equal"])[0]], made, FACTS)
    assert "| equal | balanced | 200 (199–201) | 206 | **+3.0%** | 150 | -25.0% |" in page
    assert "| equal | asynchronous | failed | 300 |  |  |  |" in page
    assert "| equal | balanced, synchronous | the same | **synchronous, balanced** |" in page
    assert "By profile: 1 of 2 within 5%; the largest error is 20%." in page
    assert "By record: 0 of 2 within 5%; the largest error is 60%." in page
    assert "- equal, asynchronous: it did not begin" in page
    assert (tmp_path / "new" / "README.md").read_text() == page
    rows = json.loads((tmp_path / "new" / "agreement.json").read_text())["rows"]
    assert rows[0]["errors"] == {"profile": pytest.approx(0.03), "record": pytest.approx(-0.25)}


# Predictions ------------------------------------------------------------------------------------------------


def test_what_is_known_beforehand_is_simulated():
    window = Window(2.0, 12.0)
    turning = from_profiles(Case(ROTATING), PROFILES, window, None)
    # Each speed moves on to the next host, the last to the first.
    assert [round(host.pace_at(5.1)) for host in turning.hosts] == [400, 3000, 1500, 800]
    assert [round(host.pace_at(4.9)) for host in turning.hosts] == [3000, 1500, 800, 400]
    assert turning.parameters == 0
    assert turning.step_seconds == 0.001
    linked = from_profiles(Case(LINKED), PROFILES, window, None)
    assert (linked.hosts[0].link.up, linked.server.up, linked.parameters) == (1e8, 1e9, 800_000)
    dying = from_profiles(Case(DEATH), PROFILES, window, joined=8.5)
    assert [host.dies for host in dying.hosts] == [None, pytest.approx(5.0), None, None, None]
    assert dying.hosts[4] == dataclasses.replace(dying.hosts[1], dies=None, joins=8.5)


def test_only_the_window_counts():
    cluster = Cluster((Host(400.0, overhead=0.0), Host(100.0, overhead=0.0, dies=3.0)))
    both = simulated(cluster, "asynchronous", 64, Window(1.0, 1.5))
    alone = simulated(cluster, "asynchronous", 64, Window(5.0, 5.0))
    assert both == (pytest.approx(400.0, rel=0.1), pytest.approx(100.0, rel=0.35))
    assert alone == (pytest.approx(400.0, rel=0.05), 0.0)


def test_a_measurement_that_was_simulated_is_predicted(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.agreement.predict.SEEDS", 1)
    case = dataclasses.replace(chosen(["8-4-2-1"])[0], seconds=2.0)
    window = window_of(case, 1.0)
    true = from_profiles(case, PROFILES, window, None)
    for host, one in zip((0, 1, 2, 3, SERVER), PROFILES, strict=True):
        folder = tmp_path / "profile" / f"profile-{host}"
        folder.mkdir(parents=True)
        (folder / "profile.json").write_bytes(msgspec.json.encode(one))
    simulate(tmp_path / "balanced-0", true, Settings(case.batch, 1, workers=4), Balanced(), positions=20_000)
    runs = [Run("balanced", 1, "gone", failed="it did not begin")]
    for policy in POLICIES:
        by_host = simulated(true, policy, case.batch, window)
        run = Run(policy, 0, "balanced-0", sum(by_host), by_host, record_s=window.start, seconds=window.seconds)
        runs.append(run)
    save(tmp_path, runs)
    made = report.rows(case, tmp_path, 1.0)
    assert [one.policy for one in made] == list(POLICIES)
    assert made[0].problems == ("it did not begin",)
    for one in made:
        assert one.error(one.by_profile) == pytest.approx(0.0, abs=1e-3)
        assert one.error(one.by_record) == pytest.approx(0.0, abs=0.15)


# The command ------------------------------------------------------------------------------------------------


def test_what_cannot_be_is_said_in_words(tmp_path, capsys):
    assert main(["--only", "equals", "--estimate"]) == 2
    assert "error: there is no cluster 'equals' here" in capsys.readouterr().err
    assert main(["--predict", str(tmp_path)]) == 2
    assert "nothing was measured into" in capsys.readouterr().err


def test_the_estimate_measures_nothing(capsys):
    assert main(["--only", "equal", "--repetitions", "2", "--estimate"]) == 0
    assert "6 runs: about 2 minutes." in capsys.readouterr().out
