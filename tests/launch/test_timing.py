"""Simulated runs with timing alone."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evener.core.policies import POLICIES
from evener.launch import LaunchError, TimingOptions, simulate_timing
from evener.observe import summarise
from evener.runtime.place import PolicyChoice
from evener.simulation.cluster import Cluster, Host
from evener.trace import check, replay

from .conftest import Kept

CLUSTER = Cluster((Host(400.0, noise=0.1), Host(100.0, noise=0.1), Host(100.0, joins=1.0)), seed=5)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def asked(**changes: Any) -> TimingOptions:
    return TimingOptions(**{"cluster": CLUSTER, "batch": 32, "samples": 400, "epochs": 2, "seed": 3, **changes})


@pytest.mark.parametrize("policy", list(POLICIES))
def test_the_same_run_writes_the_same_bytes(tmp_path: Path, screen: Kept, policy: str) -> None:
    choice = PolicyChoice(policy)
    results = [simulate_timing(asked(policy=choice, record=tmp_path / name), screen) for name in ("one", "other")]
    assert [result.code for result in results] == [0, 0], screen.err
    one, other = (result.record.read_bytes() for result in results if result.record is not None)
    assert one == other
    assert results[0].run == results[1].run
    assert check(tmp_path / "one").counted_once
    assert replay(tmp_path / "one") is None
    summary = summarise(tmp_path / "one")
    assert (summary.ok, summary.samples, summary.seed, summary.epochs) == (True, 800, 3, 2)
    assert [worker.speed for worker in summary.workers] == [400.0, 100.0, 100.0]
    assert summary.stale_fraction == results[0].outcome.stale_fraction
    assert summary.total_s == pytest.approx(results[0].outcome.seconds)
    assert screen.ended


def test_another_seed_is_another_run() -> None:
    one, other = (simulate_timing(asked(seed=seed, keep=False)) for seed in (3, 4))
    assert one.outcome.seconds != other.outcome.seconds
    assert one.run != other.run


def test_without_a_record_the_same_happens(tmp_path: Path) -> None:
    without, recorded = simulate_timing(asked(keep=False)), simulate_timing(asked(record=tmp_path / "kept"))
    assert without.outcome == recorded.outcome
    assert without.to_dict(asked())["samples"] == 800
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_run_of_whom_nobody_is_left(screen: Kept) -> None:
    result = simulate_timing(asked(cluster=Cluster((Host(100.0, dies=1.0),)), record=Path("dead")), screen)
    assert result.code == 1
    assert "nothing left to happen" in screen.notes[0]
    summary = summarise(Path("dead"))
    assert not summary.ok
    assert "Does any host live long enough?" in summary.reason


def test_it_ends_when_it_is_asked_to() -> None:
    class Interrupting(Kept):
        def follow(self, record: Path) -> None:
            super().follow(record)
            signal.raise_signal(signal.SIGINT)

    result = simulate_timing(asked(samples=1_000_000, record=Path("stopped")), Interrupting())
    assert result.code == 128 + signal.SIGINT
    summary = summarise(Path("stopped"))
    assert not summary.ok
    assert "SIGINT" in summary.reason


def test_it_does_not_need_torch(tmp_path: Path) -> None:
    words = "'simulate', '--paces', '400,100', '--batch', '64', '--samples', '640', '--policy', 'synchronous'"
    code = f"import sys; from evener.cli import main; main([{words}]); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "each sample exactly once" in done.stdout


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch": 0}, "--batch is a number from 1, not 0"),
        ({"samples": -1}, "--samples is a number from 1, not -1"),
        ({"epochs": 0}, "--epochs is a number from 1"),
        ({"policy": PolicyChoice("fastest")}, "there is no policy 'fastest'"),
        ({"policy": PolicyChoice("asynchronous", {"push": 64})}, "push must be 2 to 32 samples"),
        ({"micro_batch": 8}, "balanced with bound 0"),
    ],
)
def test_what_cannot_be_simulated(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(LaunchError, match=says):
        simulate_timing(asked(**changes))
