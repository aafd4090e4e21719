"""A record whose disk hangs: nobody waits for it, what it takes in the end is whole, and what is lost is said."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.trace import BrokenLine, EndLine, NoteLine, Writer, read, record_path

SETTINGS = Settings(batch=64, epochs=2)


class Hangs:
    """A disk that takes nothing until it is let go; then all, in order."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.asked = threading.Event()
        self.go = threading.Event()

    def write(self, data: bytes) -> int:
        self.asked.set()
        assert self.go.wait(60)
        return int(self.file.write(data))

    def fileno(self) -> int:
        return int(self.file.fileno())

    def close(self) -> None:
        self.file.close()


def _behind(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Writer, Hangs]:
    """A writer with a thread whose disk hangs after the header."""
    writer = Writer(folder, behind=True)
    writer.header(run="r1", settings=SETTINGS, policy=Balanced(), parameters=10)
    disk: Any = Hangs(writer._file)
    monkeypatch.setattr(writer, "_file", disk)
    return writer, disk


def _texts(folder: Path) -> list[str]:
    return [line.note.text for line in read(folder) if isinstance(line, NoteLine)]


def test_a_disk_that_hangs_holds_nobody_up_and_costs_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, disk = _behind(tmp_path, monkeypatch)
    for t in range(40):
        writer.note(float(t), "warning", text=f"warning {t}")
    assert disk.asked.wait(60)
    for t in range(40, 100):
        writer.note(float(t), "warning", text=f"warning {t}")
    assert _texts(tmp_path) == []
    assert writer.failing, "who warns must know that nobody reads it there"
    (told,) = caplog.messages
    assert "the disk hangs" in told
    assert "training goes on" in told
    disk.go.set()
    writer.flush(100.0, within=60.0)
    assert _texts(tmp_path) == [f"warning {t}" for t in range(100)]
    assert not writer.failing
    assert "is written again" in caplog.messages[-1]
    writer.end(101.0, ok=True, reason="complete")
    writer.close()
    assert isinstance(list(read(tmp_path))[-1], EndLine)
    assert len(caplog.messages) == 2


def test_a_disk_that_is_only_slow_for_a_moment_is_not_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor one that had no time to answer, as this process was stopped for an hour between two lines."""
    writer, disk = _behind(tmp_path, monkeypatch)
    disk.go.set()
    writer.note(1.0, "warning", text="before")
    writer.flush(1.0, within=60.0)
    writer.note(3601.0, "warning", text="after")
    writer.close()
    assert _texts(tmp_path) == ["before", "after"]
    assert caplog.messages == []


def test_a_record_that_cannot_wait_any_longer_says_where_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("evener.trace.writer.KEPT", 1000)
    writer, disk = _behind(tmp_path, monkeypatch)
    for t in range(100):
        writer.note(float(t), "warning", text=f"warning {t}")
    assert writer.failing
    assert len([told for told in caplog.messages if "The record ends here" in told]) == 1
    disk.go.set()
    writer.end(100.0, ok=True, reason="complete")
    writer.close()
    *kept, last = _texts(tmp_path)
    assert kept == [f"warning {t}" for t in range(len(kept))]
    assert 5 < len(kept) < 50
    assert "The record ends here" in last
    assert not any(isinstance(line, EndLine | BrokenLine) for line in read(tmp_path)), "it is not whole, and says so"


def test_a_record_is_closed_without_a_disk_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, disk = _behind(tmp_path, monkeypatch)
    writer.end(1.0, ok=True, reason="complete")
    writer.close(within=0.01)
    assert "lacks its last" in caplog.messages[-1]
    disk.go.set()
    assert writer._thread is not None
    writer._thread.join(60)
    assert isinstance(list(read(tmp_path))[-1], EndLine), "better late than never"


def test_a_checkpoint_waits_until_the_disk_has_what_was_written_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a run could go on from a checkpoint of which the record of the server that was lost knows nothing."""
    writer, disk = _behind(tmp_path, monkeypatch)
    writer.note(1.0, "warning", text="before")
    assert disk.asked.wait(60)
    writer.note(1.0, "checkpoint", number=1, version=3, copy_s=0.0)
    synced: list[int] = []
    checkpointing = threading.Thread(target=lambda: (writer.sync(), synced.append(len(list(read(tmp_path))))))
    checkpointing.start()
    assert not synced
    disk.go.set()
    checkpointing.join(60)
    assert synced == [3]
    writer.close()


def test_a_thread_of_its_own_writes_the_same_bytes(tmp_path: Path) -> None:
    for behind in (False, True):
        with Writer(tmp_path / str(behind), behind=behind) as writer:
            writer.header(run="r", settings=SETTINGS, policy=Balanced(), parameters=5, created="then")
            for number in range(3000):
                writer.event(number / 7, e.Started(0, number, 3), [c.Publish(number), c.Discard(1, 2, "why", 3, True)])
            writer.end(1000.0, ok=True, reason="complete")
    one, other = (record_path(tmp_path / str(behind)).read_bytes() for behind in (False, True))
    assert one == other
    assert len(one) > 1 << 17
