from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from evener.cli import main
from evener.simulation.files import read_cluster
from evener.simulation.profile import Machine, Profile, Transfers

PROFILE = Profile(
    Machine("a processor", "cpu", "2.4.0", 1), "", 16, 10, {8: [0.01]}, (), Transfers(40, 40, 0.1, 0.1, 0.1, 0.1), 0.1
)

TRAINS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import evener

session = evener.join()
model = nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randint(0, 2, (64,))), batch_size=16, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(1):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
"""


@pytest.fixture
def trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text(TRAINS)
    return "train.py"


def test_a_profile_and_a_simulation_of_it(trains: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", trains, "--quick", "--threads", "1", "--json", "out.json"]) == 0
    out, _ = capfd.readouterr()
    assert "smallest efficient micro-batch" in out
    assert "evener simulate train.py --cluster profile.toml --cluster profile.toml" in out
    measured = json.loads(Path("out.json").read_text())
    assert [rate["size"] for rate in measured["rates"]] == [8, 16]
    [host] = read_cluster("profile.toml").hosts
    assert host.pace == pytest.approx(measured["line"]["pace"], rel=1e-3)

    two = ["--cluster", "profile.toml", "--cluster", "profile.toml"]
    assert main(["simulate", trains, *two, "--json", "simulated.json"]) == 0
    summary = json.loads(Path("simulated.json").read_text())
    assert summary["notes"]["speeds"] == [host.pace, host.pace]
    assert "--cluster profile.toml --cluster profile.toml --policy synchronous" in " ".join(
        capfd.readouterr().out.split()
    )


def test_a_file_is_not_overwritten(trains: str, capfd: pytest.CaptureFixture[str]) -> None:
    Path("profile.toml").write_text("precious")
    assert main(["profile", trains, "--quick"]) == 2
    assert "profile.toml exists already" in capfd.readouterr().err
    assert Path("profile.toml").read_text() == "precious"


def test_unless_asked(trains: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evener.launch.measure_profile", lambda *_: PROFILE)
    Path("profile.toml").write_text("old")
    assert main(["profile", trains, "--force"]) == 0
    assert len(read_cluster("profile.toml").hosts) == 1


def test_what_disturbs_and_what_is_missing_is_said(
    trains: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    restless = msgspec.structs.replace(PROFILE, durations={8: [0.01, 0.02, 0.04]}, left_out=(16,))
    monkeypatch.setattr("evener.launch.measure_profile", lambda *_: restless)
    assert main(["profile", trains]) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert "the repeats differ much" in out
    assert "not measured, for lack of time: 16" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none.py"], "none.py does not exist"),
        (["train.py", "--sizes", "8,0"], "'8,0' is no list of sizes; write the samples of each micro-batch"),
        (["train.py", "--sizes", "-8"], "is no list of sizes"),
        (["train.py", "--sizes", "8,x"], "is no list of sizes"),
        (["train.py", "--threads", "0"], "is no number of threads"),
        (["train.py", "--output", "nowhere/a.toml"], "there is no folder"),
        (["train.py", "--output", "."], "is a folder"),
        (["train.py", "--json", "nowhere/a.json"], "there is no folder"),
        (["train.py", "--quick", "--sizes", "17"], "larger than the script's batch of 16"),
    ],
)
def test_what_was_asked_for_wrongly(
    trains: str, words: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(["profile", *words])
    except SystemExit as wrong:
        code = int(str(wrong.code))
    assert code == 2
    err = capfd.readouterr().err
    assert says in err
    assert "Traceback" not in err
    assert not Path("profile.toml").exists()
