from __future__ import annotations

from pathlib import Path

import pytest

from evener.cli import main


@pytest.fixture
def folder(stand_in: Path, capfd: pytest.CaptureFixture[str]) -> Path:
    """The folder of a run."""
    assert main(["run", str(stand_in), "--workers", "2", "--record", "one"]) == 0
    capfd.readouterr()
    return Path("one")


def _edit(folder: Path, old: str, new: str) -> None:
    file = folder / "record.jsonl"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def _replay(folder: Path, capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["replay", str(folder)])
    out, err = capfd.readouterr()
    assert not (out and err)
    return code, out + err


def test_a_run_that_replays(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, said = _replay(folder, capfd)
    lines = (folder / "record.jsonl").read_text().splitlines()
    events = sum('"event":' in line for line in lines)
    assert code == 0
    assert said.startswith(f"{events} events bring the same ")
    assert "a run under balanced, replayed in" in said
    assert len(said.splitlines()) == 1
    assert _replay(folder / "record.jsonl", capfd)[0] == 0


def test_the_first_command_that_differs_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _edit(folder, '"type":"Publish","version":3', '"type":"Publish","version":4')
    code, said = _replay(folder, capfd)
    number = next(i for i, line in enumerate((folder / "record.jsonl").open(), 1) if '"Publish","version":4' in line)
    assert code == 1
    assert f"one differs: line {number}, event " in said
    assert "the record says Publish(version=4), the replay Publish(version=3)" in said
    assert "written by" not in said
    _edit(folder, '"evener":"', '"evener":"9.')
    assert "replay it with the version that wrote it" in _replay(folder, capfd)[1]


def test_a_record_without_its_end(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = folder / "record.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:40]))
    code, said = _replay(folder, capfd)
    assert code == 0
    assert "The record has no end" in said
    file.write_bytes(b"".join(lines[:40]) + lines[40][:-9])
    code, said = _replay(folder, capfd)
    assert code == 0
    assert "cut short in line 41" in said


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"type":"Joined"', '"type":"Sneezed"', "one/record.jsonl, line "),
        ('"schema":1', '"schema":2', "schema 2"),
        ('"name":"balanced"', '"name":"best"', "line 1: the record's policy is 'best'"),
        ('"header"', '"footer"', "first line is no header"),
    ],
)
def test_what_cannot_be_replayed(
    folder: Path, old: str, new: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _edit(folder, old, new)
    code, said = _replay(folder, capfd)
    assert code == 2
    assert said.startswith("evener replay: error: one/record.jsonl")
    assert says in said


def test_there_is_no_record(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, said = _replay(tmp_path / "nowhere", capfd)
    assert code == 2
    assert "there is no record at" in said
