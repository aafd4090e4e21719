"""Scalars for TensorBoard, read back from the event file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path

import pytest
from simulated_records import simulate
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.observe import summarise
from evener.observe.tensorboard import Board
from evener.simulation.cluster import Cluster, Host
from evener.trace import HeaderLine, Line, LogNote, NoteLine, read

HOSTS = (Host(pace=2400), Host(pace=1200), Host(pace=300, dies=6.0))
SETTINGS = Settings(batch=256, epochs=16, workers=3)

Scalars = dict[str, list[tuple[float, int, float]]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return simulate(tmp_path / "run", Cluster(HOSTS, seed=3), SETTINGS, Balanced(), 3001)


def written(folder: Path, lines: list[Line], at_once: int) -> Scalars:
    """What is in the event file after the board was fed so many lines at once."""
    board = Board(folder)
    rest: Iterator[Line] = iter(lines)
    while some := list(islice(rest, at_once)):
        board.update(some)
    board.close()
    return read_back(folder)


def read_back(folder: Path) -> Scalars:
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return {
        tag: [(one.wall_time, one.step, float(one.tensor_proto.float_val[0])) for one in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }


def test_what_was_logged_is_over_samples_and_over_time(run: Path, tmp_path: Path) -> None:
    lines = list(read(run))
    header = lines[0]
    assert isinstance(header, HeaderLine)
    scalars = written(tmp_path / "board", lines, 100)
    notes = [line.note for line in lines if isinstance(line, NoteLine) and isinstance(line.note, LogNote)]
    for source, name in ("server", "test_accuracy"), ("workers", "loss"):
        logs = [note for note in notes if note.source == source]
        points = scalars[f"{source}/{name}"]
        assert [step for _, step, _ in points] == [log.samples for log in logs]
        assert [value for *_, value in points] == pytest.approx([log.values[name] for log in logs], rel=1e-6)
        gaps = [one - points[0][0] for one, *_ in points]
        assert gaps == pytest.approx([log.at - logs[0].at for log in logs], abs=1e-5)
    begun = scalars["server/test_accuracy"][0][0] - notes[0].at
    assert begun == pytest.approx(datetime.fromisoformat(header.header.created).timestamp(), abs=1e-3)


def test_throughput_and_workers_add_up_to_the_summary(run: Path, tmp_path: Path) -> None:
    summary = summarise(run)
    scalars = written(tmp_path / "board", list(read(run)), 100)
    points = scalars["run/samples_per_second"]
    assert len(points) > 5
    assert points[-1][1] == summary.samples
    first = next(line.t for line in read(run) if "Grant(" in str(line))
    times = [first, *(at - (points[-1][0] - list(read(run))[-1].t) for at, *_ in points)]
    applied = sum(rate * (b - a) for (*_, rate), a, b in zip(points, times, times[1:], strict=False))
    assert applied == pytest.approx(summary.samples, rel=1e-3)
    stale = scalars["run/stale_fraction"]
    steps = [0, *(step for _, step, _ in stale)]
    counted = sum(part * (b - a) for (*_, part), a, b in zip(stale, steps, steps[1:], strict=False))
    assert counted / summary.samples == pytest.approx(summary.stale_fraction, abs=1e-4)
    for worker in summary.workers:
        share = scalars[f"worker_{worker.worker}/share"]
        counted = sum(part * (b - a) for (*_, part), a, b in zip(share, steps, steps[1:], strict=False))
        assert counted == pytest.approx(worker.samples, rel=1e-3)
        assert scalars[f"worker_{worker.worker}/pace"][2][2] == pytest.approx(HOSTS[worker.worker].pace, rel=0.2)
        assert all(0 <= busy <= 1 for *_, busy in scalars[f"worker_{worker.worker}/busy"])
    # Who has gone is busy no more, and nothing is said of it.
    assert len(scalars["worker_2/busy"]) < len(scalars["worker_0/busy"])


def test_it_does_not_matter_how_the_lines_come(run: Path, tmp_path: Path) -> None:
    lines = list(read(run))
    one = written(tmp_path / "one", lines, 1)
    assert one == written(tmp_path / "all", lines, len(lines))


def test_what_is_not_finite_is_written_so(run: Path, tmp_path: Path) -> None:
    log = LogNote(epoch=0, version=1, samples=256, at=0.5, values={"loss": None})
    ((_, step, value),) = written(tmp_path / "board", [next(iter(read(run))), NoteLine(0.5, log)], 1)["server/loss"]
    assert step == 256
    assert math.isnan(value)


def test_a_long_run_has_a_bounded_number_of_points(tmp_path: Path) -> None:
    slow = Cluster((Host(pace=1.0),), seed=1)
    day = simulate(tmp_path / "run", slow, Settings(batch=16, epochs=1), Balanced(), 40_000)
    points = written(tmp_path / "board", list(read(day)), 1000)["run/samples_per_second"]
    assert 1000 < len(points) < 5500


def test_who_reads_along_sees_each_update(run: Path, tmp_path: Path) -> None:
    lines = list(read(run))
    board = Board(tmp_path)
    board.update(lines[: len(lines) // 2])
    before = len(read_back(tmp_path)["run/samples_per_second"])
    board.update(lines[len(lines) // 2 :])
    assert 0 < before < len(read_back(tmp_path)["run/samples_per_second"])
    board.close()
