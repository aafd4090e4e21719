"""Writer, readers and schema: what is written comes back, however the file ends."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, get_args

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import POLICIES, Balanced, Synchronous
from evener.core.state import Settings
from evener.trace import (
    BrokenLine,
    EndLine,
    EventLine,
    HeaderLine,
    NoteLine,
    PolicyUsed,
    Rates,
    RecordError,
    Tail,
    WarningNote,
    Writer,
    describe,
    read,
    read_limit,
    rebuild,
    write_limit,
)
from evener.trace.codec import decode_line

SETTINGS = Settings(batch=64, epochs=2, workers=3, drop_last=True, seed=7)

EVENTS: list[e.Event] = [
    e.Joined(1, 2, 33.25, 3),
    e.Joined(1, pace=None),
    e.Left(1, 'cut "off" \n over'),
    e.EpochDrawn(0, 640),
    e.Started(1, 2, 3),
    e.Computed(1, 2, 0.1 + 0.2),
    e.Arrived(1, 2, (3, 4), (5, 6), 48.0, "not finite"),
    e.Arrived(1, 3, (5,), (6,), 16.0, norm=0.1 + 0.2, loss=-1 / 3),
    e.Declined(1, 2),
    e.Released(1, 2),
    e.Received(1, 2),
    e.StepDone(1, 1e-7),
    e.SnapshotTaken(0),
    e.StopAsked("enough"),
    e.Tick(),
]

COMMANDS: list[c.Command] = [
    c.DrawEpoch(0),
    c.Grant(1, 2, 0, 3, 4, ((0, 16), (32, 48)), 5),
    c.Revoke(1, 2),
    c.Accumulate(1, 2, 3, 48, 1 / 3, 1),
    c.Discard(1, 2, "why", 3, True),
    c.Step(1, 2, 64, 1.0, 0.25, 1),
    c.Publish(2),
    c.EndEpoch(0, 9, 1, 2, 3, 4),
    c.Finish("complete", True),
    c.SitOut(1, "slow"),
    c.Hold(1, 2),
    c.Planned(3, 1, (0, 2), 51.2),
    c.Warn("staleness", "the loss \u2026"),
    c.Moved(1, 2),
    c.Returned(1, "left"),
    c.Dropped(0, ((1, 2),)),
]


def _writer(folder: Path) -> Writer:
    writer = Writer(folder)
    notes = {"speeds": [2, 1]}
    writer.header(run="r", settings=SETTINGS, policy=Balanced(bound=2), parameters=5, notes=notes)
    return writer


def test_every_event_and_command_comes_back(tmp_path: Path) -> None:
    assert {type(event) for event in EVENTS} == set(get_args(e.Event))
    assert {type(command) for command in COMMANDS} == set(get_args(c.Command))
    t = 0.1
    with _writer(tmp_path) as writer:
        for event in EVENTS:
            writer.event(t, event, COMMANDS)
            t = math.nextafter(t, 1)
    header, *lines = read(tmp_path)
    assert isinstance(header, HeaderLine)
    assert header.header.settings == SETTINGS
    assert header.header.policy == PolicyUsed("balanced", {"bound": 2, "stale_fraction": 0.05, "look_ahead": False})
    assert header.header.notes == {"speeds": [2, 1]}
    times = [0.1]
    for event, line in zip(EVENTS, lines, strict=True):
        assert line == EventLine(times[-1], event, COMMANDS)
        times.append(math.nextafter(times[-1], 1))


def test_every_line_is_plain_json(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        writer.event(1.0, e.Tick(), [])
        writer.note(1.0, "target", name="acc", value=0.9, reached=0.91, at=0.5)
        writer.end(2.0, ok=True, reason="complete", server_cpu_s=0.5, workers_cpu_s={0: 1.5}, parameters_sha256="ab")
    cpu = {"server_cpu_s": 0.5, "workers_cpu_s": {"0": 1.5}}
    end = {"ok": True, "reason": "complete", **cpu, "parameters_sha256": "ab"}
    header, *rest = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert header["header"]["schema"] == 1
    assert rest == [
        {"t": 1.0, "event": {"type": "Tick"}, "commands": []},
        {"t": 1.0, "note": {"type": "target", "name": "acc", "value": 0.9, "reached": 0.91, "at": 0.5}},
        {"t": 2.0, "end": end},
    ]


def test_a_value_that_is_not_finite_comes_back_as_none(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        writer.note(1.0, "log", epoch=0, version=1, samples=2, at=0.5, values={"loss": math.nan, "acc": 0.5})
    note = list(read(tmp_path))[1]
    assert isinstance(note, NoteLine)
    assert note.note.values == {"loss": None, "acc": 0.5}  # type: ignore[union-attr]


def test_a_note_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        with pytest.raises(ValueError, match="valid are log, target, worker, start, checkpoint, kept, warning"):
            writer.note(1.0, "rumour", text="x")
        with pytest.raises(ValueError, match="text"):
            writer.note(1.0, "warning", words="x")
        writer.note(1.0, WarningNote(text="mind"))
    assert list(read(tmp_path))[1:] == [NoteLine(1.0, WarningNote(text="mind"))]


def test_a_record_is_never_overwritten(tmp_path: Path) -> None:
    _writer(tmp_path).close()
    with pytest.raises(FileExistsError, match="Choose another folder"):
        _writer(tmp_path)


def test_nothing_follows_the_end(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        writer.end(1.0, ok=False, reason="interrupted")
        writer.event(1.5, e.Left(0, "late"), [])
    assert isinstance(list(read(tmp_path))[-1], EndLine)


def test_a_header_comes_first(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="header"):
        Writer(tmp_path).event(0.0, e.Tick(), [])


def test_lines_reach_the_file_as_time_passes(tmp_path: Path) -> None:
    writer, tail = _writer(tmp_path), Tail(tmp_path)
    assert len(tail.lines()) == 1
    writer.event(0.05, e.Tick(), [])
    assert tail.lines() == []
    writer.event(0.25, e.Tick(), [])
    assert [line.t for line in tail.lines()] == [0.05, 0.25]
    writer.event(0.26, e.Tick(), [])
    writer.note(0.27, "warning", text="at once")
    assert [line.t for line in tail.lines()] == [0.26, 0.27]
    writer.close()
    assert tail.lines() == []
    tail.close()


def test_a_tail_waits_for_whole_lines_and_for_the_file(tmp_path: Path) -> None:
    with _writer(tmp_path / "whole") as writer:
        writer.event(1.0, EVENTS[2], COMMANDS)
    whole = (tmp_path / "whole" / "record.jsonl").read_bytes()
    tail = Tail(tmp_path)
    assert tail.lines() == []
    seen = []
    with (tmp_path / "record.jsonl").open("wb", buffering=0) as file:
        for byte in range(0, len(whole), 7):
            file.write(whole[byte : byte + 7])
            seen += tail.lines()
    assert seen == list(read(tmp_path / "whole"))


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_truncated_last_line_is_reported(tmp_path: Path, cut: int) -> None:
    with _writer(tmp_path) as writer:
        writer.event(1.0, EVENTS[0], [])
        writer.event(2.0, EVENTS[1], COMMANDS)
    file = tmp_path / "record.jsonl"
    file.write_bytes(file.read_bytes()[: -1 - cut])
    *lines, last = read(file)
    assert len(lines) == 2
    assert isinstance(last, BrokenLine)
    assert last.truncated
    assert last.number == 3


def test_an_unreadable_line_in_the_middle_does_not_stop_the_reader(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        writer.event(1.0, EVENTS[0], [])
    with (tmp_path / "record.jsonl").open("ab") as file:
        file.write(b'{"t":1.5,"event":{"type":"Sneezed","worker":1}}\n{"t":1.6}\n\xff\n')
    with Writer(tmp_path / "x") as more:
        more.header(run="r", settings=SETTINGS, policy=Balanced(), parameters=1)
    broken = [line for line in read(tmp_path) if isinstance(line, BrokenLine)]
    assert [line.number for line in broken] == [3, 4, 5]
    assert not any(line.truncated for line in broken)
    assert "Sneezed" in broken[0].why


def test_unknown_fields_are_ignored() -> None:
    line = decode_line(b'{"t":1,"event":{"type":"Tick","mood":3},"commands":[],"more":{}}\n', 2)
    assert line == EventLine(1.0, e.Tick(), [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no record at"),
        (b"", "is empty"),
        (b"hello\n", "first line is no header"),
        (b'{"t":0,"hea', "ends within its first line"),
        (b'{"t":0,"event":{"type":"Tick"},"commands":[]}\n', "first line is no header"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "record.jsonl").write_bytes(content)
    with pytest.raises(RecordError, match=message):
        list(read(tmp_path))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    _writer(tmp_path).close()
    file = tmp_path / "record.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"schema":1', b'"schema":2'))
    for reader in (lambda: list(read(tmp_path)), Tail(tmp_path).lines):
        with pytest.raises(RecordError, match=r"schema 2.*reads schema 1"):
            reader()


def test_policies_are_described_and_rebuilt() -> None:
    for cls in POLICIES.values():
        assert describe(rebuild(describe(cls()))) == describe(cls())
    assert describe(Synchronous()) == PolicyUsed("synchronous", {})
    with pytest.raises(RecordError, match="knows asynchronous, balanced, delayed"):
        rebuild(PolicyUsed("chaotic"))
    with pytest.raises(RecordError, match="options of balanced"):
        rebuild(PolicyUsed("balanced", {"colour": 1}))
    with pytest.raises(RecordError, match="bound must be"):
        rebuild(PolicyUsed("balanced", {"bound": -1}))


def test_the_limit_is_the_sum_of_the_best(tmp_path: Path) -> None:
    write_limit(tmp_path / "limit", [Rates(1, {8: 10.0, 16: 30.0, 32: 20.0}), Rates(0, {8: 100.0})])
    limit = read_limit(tmp_path / "limit")
    assert limit.samples_per_second == 130.0
    assert [rates.worker for rates in limit.rates] == [0, 1]
    assert read_limit(tmp_path / "limit" / "limit.json") == limit
    assert json.loads((tmp_path / "limit" / "limit.json").read_text())["rates"][1]["sizes"]["16"] == 30.0


def test_a_missing_or_broken_limit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no measurement of the limit"):
        read_limit(tmp_path)
    (tmp_path / "limit.json").write_text("{}")
    with pytest.raises(RecordError, match="rates"):
        read_limit(tmp_path)


def test_a_full_disk_stops_nothing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a disk did not take, it gets when there is room again: each line once, and in order."""
    writer = Writer(tmp_path)
    writer.header(run="r1", settings=Settings(batch=32, epochs=1), policy=Balanced(), parameters=10)
    file = writer._file
    assert file is not None

    class Full:
        room = 10

        def write(self, data: bytes) -> int:
            if not self.room:
                raise OSError(28, "No space left on device")
            taken, self.room = data[: self.room], 0
            return file.write(taken)

        def close(self) -> None:
            file.close()

    full: Any = Full()
    monkeypatch.setattr(writer, "_file", full)
    for number in range(50):
        writer.note(float(number), "warning", text=f"warning {number}")
    assert len(caplog.messages) == 1
    assert "No space left on device" in caplog.messages[0]
    monkeypatch.setattr(writer, "_file", file)
    writer.end(50.0, ok=True, reason="complete")
    writer.close()
    _, *notes, end = read(tmp_path)
    assert [line.note.text for line in notes] == [f"warning {number}" for number in range(50)]
    assert end.end.ok
