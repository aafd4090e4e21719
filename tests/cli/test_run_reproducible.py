"""``evener run --reproducible``: what it means for the run, and what is shown of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evener.cli import main

from .conftest import STAND_IN

SHA = "0123456789abcdef" * 4


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in whose record has what a reproducible run's has."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.py"
    text = STAND_IN.replace("seed=place.seed", "seed=place.seed, micro_batch=place.micro_batch")
    path.write_text(text.replace("server_cpu_s=0.1", f'server_cpu_s=0.1, parameters_sha256="{SHA}"'))
    return path


def summary(*words: str) -> dict[str, object]:
    assert main(["run", *words, "--workers", "2", "--json", "out.json"]) == 0
    found: dict[str, object] = json.loads(Path("out.json").read_text())
    return found


def test_it_is_balanced_without_staleness(script: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = summary(str(script), "--reproducible")
    assert found["policy"] == "balanced"
    assert found["options"].items() >= {"bound": 0}.items()  # type: ignore[attr-defined]
    assert found["micro_batch"] == 32
    assert found["parameters_sha256"] == SHA
    out = capfd.readouterr().out
    assert "yes, m = 32" in out
    assert SHA[:16] in out
    assert "--workers 3 --reproducible --micro-batch 32" in out


def test_the_micro_batch_can_be_chosen(script: Path) -> None:
    assert summary(str(script), "--reproducible", "--micro-batch", "8", "--bound", "0")["micro_batch"] == 8


def test_any_run_has_a_fingerprint(script: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = summary(str(script))
    assert (found["micro_batch"], found["parameters_sha256"]) == (0, SHA)
    out = capfd.readouterr().out
    assert SHA[:16] in out
    assert "reproducible" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--micro-batch", "8"], "add --reproducible"),
        (["--reproducible", "--micro-batch", "1"], "2 or more"),
        (["--reproducible", "--micro-batch", "many"], "2 or more"),
        (["--reproducible", "--bound", "1"], "balanced with bound 0"),
        (["--reproducible", "--policy", "synchronous"], "balanced with bound 0"),
        (["--reproducible", "--policy", "asynchronous"], "balanced with bound 0"),
    ],
)
def test_what_cannot_be(script: Path, words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["run", str(script), *words])
    except SystemExit as error:
        code = error.code  # type: ignore[assignment]
    assert code == 2
    assert said in " ".join(capfd.readouterr().err.split())
    assert not Path("runs").exists()
