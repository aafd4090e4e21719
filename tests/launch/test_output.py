from __future__ import annotations

from evener.launch._output import QUIET, Lines, only_interrupted, prefixed

TRACEBACK = b"Traceback (most recent call last):\n  File 'a.py', line 1\nValueError: no\n"


def test_lines_are_shown_when_they_are_whole() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntwo\nthr", 0.0) == ["one", "two"]
    assert lines.feed(b"ee\n", 0.0) == ["three"]
    assert lines.end() == []


def test_a_last_line_without_an_end() -> None:
    lines = Lines()
    assert lines.feed(b"no end", 0.0) == []
    assert lines.end() == ["no end"]


def test_a_traceback_is_one_block_however_it_arrives() -> None:
    lines = Lines()
    shown: list[str] = []
    for i, byte in enumerate(b"before\n" + TRACEBACK):
        shown += lines.feed(bytes([byte]), 0.001 * i)
    assert shown == ["before"]
    assert lines.end() == [TRACEBACK.decode().rstrip("\n")]


def test_a_traceback_is_shown_once_it_is_quiet() -> None:
    lines = Lines()
    assert lines.feed(TRACEBACK, 1.0) == []
    assert lines.tick(1.0 + QUIET / 2) == []
    assert lines.tick(1.0 + QUIET) == [TRACEBACK.decode().rstrip("\n")]
    assert lines.feed(b"after\n", 2.0) == ["after"]


def test_a_program_that_goes_on_printing_after_a_traceback_is_not_held_for_ever() -> None:
    lines = Lines()
    now, shown = 0.0, lines.feed(TRACEBACK, 0.0)
    while not shown:
        now += QUIET / 2
        shown = lines.feed(b"and on\n", now)
    assert now < 3.0
    assert shown[0].startswith("Traceback")


def test_a_line_without_end_does_not_fill_memory() -> None:
    lines = Lines()
    assert sum(len(block) for _ in range(100) for block in lines.feed(b"x" * 10_000, 0.0)) > 900_000


def test_of_a_progress_bar_the_last_state_is_shown() -> None:
    assert Lines().feed(b"10%\r20%\r30%\r\n", 0.0) == ["30%"]


def test_bytes_that_are_no_text_are_shown_all_the_same() -> None:
    assert Lines().feed(b"\xff\n", 0.0) == ["�"]


def test_interruption_is_told_from_failure() -> None:
    assert only_interrupted("Traceback (most recent call last):\n  File 'a.py'\nKeyboardInterrupt\n")
    assert not only_interrupted(TRACEBACK.decode())
    assert not only_interrupted("KeyboardInterrupt")


def test_each_line_gets_the_prefix() -> None:
    assert prefixed("[w] ", "a\nb") == "[w] a\n[w] b"
