"""Checkpoints are written beside training: a disk that fails or hangs is told of, seldom, and stops nothing."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

from evener.runtime.keeping import Keeper
from evener.runtime.scribe import QUIET, Scribe
from evener.runtime.sealed import Body


class Disk(Keeper):
    """Fails when told to, and hangs until it is let go."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.full = False
        self.go = threading.Event()
        self.go.set()

    def write(self, number: int, head: bytes, body: Body) -> Path:
        self.go.wait()
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(number, head, body)


def made() -> tuple[bytes, Body]:
    return b"{}", lambda out: out.write(b"body")


class Told:
    def __init__(self, folder: Path) -> None:
        self.now = 0.0
        self.texts: list[str] = []
        self.disk = Disk(folder)
        self.scribe = Scribe(self.disk, self.texts.append, clock=lambda: self.now)

    def write(self, number: int) -> None:
        self.scribe.write(number, made)
        assert self.scribe.wait(20.0)


def test_a_full_disk_is_told_of_once_in_a_while_and_when_it_is_over(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.disk.full = True
    for number in range(1, 6):
        told.write(number)
    assert len(told.texts) == 1
    assert "checkpoint 1 could not be written" in told.texts[0]
    assert "No space left on device" in told.texts[0]
    assert "training goes on" in told.texts[0]
    told.now = QUIET
    told.write(6)
    assert len(told.texts) == 2
    told.disk.full = False
    told.write(7)
    assert told.texts[2:] == ["checkpoints are written again: number 7 is whole."]
    assert told.scribe.written == 7
    told.disk.full = True
    told.write(8)
    assert len(told.texts) == 4, "another time it is full is news"


def test_a_disk_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    told = Told(tmp_path)
    told.disk.go.clear()
    told.scribe.write(1, made)
    assert told.scribe.busy
    assert not told.scribe.wait(0.0)
    told.scribe.late()
    told.scribe.late()
    assert len(told.texts) == 1
    assert "left out" in told.texts[0]
    told.disk.go.set()
    assert told.scribe.wait(20.0)
    assert told.scribe.written == 1


def test_what_cannot_be_made_into_bytes_is_told_of_too(tmp_path: Path) -> None:
    told = Told(tmp_path)

    def fails(out: object) -> None:
        raise TypeError("no bytes")

    told.scribe.write(1, lambda: (b"{}", fails))
    assert told.scribe.wait(20.0)
    assert "no bytes" in told.texts[0]
    assert not list(tmp_path.iterdir()), "what was begun is gone"
