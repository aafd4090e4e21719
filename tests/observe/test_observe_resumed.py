"""A run whose server was lost, as summary, live view and report show it: all of its parts, and what was lost."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from test_trace_resumed import POSITIONS, twice_lost

from evener.core import commands as c
from evener.core.policies import Asynchronous, Balanced, Policy
from evener.observe import LiveView, render, summarise
from evener.observe.report import tell
from evener.trace import EventLine, HeaderLine, Tail, before, part_path, parts, read, record_path, set_aside, whole

EPOCHS = 3


def text(part: object) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(part)
    return console.export_text()


def applied(folder: Path) -> list[int]:
    """Samples applied, by part."""
    paths = [*(part_path(record_path(folder), number) for number in (1, 2)), folder]
    return [
        sum(said.samples for line in read(path) if isinstance(line, EventLine)
            for said in line.commands if isinstance(said, c.Accumulate))
        for path in paths
    ]  # fmt: skip


@pytest.fixture(params=[Balanced, Asynchronous])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    policy: type[Policy] = request.param
    return twice_lost(tmp_path / "run", policy)


def test_the_summary_says_how_often_it_was_resumed_and_what_was_computed_again(folder: Path) -> None:
    summary = summarise(folder)
    assert summary.resumed == 2
    assert summary.samples == EPOCHS * POSITIONS
    assert summary.recomputed_samples == sum(applied(folder)) - EPOCHS * POSITIONS > 0
    assert (summary.epochs, summary.counted_once) == (EPOCHS, True)
    assert sum(worker.samples for worker in summary.workers) == sum(applied(folder)), "who did what was lost did it"
    assert f"went on twice; {summary.recomputed_samples} samples were computed again" in text(render([summary]))


def test_its_time_is_that_of_all_parts(folder: Path) -> None:
    seconds = []
    for number in (1, 2):
        *_, last = read(part_path(record_path(folder), number))
        seconds.append(last.t)
    summary, last_part = summarise(folder), [line for line in read(folder) if isinstance(line, EventLine)]
    assert summary.total_s == pytest.approx(sum(seconds) + last_part[-1].t, rel=0.05)
    times = [line.t for line in whole(folder)]
    assert times == sorted(times)
    assert [line.t for line in whole(folder) if isinstance(line, HeaderLine)][2] == pytest.approx(sum(seconds))
    assert summary.samples_per_second == pytest.approx(EPOCHS * POSITIONS / summary.total_s)


def test_a_part_alone_is_judged_by_what_was_done_in_it(folder: Path) -> None:
    for number in (1, 2):
        part_path(record_path(folder), number).unlink()
    summary = summarise(folder)
    assert (summary.resumed, summary.recomputed_samples) == (2, 0)
    assert 0 < summary.samples < EPOCHS * POSITIONS


def test_the_report_tells_of_it_too(folder: Path) -> None:
    story = tell(folder)
    assert story.summary.resumed == 2
    assert story.faults.counts["resumed"] == 2
    assert story.seconds == pytest.approx(max(line.t for line in whole(folder)), rel=0.01)
    lost = [cost.states.get("away", 0.0) for cost in story.costs.workers.values()]
    assert len(lost) == 3


def test_who_follows_a_record_goes_on_to_its_next_part(folder: Path, tmp_path: Path) -> None:
    """Whatever is read between a server's end and the next one's beginning, the view comes to the same."""
    files = [*(part_path(record_path(folder), number) for number in (1, 2)), record_path(folder)]
    other = tmp_path / "followed"
    other.mkdir()
    view, tail = LiveView(), Tail(other)
    for number, file in enumerate(files):
        if number:
            assert set_aside(other) == number
            view.update(tail.stream())
        record_path(other).write_bytes(file.read_bytes() + b'{"t":')  # killed while it wrote
        if number != 1:
            view.update(tail.stream())
            view.epoch_lines()
    late = LiveView()
    late.update(before(other))
    late.update(Tail(other).stream())
    assert parts(other) == 2
    for one in (view, late):
        tally, summary = one.tally, summarise(folder)
        assert (tally.resumed, tally.recomputed, tally.contained) == (2, summary.recomputed_samples, summary.samples)
        assert tally.settled == EPOCHS * POSITIONS
        assert not tally.warnings, "half a line at a part's end is no damage"
        assert f"resumed twice, {summary.recomputed_samples} samples again" in text(one.render())
        assert "100%" in text(one.render())


def test_a_server_that_was_lost_before_it_took_a_checkpoint_is_in_the_account_too(folder: Path) -> None:
    """Its part is between the one with the checkpoint and the one that went on from that."""
    record, before_that = record_path(folder), summarise(folder)
    second, third = part_path(record, 2).read_bytes(), record.read_bytes()
    lines = third.splitlines(keepends=True)
    part_path(record, 3).write_bytes(b"".join(lines[: len(lines) // 2]))
    part_path(record, 4).write_bytes(b"")  # and one that did not even begin
    assert part_path(record, 2).read_bytes() == second
    summary = summarise(folder)
    assert summary.counted_once, summary.problems
    assert summary.samples == EPOCHS * POSITIONS
    assert summary.recomputed_samples > before_that.recomputed_samples
