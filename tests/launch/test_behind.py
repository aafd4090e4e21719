"""A screen that takes nothing: the processes of a run go on, and what was left out is said."""

from __future__ import annotations

import os
import selectors
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from evener.launch import behind
from evener.launch.behind import Behind

from .conftest import FINISHED, Kept, Launcher

PATIENCE = 20.0
"""Seconds."""

LINES = 5000

CHATTY = f"""
if server: record('{FINISHED}')
for number in range({LINES}): print(role, number, 40 * ".", flush=True)
if server: let("printed")
"""


def test_who_prints_where_nobody_reads_goes_on(launcher: Callable[..., Launcher], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "printed")
    gate = os.open(tmp_path / "printed", os.O_RDONLY | os.O_NONBLOCK)
    run = launcher(CHATTY, "--workers", "1")  # its output goes into pipes, each of which takes a fifth of this
    with selectors.DefaultSelector() as waiting:
        waiting.register(gate, selectors.EVENT_READ)
        assert waiting.select(PATIENCE), "the server has printed all, and could train"
    os.close(gate)
    out, err = run.process.communicate(timeout=PATIENCE)
    assert run.process.returncode == 0, err
    for role, prefix in (("server", ""), ("worker", "[worker 0] ")):
        said = [line for line in out.splitlines() if line.startswith(f"{prefix}{role} ")]
        assert [int(line.removeprefix(prefix).split()[1]) for line in said] == list(range(LINES)), "and nothing is lost"


class Paused(Kept):
    """Takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.goes_on = threading.Event(), threading.Event()

    def show(self, text: str, error: bool) -> None:
        self.asked.set()
        assert self.goes_on.wait(PATIENCE)
        super().show(text, error)


def test_what_nobody_takes_is_left_out_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(behind, "KEPT", 10)
    monkeypatch.setattr(behind, "STUCK", 0.1)
    screen = Paused()
    shown = Behind(screen)
    for _ in range(5):
        shown.show("a line of 21 letters.", False)
    assert screen.asked.wait(PATIENCE)
    screen.goes_on.set()
    shown.finish()
    shown.note("after")
    shown.finish()
    assert screen.out == ["a line of 21 letters."]
    assert screen.notes == ["4 lines are left out here: nobody took them.", "after"]


def test_the_last_refresh_comes_after_all_that_was_shown() -> None:
    screen = Paused()
    shown = Behind(screen)
    shown.follow(Path("record.jsonl"))
    shown.show("one", False)
    for _ in range(3):
        shown.tick()
    screen.goes_on.set()
    shown.unfollow()
    assert (screen.followed, screen.out, screen.ended) == ([Path("record.jsonl")], ["one"], True)
    assert screen.ticks == 1, "what is still to be done is not asked for again"


def test_who_asks_again_to_end_waits_for_no_terminal() -> None:
    screen, asked = Paused(), iter((1, 1, 2))
    shown = Behind(screen, lambda: next(asked))
    shown.show("one", False)
    shown.finish()
    assert screen.out == []
    screen.goes_on.set()


def test_what_goes_wrong_with_a_screen_is_told_to_who_shows() -> None:
    class Closed(Kept):
        def note(self, text: str) -> None:
            raise BrokenPipeError

    shown = Behind(Closed())
    shown.note("one")
    with pytest.raises(BrokenPipeError):
        shown.finish()
    with pytest.raises(BrokenPipeError):
        shown.show("two", False)
