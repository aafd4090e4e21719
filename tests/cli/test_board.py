from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evener.cli import main


def _tags(folder: Path) -> list[str]:
    tags: list[str] = EventAccumulator(str(folder)).Reload().Tags()["tensors"]
    return tags


def test_scalars_beside_the_record(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(stand_in), "--workers", "2", "--record", "runs/one", "--tensorboard"]) == 0
    out, err = capfd.readouterr()
    assert "total time" in out
    assert f"TensorBoard: tensorboard --logdir {Path('runs').resolve()}" in err
    assert {"server/test_accuracy", "run/samples_per_second", "worker_1/pace"} <= set(_tags(Path("runs/one")))


def test_scalars_elsewhere(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in.write_text(stand_in.read_text().replace('place.role == "server"', 'place.role == "simulated"'))
    words = ["simulate", str(stand_in), "--paces", "400,100", "--record", "one", "--tensorboard", "deep/board"]
    assert main(words) == 0
    assert "server/test_accuracy" in _tags(Path("deep/board/one"))
    assert "tensorboard --logdir deep/board" in capfd.readouterr().err
    assert not list(Path("one").glob("events*"))


def test_without_the_package_it_says_what_to_install(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary", None)
    assert main(["run", str(stand_in), "--workers", "2", "--tensorboard"]) == 2
    assert "pip install 'evener[tensorboard]'" in capfd.readouterr().err
    assert not Path("runs").exists()
    assert main(["run", str(stand_in), "--workers", "2"]) == 0


def test_a_folder_that_cannot_be(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(stand_in), "--workers", "2", "--tensorboard", str(stand_in)]) == 2
    assert "the folder cannot be made: File exists" in capfd.readouterr().err


def test_a_run_that_never_wrote_a_record_leaves_no_scalars(stand_in: Path) -> None:
    stand_in.write_text("print('trained')")
    assert main(["run", str(stand_in), "--workers", "1", "--record", "one", "--tensorboard"]) == 2
    assert not list(Path("one").iterdir())


def test_a_board_that_fails_does_not_end_the_run(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("evener.observe.tensorboard.Board.update", full)
    assert main(["run", str(stand_in), "--workers", "2", "--tensorboard"]) == 0
    out, err = capfd.readouterr()
    assert err.count("no more scalars are written for TensorBoard: No space left on device") == 1
    assert "total time" in out
