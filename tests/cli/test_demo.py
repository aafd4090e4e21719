from __future__ import annotations

import json
from pathlib import Path

import pytest

import evener.data
from evener.cli import demo, main
from evener.trace import read_limit


@pytest.fixture
def staged(stand_in: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo, with the stand-in for its example and no data to fetch."""
    monkeypatch.setattr(demo, "example", lambda name: stand_in)
    monkeypatch.setattr(evener.data, "har", lambda: None)
    return stand_in.parent


def test_the_whole_demo(staged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--seed", "3", "--record", "shown", "--json", "out.json"]) == 0
    out, err = capfd.readouterr()
    results = json.loads(Path("out.json").read_text())
    assert [run["policy"] for run in results["runs"]] == ["synchronous", "balanced"]
    assert results["runs"][1]["options"] == {"bound": 1, "stale_fraction": 0.05, "look_ahead": False}
    assert [run["options"] for run in results["more_runs"]] == [
        {"bound": 0, "stale_fraction": 0.05, "look_ahead": False}
    ]
    assert results["speedup"] > 1
    for run in results["runs"] + results["more_runs"]:
        assert run["seed"] == 3
        assert run["utilisation"] > 0
        assert [worker["speed"] for worker in run["workers"]] == [8, 4, 2, 1]
    assert read_limit("shown").samples_per_second == 4000
    assert "balanced: at most a twentieth of the samples" in err
    assert "times as fast" in out
    assert "evener run" in out.splitlines()[-1]


def test_the_quick_one(staged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--quick"]) == 0
    out, _ = capfd.readouterr()
    assert out.splitlines()[-1].split() == ["next", "evener", "demo"]
    (folder,) = Path("runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "balanced",
        "synchronous",
        "limit-before",
        "limit.json",
    }


def test_records_are_not_overwritten(staged: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (staged / "shown" / "balanced").mkdir(parents=True)
    (staged / "shown" / "balanced" / "record.jsonl").touch()
    assert main(["demo", "--record", "shown"]) == 2
    assert "never overwritten" in capfd.readouterr().err


def test_the_example_is_found() -> None:
    assert demo.example("har.py").name == "har.py"
    with pytest.raises(Exception, match=r"example none\.py is not beside the package"):
        demo.example("none.py")
