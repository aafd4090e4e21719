from __future__ import annotations

import json
from pathlib import Path

import pytest

from evener.cli import main


def test_a_run_ends_with_its_table(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["run", str(stand_in), "--speeds", "2,1", "--json", "out.json", "--", "--epochs", "2", "--help"])
    out, err = capfd.readouterr()
    assert code == 0
    assert "the server was given ['--epochs', '2', '--help']" in out
    assert "epoch 1/2" in out
    assert "epoch 2/2" in out
    assert "total time" in out
    assert "--policy synchronous" in out
    assert " of a core" in err or " of full speed" in err
    summary = json.loads(Path("out.json").read_text())
    assert summary["policy"] == "balanced"
    assert summary["utilisation"] is None
    assert summary["counted_once"] is True
    assert summary["test_accuracy"] == 0.7
    assert [worker["speed"] for worker in summary["workers"]] == [2.0, 1.0]
    assert Path(summary["record"]).is_relative_to(stand_in.parent / "runs")


def test_what_was_chosen_arrives(stand_in: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    chosen = ["--bound", "2", "--stale-fraction", "0.3", "--seed", "5", "--record", str(tmp_path / "here")]
    assert main(["run", str(stand_in), "--workers", "3", *chosen, "--json", "out.json"]) == 0
    summary = json.loads(Path("out.json").read_text())
    assert summary["options"].items() >= {"bound": 2, "stale_fraction": 0.3}.items()
    assert summary["seed"] == 5
    assert summary["record"] == str(tmp_path / "here" / "record.jsonl")
    assert main(["run", str(stand_in), "--record", str(tmp_path / "here")]) == 2
    assert "never overwritten" in capfd.readouterr().err


def test_tcp_is_asked_for_in_what_to_compare_with_too(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words, shown in (["--tcp"], True), ([], False):
        assert main(["run", str(stand_in), "--workers", "2", *words]) == 0
        out = " ".join(capfd.readouterr().out.split())
        assert ("--tcp --workers 2 --policy synchronous" in out) == shown


def test_compression_is_asked_for_in_what_to_compare_with_too(
    stand_in: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for words, shown in (["--compress", "int8"], True), ([], False):
        assert main(["run", str(stand_in), "--workers", "2", *words]) == 0
        out = " ".join(capfd.readouterr().out.split())
        assert ("--compress int8 --workers 2 --policy synchronous" in out) == shown
    assert main(["run", str(stand_in), "--compress", "bf16", "--reproducible"]) == 2
    assert "leave one of the two out" in capfd.readouterr().err


def test_any_option_of_any_policy_can_be_chosen(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = ["run", str(stand_in), "--workers", "2", "--json", "out.json"]
    assert main([*run, "--policy", "delayed", "--delay", "auto", "--option", "push=4"]) == 0
    summary = json.loads(Path("out.json").read_text())
    assert (summary["policy"], summary["options"]) == ("delayed", {"delay": "auto", "push": 4})
    assert summary["counted_once"] is True
    assert main([*run, "--policy", "asynchronous", "--option", "rate-scaling=staleness"]) == 0
    assert json.loads(Path("out.json").read_text())["options"] == {"push": "auto", "rate_scaling": "staleness"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "delayed", "--delay", "0"], "delay must be"),
        (["--policy", "stale", "--bound", "-1"], "0 or more, not -1"),
        (["--policy", "stale", "--bound", "2", "--option", "bound=3"], "'bound' was given twice"),
        (["--policy", "dynamic", "--option", "bound=3"], "it has s_min, s_max, push"),
    ],
)
def test_options_that_cannot_be(stand_in: Path, words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(stand_in), *words]) == 2
    assert said in capfd.readouterr().err


def test_the_number_of_workers_is_said_when_nobody_chose_it(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(stand_in)]) == 0
    assert "workers (choose with --workers or --speeds)" in capfd.readouterr().err


def test_a_worker_that_fails_is_in_the_exit_code(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(stand_in), "--workers", "2", "--", "fail"]) == 1
    out, err = capfd.readouterr()
    assert "[worker 1] this worker fails" in err
    assert "total time" in out


def test_faults_and_restarts(stand_in: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = ["run", str(stand_in), "--workers", "2", "--faults", "faults.txt"]
    assert main(run) == 2
    assert "the fault script faults.txt cannot be read: No such file" in capfd.readouterr().err
    (tmp_path / "faults.txt").write_text("in push kill worker 2")
    assert main(run) == 2
    assert "there is no worker 2; they are workers 0 to 1" in capfd.readouterr().err
    (tmp_path / "faults.txt").write_text("in push after step 1000 kill worker 1")
    assert main([*run, "--json", "out.json"]) == 0
    assert "never came to it: in push after step 1000 kill worker 1" in capfd.readouterr().err
    assert json.loads(Path("out.json").read_text())["notes"]["faults"] == "in push after step 1000 kill worker 1"
    with pytest.raises(SystemExit):
        main(["run", str(stand_in), "--restart", "0"])
    assert "'0' is no number from 1" in capfd.readouterr().err
    with pytest.raises(SystemExit):
        main(["run", "--restart", "train.py"])
    assert "'train.py' is no number from 1; without one it goes behind the script" in capfd.readouterr().err


def test_a_script_that_never_joins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.py").write_text("print('trained')")
    assert main(["run", "plain.py", "--workers", "2"]) == 2
    assert "plain.py ended without calling evener.join()" in capfd.readouterr().err
