from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evener.launch import LaunchError, RunOptions, default_workers, options
from evener.launch.folders import finished, new_run_id
from evener.runtime.place import PolicyChoice


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.touch()
    return path


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workers": 0}, "at least 1 worker"),
        ({"workers": 3, "speeds": (1.0, 2.0)}, "2 speeds were given for 3 workers"),
        ({"workers": 2, "speeds": (1.0, 0.0)}, "must be a positive number, not 0"),
        ({"workers": 2, "speeds": (1.0, -3.0)}, "must be a positive number, not -3"),
        ({"policy": PolicyChoice("best")}, "Choose one of: asynchronous, balanced, delayed, dynamic, "),
        (
            {"policy": PolicyChoice("synchronous", {"bound": 1})},
            "no option 'bound': it has none. balanced, stale have it",
        ),
        ({"policy": PolicyChoice("balanced", {"delay": 1})}, "it has bound, stale_fraction"),
        ({"policy": PolicyChoice("balanced", {"bound": -1})}, "0 or more"),
        ({"policy": PolicyChoice("stale", {"bound": -1})}, "bound must be a whole number of clocks, 0 or more, not -1"),
        ({"policy": PolicyChoice("stale", {"bound": "few"})}, "bound must be a whole number .* not 'few'"),
        ({"policy": PolicyChoice("stale", {"bound": True})}, "bound must be a whole number .* not True"),
        ({"policy": PolicyChoice("stale", {"delay": 1})}, "it has bound, push. delayed has it"),
        ({"policy": PolicyChoice("dynamic", {"s_min": 5, "s_max": 4})}, "s_min must not be above s_max, but 5 > 4"),
        ({"policy": PolicyChoice("dynamic", {"s_max": -1})}, "s_max must be a whole number"),
        ({"policy": PolicyChoice("delayed", {"delay": 0})}, "delay must be .* the word 'auto'.*, 1 or more, not 0"),
        ({"policy": PolicyChoice("delayed", {"delay": 1.5})}, "delay must be a whole number"),
        ({"policy": PolicyChoice("asynchronous", {"push": 0})}, "push must be a whole number .* 1 or more, not 0"),
        ({"policy": PolicyChoice("asynchronous", {"push": "all"})}, "not 'all'"),
        ({"policy": PolicyChoice("asynchronous", {"rate_scaling": "half"})}, "one of none, staleness, not 'half'"),
        ({"policy": PolicyChoice("balanced", {"stale_fraction": 2})}, "between 0 and 1"),
        ({"targets": {"loss": float("nan")}}, "finite"),
        ({"keep_checkpoints": 0}, "0 checkpoints cannot be kept: give a number from 1"),
        ({"port": 0}, "ports are 1 to 65535"),
        ({"port": 70_000}, "ports are 1 to 65535"),
    ],
)
def test_what_cannot_be_is_said(file: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(LaunchError, match=said):
        RunOptions(script=file, **wrong).check()


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="does not exist"):
        RunOptions(script=tmp_path / "train.py").check()
    with pytest.raises(LaunchError, match="is a folder"):
        RunOptions(script=tmp_path).check()


def test_there_are_workers_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "cuda_devices", lambda: 0)
    assert 2 <= default_workers() <= 4
    monkeypatch.setattr(options, "cuda_devices", lambda: 8)
    assert default_workers() == 8


@pytest.mark.parametrize(("visible", "count"), [("", 0), ("0", 1), ("0,1,3", 3), ("0,-1,2", 1), ("-1", 0)])
def test_cuda_devices_that_are_visible(monkeypatch: pytest.MonkeyPatch, visible: str, count: int) -> None:
    monkeypatch.setattr(options.metadata, "version", lambda name: "2.13.0+cu130")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert options.cuda_devices() == count


def test_a_torch_for_processors_sees_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options.metadata, "version", lambda name: "2.13.0+cpu")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert options.cuda_devices() == 0


def test_run_ids_are_distinct_and_short() -> None:
    first, second = new_run_id(), new_run_id()
    assert first != second
    assert first[:15] <= second[:15]
    assert len(first) == 20


def test_a_run_is_finished_when_its_record_says_so(tmp_path: Path) -> None:
    from evener.core import commands as c
    from evener.core import events as e
    from evener.core.policies import Balanced
    from evener.core.state import Settings
    from evener.trace import Writer

    assert not finished(tmp_path / "record.jsonl")
    writer = Writer(tmp_path)
    writer.header(run="r", settings=Settings(batch=8, epochs=1), policy=Balanced(), parameters=1)
    assert not finished(writer.path)
    writer.event(0.1, e.Tick(), [c.Finish("complete", True)])
    writer.flush(0.1)
    assert finished(writer.path)
    writer.end(0.2, ok=True, reason="complete")
    writer.close()
    assert finished(writer.path)
