from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from evener.cli import main, watch
from evener.cli._screen import SILENT, Lines, Panel
from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.trace import Writer, held

Sleep = Callable[[Callable[[], object]], None]


@pytest.fixture
def instead_of_sleeping(monkeypatch: pytest.MonkeyPatch) -> Sleep:
    """Lets something happen whenever the watcher would sleep."""

    def set_to(what: Callable[[], object]) -> None:
        monkeypatch.setattr(watch.time, "sleep", lambda _: what())

    return set_to


def run(folder: Path, end: bool = True, ok: bool = True) -> Iterator[None]:
    """A run that writes its record in four parts, one each time it is asked; last it closes it."""
    settings = Settings(batch=64, epochs=2, workers=2)
    log = Simulation(Cluster((Host(800), Host(400))), settings, Balanced(), 640).run().log
    with Writer(folder) as writer:
        writer.header(run="r", settings=settings, policy=Balanced(), parameters=9, script="train.py")
        for part in range(4):
            yield
            for t, event, commands in log[part * len(log) // 4 : (part + 1) * len(log) // 4]:
                writer.event(t, event, commands)
            writer.flush(t)
        yield
        if end:
            writer.end(t, ok=ok, reason="complete" if ok else "every contribution was refused")
    yield


def test_a_finished_run_is_shown_at_once(
    tmp_path: Path, instead_of_sleeping: Sleep, capsys: pytest.CaptureFixture[str]
) -> None:
    list(run(tmp_path))
    instead_of_sleeping(lambda: pytest.fail("there is nothing to wait for"))
    assert main(["watch", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out.index("epoch 1/2") < out.index("epoch 2/2") < out.index("total time")
    assert err == ""


def test_a_run_that_has_not_begun_is_waited_for_and_followed_to_its_end(
    tmp_path: Path, instead_of_sleeping: Sleep, capsys: pytest.CaptureFixture[str]
) -> None:
    going = run(tmp_path / "later")
    shown: list[str] = []

    def goes_on() -> None:
        shown.append(capsys.readouterr().out)
        next(going)

    instead_of_sleeping(goes_on)
    assert main(["watch", str(tmp_path / "later")]) == 0
    assert len(shown) >= 5
    assert "epoch 1/2" in "".join(shown)  # while it went on
    assert "total time" not in "".join(shown)
    assert "total time" in capsys.readouterr().out


def test_it_says_what_it_waits_for(
    tmp_path: Path, instead_of_sleeping: Sleep, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    instead_of_sleeping(stop)
    assert main(["watch", str(tmp_path / "later")]) == 130
    err = capsys.readouterr().err
    assert f"waiting for a run to begin in {tmp_path / 'later'}" in err
    assert "the run is left alone" in err


def test_a_run_that_ended_badly_is_in_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    list(run(tmp_path, ok=False))
    assert main(["watch", str(tmp_path)]) == 1
    assert "every contribution was refused" in " ".join(capsys.readouterr().out.split())


def test_a_run_whose_server_was_killed_is_told_from_one_that_is_silent(
    tmp_path: Path, instead_of_sleeping: Sleep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "SETTLED", 0.0)
    going = run(tmp_path, end=False)
    next(going)
    next(going)
    naps = []

    def goes_on() -> None:
        naps.append(held(tmp_path / "record.jsonl"))
        if len(naps) == 5:  # silent, but there, all the while; then it is gone
            going.close()

    instead_of_sleeping(goes_on)
    assert main(["watch", str(tmp_path)]) == 1
    assert naps[:5] == [True] * 5
    out, err = capsys.readouterr()
    assert "nobody writes this record any more, and it has no end" in err
    assert "the run did not end well" in out


def test_an_end_that_comes_at_the_last_moment_is_seen(
    tmp_path: Path, instead_of_sleeping: Sleep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    going = run(tmp_path)
    for _ in range(5):
        next(going)

    def gone(_: Path) -> bool:
        list(going)  # between the look at the record and the look at its lock
        return False

    monkeypatch.setattr(watch, "SETTLED", 0.0)
    monkeypatch.setattr("evener.trace.held", gone)
    instead_of_sleeping(lambda: None)
    assert main(["watch", str(tmp_path)]) == 0
    assert "nobody writes" not in capsys.readouterr().err


def test_a_record_is_held_as_long_as_it_is_written(tmp_path: Path) -> None:
    going = run(tmp_path)
    next(going)
    assert held(tmp_path / "record.jsonl") is True
    list(going)
    assert held(tmp_path / "record.jsonl") is False
    assert held(tmp_path / "nothing" / "record.jsonl") is None


def test_what_is_no_record_or_holds_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "record.jsonl").write_text("something else\n")
    assert main(["watch", str(tmp_path)]) == 2
    assert "is no record of a run" in capsys.readouterr().err
    list(run(tmp_path / "runs" / "one"))
    assert main(["watch", str(tmp_path / "runs")]) == 2
    err = capsys.readouterr().err
    assert "holds those of 1" in err
    assert str(tmp_path / "runs" / "one") in err


def test_silence_is_told_once_on_lines_and_stands_in_the_panel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    going = run(tmp_path)
    next(going)
    next(going)
    drawn = io.StringIO()
    panel = Panel(Console(file=drawn, force_terminal=True, width=100, height=40))
    for screen in Lines(), panel:
        screen.follow(tmp_path / "record.jsonl")
        for seconds in (SILENT - 1, SILENT, SILENT + 1):
            screen.silent(seconds)
            screen.tick()
        screen.unfollow()
    assert capsys.readouterr().err.count("no news for") == 1
    assert "No news for 30.0 s" in drawn.getvalue()
    assert "No news for 31.0 s" in drawn.getvalue()
    assert "No news for 29.0 s" not in drawn.getvalue()
    going.close()


def test_the_terminals_panel_ends_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    list(run(tmp_path))
    drawn = io.StringIO()
    monkeypatch.setattr(
        "evener.cli._screen.choose", lambda: Panel(Console(file=drawn, force_terminal=True, width=100, height=40))
    )
    assert main(["watch", str(tmp_path / "record.jsonl")]) == 0
    assert "train.py" in drawn.getvalue()
    assert "total time" in capsys.readouterr().out
