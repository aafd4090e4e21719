"""The benchmark of the simulator, at a size that takes no time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.simulator import gradients
from benchmarks.simulator.__main__ import bounds, main, scale
from benchmarks.simulator.gradients import Cost
from benchmarks.simulator.measure import Cell, simulate
from benchmarks.simulator.report import read


def test_a_cell_ends_when_it_has_enough() -> None:
    result = simulate(Cell("synchronous", 4, 256, contributions=400))
    assert 400 <= result.contributions < 1000
    assert 0.2 < result.utilisation < 0.3
    assert result.stale == 0.0
    assert result.microseconds > 0


def test_a_cell_ends_when_its_steps_are_made_or_its_time_is_over() -> None:
    assert 5 <= simulate(Cell("synchronous", 4, 256, steps=5)).steps < 100
    assert simulate(Cell("synchronous", 4, 256, budget=0.0)).contributions < 1000


def test_batches_grow_with_the_workers_or_stay() -> None:
    cells = scale(["balanced", "asynchronous"], [4, 64], budget=1.0)
    assert [(cell.workers, cell.batch) for cell in cells if cell.policy == "balanced"] == [
        (4, 256),
        (4, 4096),
        (64, 4096),
    ]
    assert {cell.steps // cell.workers for cell in cells if cell.policy == "asynchronous"} == {23}


def test_the_first_steps_do_not_count() -> None:
    result = simulate(Cell("synchronous", 4, 256, steps=80, warm=30))
    assert 30 <= result.counted <= 60
    assert result.counted < result.steps


def test_what_bounds_a_policy_is_left_out_one_by_one() -> None:
    cells = bounds(["synchronous"], [4], budget=5.0)
    assert [cell.without for cell in cells[:6]] == ["", "noise", "transfers", "overhead", "steps", "all"]
    found = {cell.without: simulate(cell).utilisation for cell in cells if cell.batch == 256}
    assert max(found, key=lambda name: found[name]) == "all"
    assert found["transfers"] > found[""]
    assert found["all"] == pytest.approx(4 * 100 / 1500, rel=1e-3)  # all wait for the slowest, and for nothing else


def test_the_page_and_its_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cost = Cost("synchronous", 1600, seconds=10.5, gradients=10.0, count=900, mean=16.0)
    monkeypatch.setattr(gradients, "measure", lambda policy, batch: cost)  # the real one takes a minute and a half
    words = ["--policies", "synchronous", "--workers", "4", "--contributions", "400", "--out", str(tmp_path)]
    assert main([*words, "--budget", "5"]) == 0
    assert [one.workers for one in read(tmp_path / "speed.json")] == [4]
    page = (tmp_path / "README.md").read_text()
    assert "| synchronous | 4 |" in page
    assert "| synchronous | 4 | 256 |" in page
    assert "| 5.0% |" in page
    assert "scale.png" in page
    assert (tmp_path / "scale.png").stat().st_size > 1000


def test_what_a_simulation_costs_beyond_its_gradients_is_a_share_of_them() -> None:
    assert Cost("balanced", 1600, seconds=10.5, gradients=10.0, count=900, mean=16.0).beyond == pytest.approx(0.05)
