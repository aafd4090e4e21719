"""Results made by hand."""

import pytest

from study.grid import Run
from study.results import Result


def made(run: Run, accuracy: float = 0.9, seconds: float = 100.0, **changes: object) -> Result:
    """A result of ``run``: four evaluations, the last at ``accuracy``."""
    curve = [(seconds * part / 4, 1000 * part, accuracy - (4 - part) * 0.1, 2.0 / part) for part in range(1, 5)]
    values = {
        "key": run.key,
        "label": run.label,
        "spec": run.spec(),
        "ok": True,
        "reason": "complete",
        "total_s": seconds,
        "samples": 4000,
        "steps": 16,
        "samples_per_second": 4000 / seconds,
        "limit": 100.0,
        "utilisation": 40 / seconds,
        "stale_fraction": 0.25,
        "mean_staleness": 0.25,
        "staleness": [(0.0, 0.75), (1.0, 0.25)],
        "curve": curve,
        "final_accuracy": accuracy,
        "workers": [(3000, 0.9), (1000, 0.8)],
        "counted_once": True,
        "wall_s": 1.0,
        "evener": "0.1.0",
    }
    return Result(**(values | changes))


@pytest.fixture
def make():
    return made
