"""The summary against what the simulated cluster really did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from simulated_records import simulate

from evener.core import events as e
from evener.core.policies import Asynchronous, Balanced, Policy, Synchronous
from evener.core.state import Settings
from evener.observe import demo, speedup, summarise
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.trace import EventLine, Limit, Rates, RecordError, read

SETTINGS = Settings(batch=256, epochs=4, workers=4)
HOSTS = (Host(pace=2400), Host(pace=1200), Host(pace=600), Host(pace=300))
RATES = [{8: 2000.0, 64: 2400.0}, {64: 1200.0}, {8: 600.0, 16: 500.0}, {8: 300.0}]
LIMIT = Limit([Rates(worker, sizes) for worker, sizes in enumerate(RATES)])


def _run(folder: Path, policy: Policy, hosts: tuple[Host, ...] = HOSTS, end: bool = True) -> Path:
    cluster = Cluster(hosts, seed=3)
    return simulate(folder, cluster, SETTINGS, policy, 3001, {"speeds": [8, 4, 2, 1]}, target=0.8, end=end)


@pytest.mark.parametrize("policy", [Synchronous, Asynchronous, Balanced])
def test_it_is_what_the_simulation_counted(tmp_path: Path, policy: type[Policy]) -> None:
    outcome = Simulation(Cluster(HOSTS, seed=3), SETTINGS, policy(), 3001).run()
    run = summarise(_run(tmp_path / "run", policy()), LIMIT)
    assert run.policy == policy.name
    assert run.total_s == pytest.approx(outcome.seconds, abs=1e-3)
    assert run.samples_per_second == pytest.approx(outcome.samples_per_second, rel=1e-3)
    assert run.utilisation == pytest.approx(outcome.samples_per_second / 4500.0, rel=1e-3)
    assert run.samples == outcome.applied == 4 * 3001
    assert run.epochs == 4
    assert run.counted_once
    assert run.ok
    assert run.reason == "complete"
    assert run.test_accuracy == pytest.approx(0.9)
    if policy is not Asynchronous:  # there, the simulation does not know which step a push will land in
        assert run.steps == outcome.steps == 4 * 12
        assert run.stale_fraction == pytest.approx(outcome.stale_fraction)
    assert run.server_cpu_s is not None
    assert run.server_cpu_share == pytest.approx(0.05, rel=0.05)


def test_workers_shares_paces_and_time(tmp_path: Path) -> None:
    run = summarise(_run(tmp_path / "run", Balanced()))
    assert [worker.speed for worker in run.workers] == [8.0, 4.0, 2.0, 1.0]
    assert sum(worker.samples for worker in run.workers) == run.samples
    assert sum(worker.share for worker in run.workers) == pytest.approx(1.0)
    stale = sum(worker.stale_fraction * worker.samples for worker in run.workers) / run.samples
    assert stale == pytest.approx(run.stale_fraction)
    for worker, host in zip(run.workers, HOSTS, strict=True):
        assert worker.pace == pytest.approx(host.pace, rel=0.1)
        assert worker.busy_fraction is not None
        assert worker.waiting_fraction == pytest.approx(1 - worker.busy_fraction)
    slow = summarise(_run(tmp_path / "slow", Synchronous()))
    busy = [worker.busy_fraction or 0.0 for worker in slow.workers]
    assert busy[3] > 0.95
    assert busy[0] == pytest.approx(busy[3] / 8, rel=0.2)


def test_the_time_to_the_target_runs_from_the_first_grant(tmp_path: Path) -> None:
    hosts = tuple(Host(pace=host.pace, joins=2.0) for host in HOSTS)
    run = summarise(_run(tmp_path / "run", Balanced(), hosts))
    assert run.targets[0]["reached"] == pytest.approx(0.8)
    assert run.total_s is not None
    assert run.time_to_target_s == pytest.approx(run.total_s / 2, rel=0.1)


def test_what_is_unknown_is_null(tmp_path: Path) -> None:
    folder = simulate(tmp_path / "run", Cluster(HOSTS), SETTINGS, Balanced(), 3001, target=2.0)
    run = summarise(folder)
    assert run.utilisation is None
    assert run.limit_samples_per_second is None
    assert run.time_to_target_s is None
    assert run.workers[0].speed is None


def test_faults_are_told(tmp_path: Path) -> None:
    hosts = (*HOSTS[:2], Host(pace=600, refused=4, declines=5), Host(pace=300, dies=1.0))
    run = summarise(_run(tmp_path / "run", Balanced(), hosts))
    assert run.counted_once
    assert run.workers[3].left == "died"
    assert run.workers[0].left is None
    assert run.refused_samples > 0
    assert run.declined_samples > 0
    assert run.samples + run.refused_samples + run.declined_samples == 4 * 3001


def test_a_very_slow_worker_sat_out(tmp_path: Path) -> None:
    run = summarise(_run(tmp_path / "run", Balanced(), (*HOSTS[:3], Host(pace=20))))
    assert run.workers[3].sat_out is not None
    assert "larger batch" in run.workers[3].sat_out


def test_a_worker_that_comes_late_is_measured_while_it_is_there(tmp_path: Path) -> None:
    run = summarise(_run(tmp_path / "run", Balanced(), (*HOSTS[:3], Host(pace=300, joins=1.5))))
    assert run.workers[3].busy_fraction is not None
    assert run.workers[3].busy_fraction > 0.6  # of the time since it joined; of the whole run it is half of that


def test_a_worker_that_came_back_is_not_gone(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", Balanced(), (*HOSTS[:3], Host(pace=300, dies=0.5)))
    file = folder / "record.jsonl"
    text = file.read_text().splitlines(keepends=True)
    after = next(i for i, line in enumerate(text) if '"Left"' in line) + 1
    t = json.loads(text[after - 1])["t"]
    text.insert(after, f'{{"t":{t},"event":{{"type":"Joined","worker":3}},"commands":[]}}\n')
    file.write_text("".join(text))
    assert summarise(folder).workers[3].left is None


def test_a_record_without_end(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", Balanced(), end=False)
    run = summarise(folder)
    assert not run.ok
    assert "has no end" in run.reason
    assert run.counted_once
    lines = (folder / "record.jsonl").read_text().splitlines(keepends=True)
    (folder / "record.jsonl").write_text("".join(lines[: len(lines) // 2]))
    run = summarise(folder)
    assert run.unfinished_samples > 0
    assert run.counted_once


def test_a_run_that_never_began(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", Balanced())
    lines = (folder / "record.jsonl").read_text().splitlines(keepends=True)
    (folder / "record.jsonl").write_text(lines[0])
    run = summarise(folder)
    assert run.total_s is None
    assert run.samples_per_second is None
    assert run.workers == ()
    with pytest.raises(RecordError):
        summarise(tmp_path)


def test_the_demo_for_programs(tmp_path: Path) -> None:
    slow = summarise(_run(tmp_path / "s", Synchronous()), LIMIT)
    fast = summarise(_run(tmp_path / "b", Balanced()), LIMIT)
    strict = summarise(_run(tmp_path / "b0", Balanced(bound=0)), LIMIT)
    told = json.loads(json.dumps(demo([slow, fast], [strict])))
    assert [run["policy"] for run in told["runs"]] == ["synchronous", "balanced"]
    assert told["more_runs"][0]["options"]["bound"] == 0
    assert told["speedup"] == pytest.approx(told["runs"][0]["total_s"] / told["runs"][1]["total_s"])
    assert 2.5 < told["speedup"] < 3.75
    promised = "policy samples_per_second utilisation stale_fraction time_to_target_s total_s test_accuracy"
    assert {*promised.split(), "counted_once", "workers", "record"} <= set(told["runs"][0])
    assert speedup([fast]) is None
    with pytest.raises(ValueError, match="one run per policy"):
        demo([fast, strict])


def test_events_after_the_finish_change_nothing(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", Balanced(), end=False)
    before = summarise(folder)
    t = list(read(folder))[-1].t + 5
    with (folder / "record.jsonl").open("a") as file:
        file.write(f'{{"t":{t},"event":{{"type":"Left","worker":1,"reason":"finished"}},"commands":[]}}\n')
    assert isinstance(list(read(folder))[-1], EventLine)
    assert e.Left(1, "finished") == list(read(folder))[-1].event  # type: ignore[union-attr]
    assert summarise(folder) == before


def test_what_balanced_did_is_said_in_a_line(tmp_path: Path) -> None:
    ahead = summarise(_run(tmp_path / "ahead", Balanced(stale_fraction=0.25)))
    assert f"{ahead.stale_fraction:.1%} of the samples were stale (25% allowed)" in ahead.plan
    assert "started the next step early: 0 (in" in ahead.plan
    waits = summarise(_run(tmp_path / "waits", Balanced(bound=0)))
    assert "nothing was stale" in waits.plan
    assert "early" not in waits.plan
    idle = sum(worker.waiting_fraction or 0.0 for worker in waits.workers) / len(waits.workers)
    assert idle > 0
    assert f"waited for {idle:.0%} of their time" in waits.plan
    assert summarise(_run(tmp_path / "other", Synchronous())).plan == ""
