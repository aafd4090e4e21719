"""A damaged record crashes nobody: every view reads on, or raises a RecordError that names file, line and remedy."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from simulated_records import simulate

from evener.cli import main
from evener.core.policies import Balanced, Stale
from evener.core.state import Settings
from evener.observe import LiveView, render, summarise
from evener.simulation.cluster import Cluster, Host
from evener.trace import BrokenLine, HeaderLine, RecordError, Tail, check, read, replay

HOSTS = (Host(400, repeats=3), Host(200, dies=0.2), Host(100, joins=0.3, declines=4, refused=5))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[list[bytes]]:
    """The lines of two small records with most kinds of lines."""
    folder = tmp_path_factory.mktemp("records")
    made = []
    for policy in (Balanced(bound=2, stale_fraction=0.5), Stale(bound=1)):
        run = simulate(
            folder / policy.name, Cluster(HOSTS, seed=1), Settings(batch=32, epochs=2, workers=2), policy, 100,
            notes={"speeds": [4, 2, 1]}, target=0.7,
        )  # fmt: skip
        made.append((run / "record.jsonl").read_bytes().splitlines(keepends=True))
    return made


# The views --------------------------------------------------------------------------------------------------


def _draw(what: Any) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def _summary(folder: Path) -> None:
    run = summarise(folder)
    _draw(render([run]))
    json.dumps(run.to_dict())


def _live(folder: Path) -> None:
    tail, view = Tail(folder), LiveView()
    try:
        view.update(tail.stream())
    finally:
        tail.close()
    _draw(view.render())
    view.epoch_lines(final=True)
    view.new_warnings()


VIEWS: dict[str, Callable[[Path], object]] = {
    "reader": lambda folder: list(read(folder)),
    "checker": lambda folder: str(check(folder)),
    "replay": lambda folder: str(replay(folder)),
    "summary": _summary,
    "live": _live,
}


def look(folder: Path) -> dict[str, str]:
    """What each view that refuses the record in this folder says."""
    refused = {}
    for name, view in VIEWS.items():
        try:
            view(folder)
        except RecordError as error:
            refused[name] = str(error)
            assert str(folder / "record.jsonl") in refused[name]
    return refused


# Damage -----------------------------------------------------------------------------------------------------

VALUES: list[Any] = [
    *(0, -1, 1, 7, 2**31, 2**53, -(2**53), 2**63, 10**30, 0.5, -1e-300, 1e308, 5e-324, None, True, "", "x"),
    *([], {}, [[]], [[0, 1]], [[5, 2]], [1, 2], "\u202e[/red]\x1b[2J\ud7ff\0", {"type": "Tick"}, [{"type": "Grant"}]),
]
SHAPES = [
    *(b"{}", b"[]", b"3", b"null", b'"t"', b'{"t":1.0}', b'{"t":"now","event":{"type":"Tick"}}', b'{"t":1,"note":3}'),
    *(b"\xff\xfe\0", b"", b"[" * 20_000, b'{"t":0,"event":{"type":"Sneezed"},"commands":[]}', b'{"t":1e999}'),
    b'{"t":1,"note":{"type":"start","worker":0,"imports_s":1,"launched_s":2}}',
    b'{"t":1,"note":{"type":"warning","text":"[/no] [red]markup"}}',
    b'{"t":1,"end":{"ok":false,"reason":"[/no]"}}',
    b'{"t":1,"event":{"type":"Left","worker":0,"reason":"[/no]"},"commands":[]}',
]


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in JSON, containers included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(leaf for key, one in inner for leaf in _leaves(one, (*path, key)))]


def _other_value(draw: st.DrawFn, raw: bytes) -> bytes:
    """One value of a line is another one, or gone."""
    try:
        line = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    paths = [path for path in _leaves(line) if path]
    if not paths:
        return raw
    *path, last = paths[draw(st.integers(0, len(paths) - 1))]
    at = line
    for key in path:
        at = at[key]
    if draw(st.booleans()) or not isinstance(at, dict | list):
        at[last] = draw(st.sampled_from(VALUES))
    else:
        del at[last]
    return json.dumps(line, ensure_ascii=False).encode() + b"\n"


def _other_bytes(draw: st.DrawFn, raw: bytes) -> bytes:
    start = draw(st.integers(0, len(raw)))
    return raw[:start] + draw(st.binary(max_size=5)) + raw[start + draw(st.integers(0, 5)) :]


@st.composite
def damaged(draw: st.DrawFn, lines: list[bytes]) -> bytes:
    """A record through one to four accidents."""
    lines = list(lines)
    for _ in range(draw(st.integers(1, 4))):
        # The header, too, has its accidents, more often than one line of hundreds would.
        at = draw(st.one_of(st.integers(1, len(lines) - 1), st.just(0))) if len(lines) > 1 else 0
        other = draw(st.integers(0, len(lines) - 1))
        match draw(st.sampled_from(("value", "value", "bytes", "drop", "twice", "swap", "shape", "cut", "repeat"))):
            case "value":
                lines[at] = _other_value(draw, lines[at])
            case "bytes":
                lines[at] = _other_bytes(draw, lines[at])
            case "drop":
                del lines[at]
            case "twice":
                lines.insert(other, lines[at])
            case "swap":
                lines[at], lines[other] = lines[other], lines[at]
            case "shape":
                lines.insert(at, draw(st.sampled_from(SHAPES)) + b"\n")
            case "cut":
                lines[at:] = [lines[at][: draw(st.integers(0, len(lines[at])))]]
            case _:
                lines += lines[at:]
        if not lines:
            return b""
    return b"".join(lines)


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_nobody_crashes(records: list[list[bytes]], tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    (folder / "record.jsonl").write_bytes(data.draw(damaged(records[data.draw(st.integers(0, 1))])))
    look(folder)


@settings(max_examples=50, deadline=None)
@given(garbage=st.binary(max_size=300))
def test_garbage_is_no_record(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "garbage"
    folder.mkdir(exist_ok=True)
    (folder / "record.jsonl").write_bytes(garbage)
    refused = look(folder)
    assert refused.keys() >= {"reader", "checker", "replay", "summary"}  # who follows it may wait for more


# What is said -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(records: list[list[bytes]], tmp_path: Path) -> Path:
    (tmp_path / "record.jsonl").write_bytes(b"".join(records[0]))
    return tmp_path


def _damage(folder: Path, number: int, old: str, new: str) -> None:
    file = folder / "record.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    lines[number - 1] = re.sub(old, new, lines[number - 1], count=1)
    file.write_text("".join(lines))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"schema":1', '"schema":7', "schema 7, written by evener"),
        ('"schema":1.*"evener":"[^"]*"', '"schema":7,"evener":"5.0","shape":"other"', "written by evener 5.0"),
        ('"batch":32', '"batch":0', "line 1: no run has batch 0: the header is damaged"),
        ('"epochs":2', '"epochs":-2', "line 1: no run has epochs -2"),
        ('"batch":32', '"batch":"many"', "Expected `int`, got `str` - at `$.header.settings.batch`"),
        ("^.*$", "\u0001\u0002", "is no record of a run"),
    ],
)
def test_a_header_that_cannot_be(folder: Path, old: str, new: str, says: str) -> None:
    _damage(folder, 1, old, new)
    refused = look(folder)
    assert refused.keys() == VIEWS.keys()
    assert all(says in text for text in refused.values()), refused


def test_an_unknown_policy_is_named_with_the_line(folder: Path) -> None:
    _damage(folder, 1, '"name":"balanced"', '"name":"better"')
    refused = look(folder)
    assert refused.keys() == {"checker", "replay", "summary"}
    assert all(f"{folder / 'record.jsonl'}, line 1: the record's policy is 'better'" in one for one in refused.values())


@pytest.mark.parametrize("number", ["1" + "0" * 30, "4503599627370496000", "1099511627776", "1000000000"])
def test_a_number_gone_wrong_takes_no_memory(folder: Path, number: str) -> None:
    lines = (folder / "record.jsonl").read_text().splitlines()
    drawn = next(i for i, line in enumerate(lines, 1) if '"EpochDrawn"' in line)
    _damage(folder, drawn, '"positions":100', f'"positions":{number}')
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not check(folder).counted_once
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 16  # KiB on Linux
    assert "replay" in look(folder) or replay(folder) is not None


def test_a_second_header_is_a_broken_line(folder: Path) -> None:
    file = folder / "record.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:40], lines[0], *lines[40:]]))
    broken = [line for line in read(folder) if isinstance(line, BrokenLine)]
    assert [(line.number, line.why) for line in broken] == [(41, "it is a second header")]
    assert sum(isinstance(line, HeaderLine) for line in Tail(folder).lines()) == 1


def test_the_live_view_tells_of_lines_that_it_cannot_read(folder: Path) -> None:
    _damage(folder, 30, "^", "?")
    view = LiveView()
    view.update(Tail(folder).stream())
    assert any("line 30 of the record cannot be read" in text for text in view.new_warnings())


def test_what_is_cut_short_is_read_up_to_the_break(folder: Path) -> None:
    file = folder / "record.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:60])[:-5])
    assert look(folder) == {}
    run = summarise(folder)
    assert run.counted_once
    assert "cut short in its last line" in run.reason


def test_what_others_wrote_is_no_markup(folder: Path) -> None:
    file = folder / "record.jsonl"
    text = file.read_text().replace('"name":"worker 1"', '"name":"[/gpu]"').replace('"died"', '"[/died]"')
    lines = text.splitlines(keepends=True)
    lines.insert(9, '{"t":0.1,"note":{"type":"warning","text":"[/no] [red]colour"}}\n')
    file.write_text("".join(lines).replace('"test_accuracy"', '"[/accuracy]"'))
    assert look(folder) == {}
    table = _draw(render([summarise(folder)]))
    assert all(word in table for word in ("[/gpu]", "[/died]", "[/no] [red]colour", "[/accuracy]"))


def test_a_core_that_cannot_take_an_event_is_an_error_with_its_line(folder: Path) -> None:
    lines = (folder / "record.jsonl").read_text().splitlines()
    drawn = next(i for i, line in enumerate(lines, 1) if '"EpochDrawn"' in line)
    _damage(folder, drawn, '"epoch":0', '"epoch":5')
    said = look(folder).get("replay") or str(replay(folder))
    assert f"line {drawn}" in said


@pytest.mark.parametrize("verb", ["replay", "watch"])
def test_a_folder_in_place_of_the_record(tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "record.jsonl").mkdir()
    assert main([verb, str(tmp_path)]) == 2
    assert "cannot be read: Is a directory" in capsys.readouterr().err
