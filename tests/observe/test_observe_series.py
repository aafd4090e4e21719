from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from simulated_records import simulate

from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.observe import summarise
from evener.observe.costs import Costs, sentences
from evener.observe.intervals import Interval
from evener.observe.report.story import labels, tell
from evener.observe.series import Bins, Curve
from evener.simulation.cluster import Cluster, Host
from evener.trace import RecordError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cluster = Cluster((Host(pace=400), Host(pace=200, stalls=((1.0, 1.0),)), Host(pace=100, dies=3.0)))
    settings = Settings(batch=64, epochs=3, workers=3)
    return simulate(tmp_path_factory.mktemp("runs") / "one", cluster, settings, Balanced(), 640, target=0.7)


def test_bins_lose_nothing_however_long_it_goes_on() -> None:
    bins = Bins(2, bins=8, width=0.5)
    for number in range(1000):
        bins.add(0.37 * number, 0, 2.0)
        bins.spread(0.37 * number, 0.37 * number + 0.5, 1)
    assert sum(bins.of(0)) == 2000
    assert sum(bins.of(1)) == pytest.approx(500)
    assert len(bins.of(0)) <= 8
    assert bins.width * 8 >= 370


def test_a_curve_keeps_its_newest_point_and_few_others() -> None:
    curve = Curve(most=10)
    for number in range(5000):
        curve.add(number, -number)
    points = curve.points
    assert points[0] == (0, 0)
    assert points[-1] == (4999, -4999)
    assert 5 <= len(points) <= 11


def test_series_add_up_to_what_the_summary_says(folder: Path) -> None:
    story, summary = tell(folder), summarise(folder)
    assert story.summary == summary
    assert sum(story.series.flow.of(0)) == summary.samples
    assert sum(story.series.flow.of(1)) / summary.samples == pytest.approx(summary.stale_fraction)
    assert sum(story.tally.staleness.values()) == summary.samples
    assert 1 - story.tally.staleness[0] / summary.samples == pytest.approx(summary.stale_fraction)
    for worker in summary.workers:
        bins = story.series.workers.get(worker.worker)
        assert (sum(bins.of(0)) if bins else 0) == worker.samples
    logged = [point[2] for point in story.series.logged["server", "test_accuracy"].points]
    assert logged == pytest.approx([0.6, 0.8, 1 - 0.4 / 3])


def test_costs_agree_with_the_summary(folder: Path) -> None:
    story = tell(folder)
    for worker in story.summary.workers:
        assert worker.busy_fraction is not None
        cost = story.costs.workers[worker.worker]
        assert cost.part("computing") + cost.part("stalled") == pytest.approx(worker.busy_fraction, abs=0.03)
    assert story.costs.workers[1].states["stalled"] >= 1.0
    assert story.faults.counts["left"] == 1


def test_the_words_name_who_held_a_worker_up_and_what_it_cost() -> None:
    costs = Costs()
    costs.add([Interval(2, 0, 7, "computing", samples=700), Interval(2, 7, 8, "transferring", "parameters")])
    costs.add([Interval(2, 8, 9.5, "waiting", "step", by=3), Interval(2, 9.5, 10, "waiting", "ticket", by=1)])
    said = " ".join(sentences(costs.workers[2]))
    assert "waited 20% of its time" in said
    assert "for parameters held up by worker 3" in said
    assert "10%" in said
    assert "300 samples" in said


def test_a_broken_record_is_told_up_to_the_break(folder: Path, tmp_path: Path) -> None:
    raw = (folder / "record.jsonl").read_bytes()
    (tmp_path / "record.jsonl").write_bytes(raw[: len(raw) // 2])
    story = tell(tmp_path)
    assert story.faults.broken is not None
    assert story.faults.broken[0] == raw[: len(raw) // 2].count(b"\n") + 1
    assert story.accounting.truncated
    assert not story.summary.ok
    assert 0 < story.summary.samples < 1920


def test_no_record_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="there is no record at"):
        tell(tmp_path)


def test_labels_tell_runs_apart() -> None:
    assert labels([Path("/x/a/run"), Path("/x/b/run"), Path("/x/b/other")]) == ["a/run", "b/run", "b/other"]


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_record_never_crashes_the_reader(folder: Path, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lines = (folder / "record.jsonl").read_bytes().split(b"\n")[:300]
    for _ in range(chance.randint(1, 6)):
        at, to = chance.randrange(1, len(lines)), chance.randrange(1, len(lines))
        match chance.randrange(4):
            case 0:
                del lines[at]
            case 1:
                lines.insert(to, lines[at])
            case 2:
                lines[at], lines[to] = lines[to], lines[at]
            case _:
                lines[at] = re.sub(rb"\d+", lambda found: chance.choice([b"0", b"7", b"99999", found[0]]), lines[at])
    (tmp_path / "record.jsonl").write_bytes(b"\n".join(lines))
    assert tell(tmp_path).lines > 1
