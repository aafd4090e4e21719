"""What a simulation with real gradients costs beyond the gradients: a hundred workers, real sensor data."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .measure import PACES

SCRIPT = Path(__file__).parents[1] / "scripts" / "gradients.py"
WORKERS = 100
BATCHES = (1600, 6400)
"""Samples of a batch: 16 and 64 for each worker."""

EPOCHS = 3
"""Of which the first is not counted."""


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of a run.

    Attributes:
        policy: that of the run.
        batch: samples of a step.
        seconds: of the loop, all in all.
        gradients: of forward and backward alone.
        count: micro-batches.
        mean: samples of a micro-batch.
    """

    policy: str
    batch: int
    seconds: float
    gradients: float
    count: int
    mean: float

    @property
    def beyond(self) -> float:
        """What all else costs, as a share of the gradients."""
        return self.seconds / self.gradients - 1


def measure(policy: str, batch: int, epochs: int = EPOCHS) -> Cost:
    """Simulate a hundred workers under ``policy``.

    Raises:
        subprocess.CalledProcessError: the run failed.
    """
    paces = ",".join(f"{PACES[worker % len(PACES)]:g}" for worker in range(WORKERS))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "cost.json")
        words = [
            *(sys.executable, "-m", "evener", "simulate", SCRIPT, "--policy", policy, "--paces", paces),
            *("--record", Path(folder, "run"), "--", batch, epochs, out),
        ]
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
        found = json.loads(out.read_text())
    return Cost(policy, batch, found["seconds"], found["gradients"], found["count"], found["samples"] / found["count"])
