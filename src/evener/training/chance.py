"""A worker's random numbers: other ones on each worker, the same ones in each run with the same seed."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader


def seed_worker(seed: int, worker: int, loader: DataLoader[Any]) -> None:
    """Seed ``torch`` (all devices), ``numpy`` and ``random``, and the loader's generator if it has one.

    A script seeds itself alike in every process, so that all build the same things; if that went on into
    training, all workers would drop the same units and shift their images alike. The generator seeds the
    loader's own processes. The sampler may share it, but only the server draws that.

    Args:
        seed: the run's.
        worker: the number that the server gave this worker.
        loader: the user's.
    """
    # Mixed, not added: worker 1 of seed 0 shall not be worker 0 of seed 1.
    first, second, third = np.random.SeedSequence([seed % 2**64, worker]).generate_state(3)
    torch.manual_seed(int(first))
    np.random.seed(second)
    random.seed(int(third))
    if loader.generator is not None:
        loader.generator.manual_seed(int(first))
