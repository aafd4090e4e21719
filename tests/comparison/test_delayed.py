"""`delayed` against `synchronous` on the same transport, with real processes: what its windows promise.

Run with `make compare`.
"""

import statistics
from pathlib import Path

import pytest

from evener.launch import RunOptions, run
from evener.observe import summarise
from evener.runtime.place import PolicyChoice

HERE = Path(__file__).parent
PAIRS = 3


@pytest.mark.comparison
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("speeds", "part"), [((10, 10, 10, 1), 0.9), ((10, 4, 2, 1), 0.8)], ids=["one", "graded"])
def test_delayed_is_as_much_faster_as_its_windows_promise(tmp_path, speeds, part):
    promised = statistics.mean(speed / min(speeds) for speed in speeds)  # d = auto is above every ratio
    reached = []
    for pair in range(PAIRS):
        rates = {}
        for policy in ("delayed", "synchronous"):
            folder = tmp_path / f"{policy}-{pair}"
            choice = PolicyChoice(policy)
            options = RunOptions(script=HERE / "with_evener.py", workers=4, speeds=speeds, policy=choice, record=folder)
            assert run(options).code == 0
            summary = summarise(folder)
            rates[policy] = summary.samples_per_second
            paces = ", ".join(f"{worker.pace:.0f}" for worker in summary.workers)
            print(f"{policy}: {rates[policy]:.0f} samples/s at paces {paces}")
        reached.append(rates["delayed"] / rates["synchronous"] / promised)
        print(f"part of the {promised:.2f} that are promised: {reached[-1]:.2f}")
    print(f"median {statistics.median(reached):.2f}")
    assert statistics.median(reached) >= part
