"""What keeping freed memory is worth: samples per CPU second with and without, by sizes of micro-batches.

``python -m benchmarks.heap``. Each pair runs in processes of its own, one after the other; the CPU time is what counts,
so that the machine need not be idle.
"""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import time

REPETITIONS = 5
SECONDS = 1.5

SIZES = ((16,), (32,), (64,), (128,), (128, 64, 64, 32, 48, 24), (64, 16, 128, 24))
"""Micro-batches, in turn, for ever."""


def rates(keep: bool) -> None:
    """Print samples per CPU second for each of :data:`SIZES`."""
    import torch
    from torch.utils.data import DataLoader

    from benchmarks.workloads import WORKLOADS
    from evener.training.heap import keep_freed_memory

    torch.set_num_threads(1)
    if keep and not keep_freed_memory():
        raise SystemExit("malloc is not glibc's, or was set up by the user: there is nothing to compare")
    workload = WORKLOADS["small"]
    model, data = workload.build(), workload.data()
    for sizes in SIZES:
        indices = itertools.count()
        batches = iter(
            DataLoader(
                data, batch_sampler=([next(indices) % len(data) for _ in range(k)] for k in itertools.cycle(sizes))
            )
        )
        began, count = 0.0, -3 * len(sizes)
        samples = 0
        while count < len(sizes) or time.thread_time() - began < SECONDS:
            if count == 0:
                began, samples = time.thread_time(), 0
            x, y = next(batches)
            torch.nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
            model.zero_grad()
            samples += len(y)
            count += 1
        print(samples / (time.thread_time() - began), flush=True)


def main() -> None:
    """Print a table of medians."""
    found: dict[str, list[list[float]]] = {"given back": [], "kept": []}
    for _ in range(REPETITIONS):
        for name, kept in found.items():
            command = [sys.executable, "-m", "benchmarks.heap", name]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
            kept.append([float(line) for line in done.stdout.split()])
    print("| micro-batches | given back | kept | gain |\n|---|--:|--:|--:|")
    for at, sizes in enumerate(SIZES):
        before, after = (statistics.median(run[at] for run in found[name]) for name in ("given back", "kept"))
        print(f"| {', '.join(map(str, sizes))} | {before:.0f} | {after:.0f} | {after / before - 1:+.0%} |")


if __name__ == "__main__":
    main() if len(sys.argv) == 1 else rates(sys.argv[1] == "kept")
