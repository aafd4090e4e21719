import doctest
import importlib

import pytest

from study import grid, report, tables
from study.cells import Cell, Study
from study.grid import BASE, GRADED, HAR, Run
from study.results import Result


@pytest.mark.parametrize("module", ["cells", "clusters", "grid", "report", "results", "tables"])
def test_the_examples_of_the_docstrings_are_true(module):
    assert doctest.testmod(importlib.import_module(f"study.{module}")).failed == 0


@pytest.fixture
def study(make):
    """``synchronous`` and ``balanced 10%`` on three seeds; the latter twice as fast, and worse on one seed."""
    trials = [make(run, accuracy=0.9 if run.rate == 0.1 else 0.5) for run in grid.tuning(HAR, GRADED, BASE)]
    core = []
    for seed, (slow, fast) in enumerate([(0.90, 0.90), (0.92, 0.92), (0.94, 0.91)]):
        core.append(make(Run(HAR, GRADED, BASE, 0.1, seed), slow, 200.0, stale_fraction=0.0))
        core.append(make(Run(HAR, GRADED, "balanced 10%", 0.1, seed), fast, 100.0))
    return Study(trials + core)


def rows(text: str) -> dict[str, dict[str, str]]:
    """A table's rows by their first column, each by its head."""
    head, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return {line[0].strip("`"): dict(zip(head, line, strict=True)) for line in lines}


def test_the_table_has_means_and_deviations_over_the_seeds(study):
    found = rows(tables.compared(HAR, study.cells(HAR, GRADED)))
    assert list(found) == [BASE, "balanced 10%"]
    assert found[BASE]["total time, s"] == "200.0 ± 0.0"
    assert found[BASE]["final accuracy, %"] == "92.00 ± 2.00"
    assert found[BASE]["less synchronous"] == "–"
    assert found["balanced 10%"]["× synchronous"] == "2.00 ± 0.00"


def test_differences_are_paired_by_seed(study):
    found = rows(tables.compared(HAR, study.cells(HAR, GRADED)))
    # Seeds differ by 2 points, the policies by 0, 0 and -3: what the seeds share must cancel.
    assert found["balanced 10%"]["less synchronous"] == "-1.00 ± 1.73"


def test_a_target_that_some_seeds_miss_says_so(study):
    found = rows(tables.compared(HAR, study.cells(HAR, GRADED)))
    assert found[BASE]["time to 94%, s"] == "200.0 (1 of 3)"
    assert found[BASE]["samples to 94%"] == "4000 (1 of 3)"
    assert found["balanced 10%"]["time to 94%, s"] == "–"


def test_a_run_that_failed_counts_as_failed(make):
    run = Run(HAR, GRADED, "stale", 0.1, 0)
    base = make(Run(HAR, GRADED, BASE, 0.1, 0))
    cell = Cell("stale", 0.1, {0: make(run, ok=False, reason="diverged")}, {0: base})
    found = rows(tables.compared(HAR, [cell]))["stale"]
    assert (found["final accuracy, %"], found["total time, s"], found["× synchronous"]) == ("–", "–", "–")
    assert make(run, ok=False).score == 0.0


def test_trials_show_the_chosen_rate_and_that_it_is_an_outermost_one(make):
    best = max(HAR.rates)
    study = Study([make(run, accuracy=0.9 if run.rate == best else 0.5) for run in grid.tuning(HAR, GRADED, BASE)])
    found = rows(tables.trials(study, HAR, [GRADED]))
    assert found[BASE][f"{best:g}"] == "**90.0%** →"
    assert found[BASE]["0.1"] == "50.0%"


def test_the_summary_has_speed_and_accuracy_side_by_side(study):
    found = rows(tables.summary([("HAR", study.cells(HAR, GRADED)), ("other", [])]))
    assert found["balanced 10%"] == {"policy": "`balanced 10%`", "HAR": "2.00 ± 0.00; -1.00 ± 1.73", "other": "–"}


def test_agreement_compares_ratios(make):
    runs = [Run(HAR, GRADED, policy, 0.1, 0) for policy in (BASE, "balanced 10%")]
    pairs = [
        (BASE, make(runs[0], 0.9, 200.0), make(runs[0], 0.9, 220.0)),
        ("balanced 10%", make(runs[1], 0.9, 50.0), make(runs[1], 0.88, 44.0)),
    ]
    found = rows(tables.agreement(pairs))["balanced 10%"]
    assert (found["× the first, real"], found["× the first, simulated"]) == ("4.00", "5.00")
    assert found["largest gap of the curves over the last half, points"] == "2.00"


def test_when_a_target_is_reached(make):
    result: Result = make(Run(HAR, GRADED, BASE, 0.1, 0), 0.9, 200.0)  # 0.6, 0.7, 0.8, 0.9 at 50, 100, 150, 200 s
    assert result.reached(0.75) == (150.0, 3000)
    assert result.reached(0.95) is None


def test_prose_is_left_as_it_is():
    page = "Mine.\n<!-- begin a -->\nold\n<!-- end a -->\nAlso mine.\n<!-- begin b -->\nkept\n<!-- end b -->\n"
    assert report.fill(page, {"a": "new", "c": "nowhere"}) == page.replace("old", "new")
    assert report.fill(report.fill(page, {"a": "x"}), {"a": "y"}) == report.fill(page, {"a": "y"})


def test_a_block_that_does_not_end_is_an_error():
    with pytest.raises(ValueError, match="block a does not end"):
        report.fill("<!-- begin a -->\n", {"a": "new"})


def test_pages_and_plots_are_made_from_results(study, tmp_path):
    docs = report.DOCS
    for page in report.PAGES:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text((docs / page).read_text())
    files = report.write(list(study.results.values()), tmp_path)
    assert all(file.exists() for file in files)
    page = (tmp_path / "results/study/README.md").read_text()
    assert "200.0 ± 0.0" in page
    assert report.NOTHING in page  # Fashion-MNIST
    assert "2.00 ± 0.00; -1.00 ± 1.73" in (tmp_path / "which-policy.md").read_text()
    assert (tmp_path / "results/study/curves-har-graded.png").stat().st_size < 150_000
