"""What people see: the table and the live view, as text of a given width."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from rich.console import Console, RenderableType
from simulated_records import simulate

from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import Asynchronous, Balanced, Policy, Stale, Synchronous
from evener.core.standing import EpochStanding, Standing
from evener.core.state import Settings
from evener.observe import LiveView, RunSummary, render, summarise
from evener.simulation.cluster import Cluster, Host
from evener.trace import EventLine, Line, Resumed, Tail, Writer, read

HOSTS = (Host(pace=2400), Host(pace=1200), Host(pace=600), Host(pace=300))
NOTES = {"speeds": [8, 4, 2, 1], "slowness": "throttled in user space"}


def _run(folder: Path, policy: Policy, last: Host = HOSTS[3], evaluation: float = 0.3) -> Path:
    cluster = Cluster((*HOSTS[:3], last), evaluation=evaluation)
    settings = Settings(batch=256, epochs=4, workers=4)
    return simulate(folder, cluster, settings, policy, 3001, NOTES, target=0.8)


def _text(what: RenderableType, width: int = 80) -> str:
    console = Console(width=width, color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(what)
    return capture.get()


@pytest.fixture
def runs(tmp_path: Path) -> list[RunSummary]:
    policies = (Synchronous(), Balanced(stale_fraction=0.25), Balanced(bound=0), Asynchronous())
    return [summarise(_run(tmp_path / str(i), policy), 4500.0) for i, policy in enumerate(policies)]


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_table_fits(runs: list[RunSummary], count: int, width: int) -> None:
    text = _text(render(runs[:count], "evener report x"), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text
    for run in runs[:count]:
        assert run.policy in text
    assert text.count("each sample exactly once") == (2 if count == 4 else 1)
    assert "4 workers at speeds 8:4:2:1 · batch 256 · seed 0" in text
    assert "evener report x" in text
    assert "throttled in user space" in text
    assert ("times as fast" in text) == (count > 1)


def test_the_table_says_what_happened(tmp_path: Path) -> None:
    died = summarise(_run(tmp_path / "died", Balanced(), Host(pace=300, dies=1.0, refused=2)))
    text = " ".join(_text(render([died]), 100).split())
    assert "! worker 3 left (died):" in text
    assert "were refused" in text
    assert "utilisation of limit not measured" in text
    slow = summarise(_run(tmp_path / "slow", Balanced(), Host(pace=20)))
    assert "! worker 3 sat out: its smallest ticket takes" in " ".join(_text(render([slow]), 200).split())


def test_a_bound_is_called_what_it_is(tmp_path: Path) -> None:
    stale = summarise(_run(tmp_path / "stale", Stale(bound=0)))
    text = " ".join(_text(render([stale]), 100).split())
    assert "clocks ahead ≤ 0, push = auto" in text
    assert "S = 0" not in text, "with a lead of 0 clocks much is stale"
    view = LiveView()
    view.update(read(tmp_path / "stale"))
    assert "stale clocks ahead ≤ 0, push = auto" in " ".join(_text(view.render(), 120).split())


def test_the_table_does_not_hide_a_failure(runs: list[RunSummary]) -> None:
    found = ("at 1 s: x",)
    bad = dataclasses.replace(runs[1], counted_once=False, problems=found, ok=False, reason="it broke")
    text = " ".join(_text(render([runs[0], bad]), 100).split())
    assert "each sample exactly once yes NO" in text
    assert "ended well yes NO" in text
    assert "! balanced: not exactly once: at 1 s: x" in text
    assert "! balanced: the run did not end well: it broke" in text
    unfinished = dataclasses.replace(runs[1], unfinished_samples=77, reason="interrupted")
    text = " ".join(_text(render([unfinished]), 100).split())
    assert "each sample exactly once so far" in text
    assert "! the run was ended: interrupted" in text


def test_the_live_view_follows_a_record(tmp_path: Path) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced())))
    view = LiveView()
    assert "waiting for the run to begin" in _text(view.render())
    view.update(lines[:6])
    assert "not here yet" in _text(view.render())
    for start in range(6, len(lines) // 2, 100):
        view.update(lines[start : start + 100])
        text = _text(view.render())
        assert max(len(line) for line in text.splitlines()) <= 80
    assert "balanced  S = 1, φ ≤ 0.05  har.py" in text
    assert "samples/s now" in text
    assert "0  speed 8" in text
    assert "busy" in text
    assert " left │" in text
    assert "test_accuracy" in text
    assert not view.over
    view = LiveView()
    view.update(lines)
    text = _text(view.render())
    assert view.over
    assert "100%  over" in text
    assert "samples/s over the run" in text


def _when(lines: list[Line], said: str, view: LiveView) -> str:
    """The view right after the first line that makes it say ``said``."""
    for line in lines:
        view.update([line])
        if isinstance(line, EventLine) and said in (text := _text(view.render(), 100)):
            return text
    raise AssertionError(f"the view never said {said!r}")


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (Host(pace=300, dies=1.0), "left: died"),
        (Host(pace=20), "sits out: its smallest"),
        (Host(pace=300, stalls=((0.5, 90.0),)), "late"),
        (Host(pace=300, joins=1.0), "not here yet"),
    ],
)
def test_the_live_view_says_who_is_away(tmp_path: Path, host: Host, said: str) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced(), host)))
    assert said in _when(lines, said, LiveView())


def test_now_is_the_last_seconds(tmp_path: Path) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced(), evaluation=0.0)))
    view = LiveView()
    view.update(line for line in lines if line.t < 2.0)
    tally = view.tally
    assert tally.recent.total(tally.now) == tally.applied
    before = tally.applied
    tally.now += 30
    assert tally.recent.total(tally.now) == 0
    assert tally.applied == before


@pytest.mark.parametrize("step", [1, 37, 100_000])
def test_one_plain_line_per_epoch(tmp_path: Path, step: int) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced())))
    view = LiveView()
    said = []
    for start in range(0, len(lines), step):
        view.update(lines[start : start + step])
        said += view.epoch_lines()
    assert [line.split()[1] for line in said] == ["1/4", "2/4", "3/4", "4/4"]
    assert all("samples/s" in line and "test_accuracy" in line and "loss" in line for line in said)
    assert "test_accuracy 90.0%" in said[3]
    assert view.epoch_lines() == []


def test_epoch_lines_without_logs_come_at_the_next_epoch(tmp_path: Path) -> None:
    lines = [line for line in read(_run(tmp_path / "run", Balanced())) if isinstance(line, EventLine)]
    view = LiveView()
    said = []
    for line in lines:
        view.update([line])
        said += view.epoch_lines()
    assert len(said) == 3
    assert len(view.epoch_lines(final=True)) == 1


def test_an_epoch_that_was_resumed_is_as_fast_as_what_was_done_of_it_here(tmp_path: Path) -> None:
    view, settings = LiveView(), Settings(batch=8, epochs=1)
    past = Standing(9, 0, (EpochStanding(0, 80, applied=((0, 72),)),), resumed=1)
    with Writer(tmp_path) as writer:
        resumed = Resumed(part=1, checkpoint=2, standing=past)
        writer.header(run="a", settings=settings, policy=Balanced(), parameters=9, resumed=resumed)
        writer.event(1.0, e.Joined(0), [c.Grant(0, 1 << 32, 0, 9, 0, ((72, 80),), 9)])
        writer.event(3.0, e.StepDone(10, 0.1), [c.EndEpoch(0, 10, 80, 0, 0, 0)])
    view.update(read(tmp_path))
    (line,) = view.epoch_lines(final=True)
    assert "  4.0 samples/s  " in line, "8 in 2 s"


def test_warnings_are_shown_as_they_come(tmp_path: Path) -> None:
    view, tail = LiveView(), Tail(tmp_path)
    with Writer(tmp_path) as writer:
        settings = Settings(batch=8, epochs=1)
        writer.header(run="r", settings=settings, policy=Balanced(), parameters=1)
        view.update(tail.lines())
        assert "0 workers joined" in _text(view.render())
        writer.note(0.1, "warning", text="a stranger knocked")
        view.update(tail.lines())
    assert "! a stranger knocked" in _text(view.render())


def test_what_the_watch_says_is_shown_while_it_runs_and_at_the_end(tmp_path: Path) -> None:
    view, tail = LiveView(), Tail(tmp_path)
    with Writer(tmp_path) as writer:
        writer.header(run="r", settings=Settings(batch=8, epochs=1), policy=Balanced(), parameters=1)
        writer.event(0.1, e.StepDone(1, 0.0), [c.Publish(1), c.Warn("learning rate", "the loss rose to 9")])
        writer.flush(0.1)
        view.update(tail.lines())
        assert "! the loss rose to 9" in _text(view.render())
        assert view.new_warnings() == ["the loss rose to 9"]
        assert view.new_warnings() == []
        writer.end(1.0, ok=True, reason="complete")
    summary = summarise(tmp_path)
    assert summary.to_dict()["warnings"] == ("the loss rose to 9",)
    assert summary.startup_s is None
    assert "! the loss rose to 9" in " ".join(_text(render([summary])).split())


def test_the_start_is_split_where_the_slowest_process_lost_its_time(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.header(run="r", settings=Settings(batch=8, epochs=1), policy=Balanced(), parameters=1)
        writer.note(0.5, "start", worker=-1, imports_s=2.0, launched_s=3.5)
        writer.note(1.0, "start", worker=0, imports_s=2.0, probe_s=0.5)
        writer.note(1.5, "start", worker=1, imports_s=2.5, probe_s=0.25)
        for version in (1, 2):
            writer.event(1.0 + version, e.StepDone(version, 0.0), [])
        writer.note(9.0, "start", worker=2, imports_s=60.0, probe_s=1.0)
        writer.end(9.5, ok=True, reason="complete")
    assert summarise(tmp_path).startup_s == {"total": 5.0, "imports": 2.5, "probe": 0.25, "rest": 2.25}
