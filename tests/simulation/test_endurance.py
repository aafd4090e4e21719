"""Workers come and go by the hundred: what the coordinator keeps does not grow. ``make weeks`` goes on for an hour."""

from __future__ import annotations

import pytest

from evener.core import events as e
from evener.core.policies import POLICIES
from evener.core.state import Settings
from evener.core.watch import REMEMBERED, Contribution, Watch
from evener.simulation.drive import Simulation
from evener.testing import endurance
from evener.testing.endurance import GROWTH, endure, team

DAYS, LIVES = 0.06, 0.0005


@pytest.mark.parametrize("name", POLICIES)
def test_the_coordinator_keeps_no_more_after_hundreds_of_deaths(name: str) -> None:
    found = endure(team(DAYS, LIVES, pace=8.0), POLICIES[name](), DAYS)
    assert found.deaths > 300
    assert found.joins >= found.deaths
    assert found.growth < GROWTH, str(found)


def test_what_grows_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    forgets, kept = Watch.left, []

    def remembers(self: Watch, worker: int) -> None:
        forgets(self, worker)
        kept.append(bytes(1000))
        self.kept = kept  # type: ignore[attr-defined]

    monkeypatch.setattr(Watch, "left", remembers)
    monkeypatch.setattr(endurance, "DAY", 864.0)
    assert endurance.main(["--days", "3", "--lives", "0.03", "--policy", "asynchronous"]) == 1
    assert "GROWS" in capsys.readouterr().out


def test_a_run_that_is_too_short_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert endurance.main(["--days", "0.001", "--lives", "0.0005", "--policy", "asynchronous"]) == 1
    assert "inf" in capsys.readouterr().out


def test_all_of_them_come_and_go() -> None:
    cluster = team(DAYS, LIVES, pace=8.0, seed=3)
    assert cluster == team(DAYS, LIVES, pace=8.0, seed=3)
    assert cluster.hosts[0].dies is None
    run = Simulation(cluster, Settings(64, 2, workers=1), POLICIES["asynchronous"](), 64 * 20).run()
    assert any(isinstance(event, e.Left) for _, event, _ in run.log)


def test_the_watch_forgets_those_who_left_long_ago_and_their_last_contributions() -> None:
    watch = Watch(batch=64, collects=False)
    for worker in range(1000):
        watch.accepted(worker, Contribution(worker, worker, 64, 0, norm=1.0, loss=1.0))
        watch.refused(worker, 1, "not finite")
        watch.left(worker)
        watch.stepped(worker)
    assert len(watch._workers) <= REMEMBERED + 1
    assert len(watch._told) <= REMEMBERED + 1
