"""The examples run as they are, as users would start them, on a part of their data."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from evener.launch import RunOptions, run
from evener.trace import check, replay

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("har.py", ("--epochs", "2", "--fraction", "0.1", "--batch", "128")),
        ("fashion.py", ("--epochs", "1", "--images", "2000")),
    ],
)
def test_an_example_trains_on_unequal_workers(script, arguments, tmp_path):
    folder = tmp_path / "run"
    options = RunOptions(script=EXAMPLES / script, arguments=arguments, workers=2, speeds=(3, 1), record=folder)
    assert run(options).code == 0
    accounting = check(folder)
    assert accounting.counted_once
    assert accounting.complete
    assert replay(folder) is None


def test_an_example_is_short_and_runs_alone():
    assert len((EXAMPLES / "har.py").read_text().splitlines()) < 100
    assert len((EXAMPLES / "fashion.py").read_text().splitlines()) < 100
    command = [sys.executable, EXAMPLES / "har.py", "--epochs", "1", "--fraction", "0.05", "--batch", "64"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    assert "epoch 1/1" in output
    assert "test_accuracy" in output


def test_importing_evener_costs_little_beside_torch():
    # CPU seconds, and beside torch's own: what else the machine does, and how fast it is, is not to count.
    code = """
from time import process_time
start = process_time()
import torch
between = process_time()
import evener; evener.join
print((process_time() - between) / (between - start))
"""
    shares = [float(subprocess.check_output([sys.executable, "-c", code], text=True)) for _ in range(3)]
    assert statistics.median(shares) < 0.25
