from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from evener.cli._screen import Lines, Panel, choose
from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.trace import Writer


@pytest.fixture
def record(tmp_path: Path) -> Path:
    with Writer(tmp_path) as writer:
        writer.header(run="r", settings=Settings(batch=8, epochs=2), policy=Balanced(), parameters=1)
        writer.event(0.5, e.Joined(0, pace=100.0), [c.DrawEpoch(0)])
        writer.event(0.6, e.EpochDrawn(0, 8), [c.Grant(0, 0, 0, 0, 0, ((0, 8),), 0)])
        writer.event(1.6, e.StepDone(1, 0.1), [c.EndEpoch(0, 1, 8, 0, 0, 0)])
        about = {"epoch": 0, "version": 1, "samples": 8, "at": 1.6}
        writer.note(1.7, "log", **about, values={"test_accuracy": 0.5})
    return writer.path


def test_without_a_terminal_there_are_lines(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    screen = choose()
    assert type(screen) is Lines
    screen.tick()
    screen.follow(record.parent / "not-yet" / "record.jsonl")
    screen.tick()
    screen.follow(record)
    screen.tick()
    screen.tick()
    screen.show("from the script", error=False)
    screen.show("to the side", error=True)
    screen.note("ours")
    screen.unfollow()
    out, err = capsys.readouterr()
    first, second = out.splitlines()
    assert first.startswith("epoch 1/2")
    assert "test_accuracy 50.0%" in first
    assert second == "from the script"
    assert err.splitlines() == ["to the side", "evener: ours"]


def test_a_file_that_is_no_record_is_no_catastrophe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "record.jsonl").write_text("something else\n")
    screen = Lines()
    screen.follow(tmp_path / "record.jsonl")
    screen.tick()
    screen.tick()
    assert capsys.readouterr().err.count("progress cannot be shown") == 1


def test_a_terminal_gets_a_panel_with_everything_else_above(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    drawn = io.StringIO()
    screen = Panel(Console(file=drawn, force_terminal=True, width=100, height=40))
    screen.follow(record)
    screen.tick()
    assert "epoch 2/2" in drawn.getvalue()
    before = drawn.tell()
    screen.show("[worker 0] \x1b[31mred\x1b[0m [not markup]", error=True)
    after = drawn.getvalue()[before:]
    assert after.index("[not markup]") < after.index("epoch 2/2")  # the panel is drawn again, below
    screen.unfollow()
    screen.note("over")
    assert drawn.getvalue().endswith("evener: over\x1b[0m\n")
