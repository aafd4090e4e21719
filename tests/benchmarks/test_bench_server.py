"""The benchmark of the server's own limit: from measurements to the table, and a small one for real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.server import clients, measure, report
from benchmarks.server.__main__ import arguments, chosen
from benchmarks.server.cells import GOAL, GRID, SIZES, WORKERS, Cell, order
from benchmarks.server.measure import Note, Threads, uneven
from benchmarks.server.results import Result, goal, rows
from evener.core import events as e
from evener.core.commands import Accumulate, Discard, Step
from evener.trace.schema import EventLine

ROOT = Path(__file__).parents[2]


def result(system, cpu_s, cell=GOAL, repetition=0, **fields):
    facts = {"steps": 10, "seconds": 2.0, "busiest_thread": 0.5} | fields
    return Result(cell.workers, cell.parameters, system, repetition, cpu_s=cpu_s, **facts)


def pair(evener, bare, repetition=0, **fields):
    return [result("evener", evener, repetition=repetition, **fields), result("bare", bare, repetition=repetition)]


def test_the_grid_has_every_size_and_number_of_workers_and_the_goal():
    assert {(cell.workers, cell.parameters) for cell in GRID} >= {(w, size) for w in WORKERS for size in SIZES}
    assert GOAL in GRID


def test_what_is_too_large_is_not_measured_and_the_table_says_so():
    large = Cell(64, 25_000_000)
    assert large not in {cell for _, cell, _ in order(GRID, 1)}
    text = report.markdown([], goal([]), {}, "today")
    assert "64 × 25M" in text


def test_the_systems_take_turns_in_being_first():
    assert [system for _, _, system in order([GOAL], 3)] == ["evener", "bare", "bare", "evener", "evener", "bare"]


def test_rates_count_all_workers_and_both_directions():
    one = result("evener", 1.0)
    assert one.contributions_per_second == 20.0
    assert one.gigabytes_per_second == pytest.approx(5 * 4 * 2 * 8e6 / 1e9)
    assert one.cpu_ms_per_step == 100.0


def test_the_ratio_is_taken_within_each_repetition():
    [row, bare] = rows([*pair(3.0, 2.0), *pair(8.0, 8.0, 1), *pair(2.4, 2.0, 2)])
    assert (row.ratio.least, row.ratio.median, row.ratio.most) == (1.0, 1.2, 1.5)
    assert bare.ratio is None


@pytest.mark.parametrize(("cpu", "met"), [(2.9, True), (3.1, False)])
def test_the_goal_is_held_against_the_median(cpu, met):
    assert goal([*pair(cpu, 2.0), *pair(cpu, 2.0, 1), *pair(9.0, 2.0, 2)]).met is met


def test_the_goal_is_not_met_if_the_accounting_does_not_hold():
    found = goal(pair(2.0, 2.0, problems="position 7 counted twice"))
    assert found.met is False
    assert "counted twice" in found.why


def test_the_goal_is_open_where_nothing_was_measured():
    assert goal([result("evener", 1.0, cell=Cell(1, 200_000))]).met is None
    assert goal(pair(1.0, 1.0)[:1]).met is None


def test_a_failure_is_in_the_table_and_in_no_median():
    failed = Result(GOAL.workers, GOAL.parameters, "evener", 1, failed="2 steps in 90 s")
    found = rows([*pair(3.0, 2.0), failed])
    assert found[0].count == 1
    assert any("2 steps in 90 s" in line for line in report.table(found))


def test_the_figures_are_those_of_the_best_number_of_workers():
    cells = [Cell(1, 200_000), Cell(8, 200_000), Cell(32, 200_000)]
    measured = [result("evener", 1.0, cell=cell, steps=steps) for cell, steps in zip(cells, (10, 9, 2), strict=True)]
    [line] = report.figures(rows(measured)).splitlines()[2:]
    assert line.startswith("| 0.2M | 36 |")
    assert "| 8 |" in line


def test_the_page_has_a_place_for_the_figures():
    assert f"<!-- begin {report.NAME} -->" in report.PAGE.read_text()


def test_everything_is_in_the_json(tmp_path):
    report.write(pair(3.0, 2.0), {"cpu": "x"}, tmp_path)
    read = json.loads((tmp_path / "server.json").read_text())
    assert read["schema"] == 1
    assert [one["system"] for one in read["results"]] == ["evener", "bare"]
    assert read["rows"][0]["ratio"]["median"] == 1.5
    assert read["goals"][0]["met"] is True
    assert [64, 25_000_000] in read["left_out"]


def test_notes_are_read_to_the_last_whole_line(tmp_path):
    path = tmp_path / "progress"
    assert Note.last(path) == Note(0, 0.0, 0.0)
    path.write_text("1 5.0 0.1\n2 5.5 0.2\n3 6.")
    assert Note.last(path) == Note(2, 5.5, 0.2)


def test_threads_that_began_in_between_count(tmp_path):
    task = tmp_path / "7" / "task"
    for thread, times in {"7": "1000000000 0 3", "8": "2000000000 500000000 9"}.items():
        (task / thread).mkdir(parents=True)
        (task / thread / "schedstat").write_text(times)
    now = Threads.of(7, tmp_path)
    before = Threads(now.moment - 4.0, {7: (1.0, 0.0)})
    assert now.busiest(before) == pytest.approx((0.5, 0.625))
    assert now.cores(before) == pytest.approx(0.5)


def accumulate(worker):
    return Accumulate(worker, 0, 0, 2, 0.5, 0)


STEP = Step(0, 1, 4, 1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("commands", "what"),
    [
        ([accumulate(0), accumulate(1), STEP], ""),
        ([accumulate(0), accumulate(0), accumulate(1), STEP], "workers [0, 0, 1]"),
        ([accumulate(1), STEP], "workers [1]"),
        ([accumulate(0), Discard(1, 0, "not finite", 2, True)], "not finite"),
    ],
)
def test_each_step_has_one_contribution_of_each_worker(commands, what):
    found = uneven([EventLine(0.0, e.Tick(), commands)], 2)
    assert what in found
    assert bool(found) is bool(what)


def test_cells_are_chosen_by_name():
    assert chosen(arguments(["--cells", "4x2000000,8x200000"]))[1] == [GOAL, Cell(8, 200_000)]
    assert chosen(arguments(["--quick"])) == ("server-quick", [GOAL])
    assert chosen(arguments([]))[1] == GRID
    with pytest.raises(ValueError, match="is no cell"):
        chosen(arguments(["--cells", "4x2M"]))


def test_clients_say_that_they_have_the_servers_model(tmp_path):
    from benchmarks.server.servers import build
    from evener.training.store import FlatStore

    cell = Cell(2, 200_000)
    model, _ = build(cell, tmp_path / "progress")
    store = FlatStore(model, model.parameters())
    assert clients.entries(cell) == store.entries
    assert len(clients.gradient(cell)) == store.push_bytes == cell.size


def test_a_small_one_for_real(tmp_path):
    words = ["--cells", "3x2000", "--repetitions", "1", "--seconds", "0.1", "--out", str(tmp_path)]
    # In a process of its own: it forks, and this one may have threads.
    done = subprocess.run([sys.executable, "-m", "benchmarks.server", *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    measured = json.loads((tmp_path / "server-some.json").read_text())["results"]
    assert [one["system"] for one in measured] == ["evener", "bare"]
    assert all(one["steps"] >= measure.STEPS and one["cpu_s"] > 0 for one in measured)
    assert [one["counted_once"] for one in measured] == [True, None]
