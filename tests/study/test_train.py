import dataclasses
import itertools
import runpy
import sys
from pathlib import Path

import pytest

from evener.trace import check
from study.grid import FASHION, GRADED, HAR, Run
from study.one import carry_out
from study.train import Passes, network

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = dataclasses.replace(HAR, batch=64, pieces=3, steps=2)


def test_pieces_are_passes_over_everything_end_to_end():
    order = Passes(size=10, piece=4, seed=0)
    pieces = []
    for epoch in range(5):
        order.set_epoch(epoch)
        pieces.append(list(order))
    assert {len(piece) for piece in pieces} == {len(order)}
    stream = list(itertools.chain(*pieces))
    first, second = stream[:10], stream[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_a_piece_is_the_same_whoever_asks_and_when():
    alone = Passes(size=10, piece=4, seed=3)
    in_turn = [list(alone) for _ in range(3)]  # nobody calls set_epoch in plain training
    told = Passes(size=10, piece=4, seed=3)
    told.set_epoch(2)
    assert list(told) == in_turn[2]


@pytest.mark.parametrize(
    ("problem", "norm", "arguments"),
    [
        (HAR, "group", ["har.py", "--epochs", "1", "--fraction", "0.01", "--batch", "32"]),
        (FASHION, "batch", ["fashion.py", "--epochs", "1", "--images", "64", "--batch", "32"]),
    ],
)
def test_the_networks_are_those_of_the_examples(problem, norm, arguments, monkeypatch):
    monkeypatch.delenv("EVENER_PLACE", raising=False)
    monkeypatch.setattr(sys, "argv", arguments)
    example = runpy.run_path(str(EXAMPLES / arguments[0]), run_name="__main__")["model"]
    ours = network(problem.data, norm)
    assert [(name, value.shape) for name, value in ours.state_dict().items()] == [
        (name, value.shape) for name, value in example.state_dict().items()
    ]


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    run = Run(TINY, GRADED, "balanced 10%", 0.1, 0)
    record = tmp_path_factory.mktemp("study") / "record"
    return run, record, carry_out(run, record)


def test_a_run_leaves_all_that_the_tables_need(run_once):
    run, record, result = run_once
    assert result.ok
    assert (result.key, result.spec) == (run.key, run.spec())
    assert result.samples == TINY.samples
    assert [samples for _, samples, _, _ in result.curve] == [128, 256, 384]
    times = [seconds for seconds, _, _, _ in result.curve]
    assert times == sorted(times)
    assert times[-1] == pytest.approx(result.total_s, abs=0.01)
    assert all(0 < accuracy < 1 and loss > 0 for _, _, accuracy, loss in result.curve)
    assert result.final_accuracy is not None
    assert sum(share for _, share in result.staleness) == pytest.approx(1.0, abs=1e-3)
    assert {batches for batches, _ in result.staleness} <= {0.0, 1.0}
    assert sum(share for batches, share in result.staleness if batches) == pytest.approx(
        result.stale_fraction, abs=1e-3
    )
    assert result.utilisation == pytest.approx(result.samples_per_second / result.limit, abs=1e-3)
    assert check(record).counted_once


def test_a_run_that_diverges_is_a_result_too(tmp_path):
    result = carry_out(Run(TINY, GRADED, "balanced S=0", 1e9, 0), tmp_path / "record")
    assert not result.ok
    assert "every contribution was refused" in result.reason
    assert result.score == 0.0
