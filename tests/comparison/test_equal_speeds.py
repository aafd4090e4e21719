"""With equal speeds there is nothing to gain, and nothing may be lost: `balanced` against `synchronous`.

Run with `make compare`.
"""

import statistics
import sys
from pathlib import Path

import pytest

from evener.launch import RunOptions, run
from evener.observe import summarise
from evener.runtime.place import PolicyChoice

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from workload import BATCH, STEPS  # noqa: E402

PAIRS = 7


@pytest.mark.comparison
@pytest.mark.timeout(1200)
def test_balanced_is_no_slower_than_synchronous_at_equal_speeds(tmp_path):
    ratios = []
    for pair in range(PAIRS):
        rates = {}
        for policy in ("balanced", "synchronous"):
            folder = tmp_path / f"{policy}-{pair}"
            options = RunOptions(
                script=HERE / "with_evener.py",
                workers=4,
                speeds=(1, 1, 1, 1),
                policy=PolicyChoice(policy),
                record=folder,
            )
            assert run(options).code == 0
            summary = summarise(folder)
            assert summary.samples == BATCH * STEPS
            rates[policy] = summary.samples_per_second
        ratios.append(rates["balanced"] / rates["synchronous"])
        print(f"balanced {rates['balanced']:.0f}, synchronous {rates['synchronous']:.0f}, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")
    assert statistics.median(ratios) >= 0.98
