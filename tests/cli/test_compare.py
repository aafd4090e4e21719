from __future__ import annotations

import json
from pathlib import Path

import pytest

from evener.cli import main
from evener.simulation.files import read_cluster
from evener.trace import check

TRAINING = ["--batch", "256", "--samples", "5120"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def results() -> dict[str, dict[str, float]]:
    found = json.loads(Path("out.json").read_text())
    return {run["label"] + (" changed" if run["change"] else ""): run for run in found["runs"]}


def compare(*words: str) -> int:
    return main(["compare", "--json", "out.json", "--no-plots", *words])


def test_all_policies_on_one_cluster_end_with_which_to_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare("--paces", "400,200,100", *TRAINING, "--record", "there") == 0
    out = " ".join(capsys.readouterr().out.split())
    runs = results()
    assert set(runs) == {"asynchronous", "balanced", "delayed", "dynamic", "stale", "synchronous"}
    assert all(0 < run["utilisation"] <= 1.01 for run in runs.values())
    assert runs["balanced"]["samples_per_second"] > 1.5 * runs["synchronous"]["samples_per_second"]
    assert "Take balanced" in out
    assert "times as many as synchronous" in out
    for name in runs:
        assert check(Path("there", name)).counted_once
    assert json.loads(Path("out.json").read_text())["recommended"] == "balanced"


def test_a_policy_may_have_options(capsys: pytest.CaptureFixture[str]) -> None:
    named = ["--policies", "balanced:bound=0,balanced:stale-fraction=0.25,synchronous"]
    assert compare("--paces", "400,200", *TRAINING, *named, "--record", "there") == 0
    runs = results()
    assert runs["balanced bound=0"]["stale_fraction"] == 0
    assert runs["balanced stale_fraction=0.25"]["options"]["stale_fraction"] == 0.25
    assert sorted(path.name for path in Path("there").iterdir()) == [
        "balanced-bound-0",
        "balanced-stale_fraction-0.25",
        "synchronous",
    ]


def test_what_if_is_shown_beside_what_is(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--without", "1", "--more", "2x0", "--link", "20 Mbit/s", "--parameters", "0.2 MB"]
    words = ["--paces", "400,100", *TRAINING, *changes, "--policies", "balanced", "--write-cluster", "c.toml"]
    assert compare(*words) == 0
    runs = results()
    assert len(runs["balanced changed"]["workers"]) == 3
    assert runs["balanced changed"]["samples_per_second"] > 1.2 * runs["balanced"]["samples_per_second"]
    out = " ".join(capsys.readouterr().out.split())
    assert "with the change (without host 1, 2 more like host 0, links of 20 Mbit/s) that is" in out
    assert "more than without it" in out
    assert [host.pace for host in read_cluster("c.toml").hosts] == [400, 400, 400]
    assert [host.link.up for host in read_cluster("c.toml").hosts if host.link] == [20e6] * 3


def test_the_machines_of_a_record_and_what_it_trained() -> None:
    words = ["--paces", "400,200,100", *TRAINING, "--epochs", "3", "--record", "first"]
    assert main(["simulate", *words, "--json", "first.json"]) == 0
    assert compare("--from", "first", "--policies", "balanced,synchronous") == 0
    first, again = json.loads(Path("first.json").read_text()), results()["balanced"]
    assert again["samples"] == first["samples"] == 3 * 5120
    assert again["samples_per_second"] == pytest.approx(first["samples_per_second"], rel=0.05)
    assert compare("--from", "first", "--policies", "balanced", "--batch", "x2") == 0
    assert results()["balanced"]["batch"] == 512


def test_a_batch_that_is_too_small_is_said_with_one_that_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--paces", "400,400,150", "--batch", "64", "--samples", "6400"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "the batch of 64 is too small for these workers" in out
    assert "would do" in out


def test_plots_are_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    words = ["--paces", "400,200", *TRAINING, "--policies", "balanced,synchronous", "--record", "there"]
    assert main(["compare", *words]) == 0
    assert Path("there/compare.png").read_bytes().startswith(b"\x89PNG")
    assert b"synchronous" in Path("there/compare.svg").read_bytes() or b"<svg" in Path("there/compare.svg").read_bytes()


def test_real_runs_are_compared_too(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert compare(str(stand_in), "--real", "--workers", "2", "--limit", "--record", "there") == 0
    runs = results()
    assert set(runs) == {"synchronous", "balanced"}
    assert runs["balanced"]["limit_samples_per_second"] == 2000
    assert "Take balanced" in capfd.readouterr().out


def test_a_script_is_simulated_with_its_gradients(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in.write_text(stand_in.read_text().replace('place.role == "server"', 'place.role == "simulated"'))
    assert compare(str(stand_in), "--paces", "400,100", "--", "--lr", "1") == 0
    assert results()["balanced"]["test_accuracy"] == 0.7
    assert "the server was given ['--lr', '1']" in capfd.readouterr().out


def test_a_run_that_fails_ends_the_comparison(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in.write_text("raise SystemExit(3)")
    assert compare(str(stand_in), "--paces", "400,100") == 2
    assert "the run with synchronous failed" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (TRAINING, "Name a cluster with --cluster FILE, --paces 400,100 or --from RECORD"),
        (["--paces", "4,2"], "--batch is missing. Give a script"),
        (["--paces", "4,2", "--batch", "x2", "--samples", "9"], "name one with --from, or give a number"),
        (["--paces", "4,2", *TRAINING, "--policies", "best"], "there is no policy 'best'. Choose one of: asynchronous"),
        (["--paces", "4,2", *TRAINING, "--policies", "stale,stale"], "stale was named twice"),
        (["--paces", "4,2", *TRAINING, "--policies", "balanced:delay=2"], "no option 'delay'"),
        (["--paces", "4,2", *TRAINING, "--without", "2"], "there is no host 2 to leave out: they are 0 to 1"),
        (["--paces", "4,2", *TRAINING, "--without", "0,1"], "nobody is left"),
        (["--paces", "4,2", *TRAINING, "--more", "1x7"], "there is no host 7 to have more of"),
        (["--paces", "4,2", *TRAINING, "--link", "2 Mbit/s"], "such as --parameters '0.8 MB'"),
        (["--paces", "4,2", *TRAINING, "--target", "a=1"], "--target needs a script"),
        (["--paces", "4,2", *TRAINING, "--", "--lr", "1"], "-- needs a script"),
        (["--paces", "4,2", *TRAINING, "--limit"], "--limit is about real runs"),
        (["--paces", "4,2", *TRAINING, "--write-cluster", "no/c.toml"], "No such file or directory"),
        (["--paces", "4,2", "--batch", "64", "--samples", "0"], "--samples is a number from 1"),
        (["--from", "nowhere"], "there is no record at"),
        (["--real"], "real runs need a script"),
        (["train.py", "--real", "--without", "1"], "--without is about simulated runs"),
        (["train.py", "--paces", "4,2", "--batch", "64"], "--batch is for timing alone: a script says itself"),
        (["none.py", "--paces", "4,2"], "the script none.py does not exist"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = words.index("--") if "--" in words else len(words)
    assert main(["compare", *words[:cut], "--no-plots", *words[cut:]]) == 2
    assert says in capsys.readouterr().err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--without", "two"], "write their numbers, from 0"),
        (["--more", "x3"], "write 3x1 for three more like host 1"),
        (["--link", "20"], "a unit is missing in a rate"),
        (["--link", "0 Mbit/s"], "transfers nothing"),
        (["--parameters", "7"], "a unit is missing in a size"),
        (["--batch", "x0"], "is no batch"),
        (["--policies", "a,,b"], "is no list of policies"),
        (["--policies", "balanced:bound"], "write NAME=VALUE"),
    ],
)
def test_words_that_mean_nothing(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--paces", "4,2", *words])
    assert says in " ".join(capsys.readouterr().err.split())
