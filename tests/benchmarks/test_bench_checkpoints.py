"""The benchmark of what checkpoints cost: from stretches to the verdict, and a small one for real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.checkpoints import Stretch, costs

ROOT = Path(__file__).parents[2]


def stretches(lost, cpu, kept_cpu=0.3, copy=0.05):
    plain = Stretch(False, 10, 10.0, 8.0)
    kept = Stretch(True, 20, 20.0 + lost, 16.0 + cpu, copy, 1.0, kept_cpu)
    return [plain, kept, plain, kept, plain]


@pytest.mark.parametrize(("lost", "share"), [(0.1, 0.35 / 60), (0.9, 0.9 / 60)])
def test_the_greater_cost_counts(lost, share):
    found = costs(stretches(lost, 0.4))
    assert found.lost_s.median == pytest.approx(lost)
    assert found.cpu_s.median == pytest.approx(0.4)
    assert found.share == pytest.approx(share)


def test_dear_ones_are_further_apart():
    found = costs(stretches(1.0, 1.0, kept_cpu=1.8, copy=0.2))
    assert found.every == pytest.approx(200.0)
    assert found.share == pytest.approx(0.01)


def test_a_small_one_for_real(tmp_path):
    words = ["--parameters", "2000", "--repetitions", "2", "--seconds", "0.1", "--out", str(tmp_path)]
    # In a process of its own: it forks, and this one may have threads.
    command = [sys.executable, "-m", "benchmarks.checkpoints", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    found = json.loads((tmp_path / "checkpoints.json").read_text())
    assert done.returncode == (0 if found["met"] else 1), done.stdout + done.stderr
    assert [one["kept"] for one in found["stretches"]] == [False, True, False, True, False]
    for one in found["stretches"]:
        assert one["steps"] >= 3
        assert (one["write_cpu_s"] > 0 and one["bytes"] > 0) is one["kept"]
