from __future__ import annotations

import json
from pathlib import Path

import pytest

from evener.cli import main

CLUSTER = "[[hosts]]\npace = 400\n[[hosts]]\npace = 100\ncount = 2\n"


@pytest.fixture
def simulated(stand_in: Path) -> Path:
    """A stand-in whose one process writes the record."""
    stand_in.write_text(stand_in.read_text().replace('place.role == "server"', 'place.role == "simulated"'))
    (stand_in.parent / "cluster.toml").write_text(CLUSTER)
    return stand_in


def test_a_simulation_ends_with_its_table(simulated: Path, capfd: pytest.CaptureFixture[str]) -> None:
    chosen = ["--cluster", "cluster.toml", "--bound", "2", "--option", "look-ahead=true", "--seed", "5"]
    assert main(["simulate", str(simulated), *chosen, "--json", "out.json", "--", "--epochs", "2"]) == 0
    out, _ = capfd.readouterr()
    assert "the server was given ['--epochs', '2']" in out
    assert "epoch 2/2" in out
    assert "total time" in out
    assert "evener simulate" in out
    assert "--policy synchronous" in out
    summary = json.loads(Path("out.json").read_text())
    assert summary["options"].items() >= {"bound": 2, "look_ahead": True}.items()
    assert summary["seed"] == 5
    assert summary["notes"]["speeds"] == [400, 100, 100]


def test_paces_are_enough(simulated: Path) -> None:
    assert main(["simulate", str(simulated), "--paces", "400,50", "--json", "out.json"]) == 0
    assert json.loads(Path("out.json").read_text())["notes"]["speeds"] == [400, 50]


def test_a_reproducible_one_is_to_be_compared_with_the_real_run(
    simulated: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = simulated.read_text()
    simulated.write_text(text.replace("seed=place.seed", "seed=place.seed, micro_batch=place.micro_batch"))
    assert main(["simulate", str(simulated), "--paces", "400,50", "--reproducible", "--json", "out.json"]) == 0
    summary = json.loads(Path("out.json").read_text())
    assert summary["micro_batch"] == 32
    assert summary["options"]["bound"] == 0
    out = capfd.readouterr().out
    assert "yes, m = 32" in out
    assert f"evener run {simulated} --reproducible --micro-batch 32" in " ".join(out.split())


ALONE = ["simulate", "--cluster", "cluster.toml", "--batch", "64", "--samples", "640"]


def test_faults_from_a_script(simulated: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faults.txt").write_text("in push after step 3 kill worker 1\nat 0.5 s stop worker 2 for 1 s\n")
    asked = ["simulate", "--cluster", "cluster.toml", "--batch", "128", "--samples", "2560", "--faults", "faults.txt"]
    assert main([*asked, "--json", "out.json"]) == 0
    workers = {worker["worker"]: worker for worker in json.loads(Path("out.json").read_text())["workers"]}
    assert workers[1]["left"] == "died"
    assert workers[2]["left"] is None
    assert "--faults faults.txt" in " ".join(capfd.readouterr().out.split())
    (tmp_path / "faults.txt").write_text("at step 1000 kill worker 1")
    assert main(asked) == 0
    assert "never came to it: at step 1000 kill worker 1" in " ".join(capfd.readouterr().out.split())
    for text, said in (
        ("at dawn kill worker 1", "faults.txt, line 1: 'at dawn kill worker 1' is no fault. It says when"),
        ("at join kill worker 3", "faults.txt: there is no worker 3: the hosts are workers 0 to 2"),
    ):
        (tmp_path / "faults.txt").write_text(text)
        assert main(asked) == 2
        assert said in capfd.readouterr().err


def test_timing_alone(simulated: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*ALONE, "--epochs", "2", "--record", "kept", "--json", "out.json"]) == 0
    out, _ = capfd.readouterr()
    assert "epoch 2/2" in out
    assert "total time" in out
    assert f"evener {' '.join(ALONE)} --epochs 2 --policy synchronous" in " ".join(out.split())
    assert json.loads(Path("out.json").read_text())["samples"] == 1280


def test_timing_alone_without_a_record(simulated: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([*ALONE, "--policy", "synchronous", "--no-record", "--json", "out.json"]) == 0
    out, _ = capfd.readouterr()
    assert "synchronous, 3 hosts, batch 64: 640 samples in 10 steps and 30 contributions" in out
    assert "of the hosts' paces" in out
    summary = json.loads(Path("out.json").read_text())
    assert (summary["ok"], summary["steps"], summary["stale_fraction"]) == (True, 10, 0.0)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--batch", "64"], "--samples is missing. Give a script to train, or, for timing alone"),
        (["--samples", "64"], "--batch is missing"),
        (["--batch", "64", "--samples", "64", "--target", "loss=1"], "--target needs a script"),
        (["--batch", "64", "--samples", "64", "--threads", "1"], "--threads needs a script"),
        (["--batch", "64", "--samples", "64", "--", "--epochs", "2"], "-- needs a script"),
        (["--batch", "64", "--samples", "64", "--no-record", "--record", "x"], "contradict each other"),
        (["train.py", "--batch", "64"], "--batch is for timing alone"),
        (["train.py", "--no-record"], "--no-record is for timing alone"),
        (["--batch", "0", "--samples", "64"], "--batch is a number from 1"),
    ],
)
def test_what_does_not_go_together(
    simulated: Path, words: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--cluster", "cluster.toml", *words]) == 2
    assert says in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "one of the arguments --cluster --paces --from is required"),
        (["--cluster", "none.toml"], "none.toml cannot be read"),
        (["--paces", "400,0"], "a pace is a positive number"),
        (["--paces", "400,x"], "is no list of paces; write the samples per second of each host"),
        (["--paces", "400", "--policy", "fastest"], "there is no policy 'fastest'"),
        (["--paces", "400", "--json", "nowhere/out.json"], "there is no folder"),
        (["--paces", "400", "--micro-batch", "8"], "add --reproducible"),
        (["--paces", "400", "--reproducible", "--bound", "1"], "balanced with bound 0"),
        (["--paces", "400", "--reproducible", "--policy", "stale"], "balanced with bound 0"),
        (["--paces", "400", "--reproducible", "--threads", "2"], "1 torch thread"),
    ],
)
def test_what_was_asked_for_wrongly(
    simulated: Path, words: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["simulate", str(simulated), *words])
    except SystemExit as wrong:
        code = int(str(wrong.code))
    assert code == 2
    assert says in capfd.readouterr().err
    assert not (simulated.parent / "runs").exists()
