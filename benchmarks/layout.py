"""What channels last is worth: samples per CPU second in either layout, by model and size of micro-batch.

``python -m benchmarks.layout``: half a minute on one core. Layouts take turns; medians of five.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from evener.training.heap import keep_freed_memory
from evener.training.layout import Layout

from .workloads import WORKLOADS

SIZES = {"small": (16, 32, 64, 128), "resnet20": (16, 32, 64)}
TURNS = 5
SECONDS = 0.3


def rate(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Samples per CPU second, forward and backward."""
    began, count = 0.0, -1
    while count < 1 or time.thread_time() - began < SECONDS:
        model.zero_grad()
        cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]
        count += 1
        if not count:  # the first allocates and chooses kernels
            began = time.thread_time()
    return count * len(x) / (time.thread_time() - began)


def main() -> None:
    """Measure and print a table in Markdown."""
    keep_freed_memory()
    torch.set_num_threads(1)
    print("| model | micro-batch | channels first | last | gain |")
    print("|---|--:|--:|--:|--:|")
    for name, sizes in SIZES.items():
        workload = WORKLOADS[name]
        model = workload.build()
        layouts = [Layout(model, channels_last=last) for last in (False, True)]
        for size in sizes:
            x, y = torch.randn(size, *workload.shape), torch.randint(0, 10, (size,))
            found: list[list[float]] = [[], []]
            for _ in range(TURNS):
                for layout, rates in zip(layouts, found, strict=True):
                    layout.choose(None)
                    rates.append(rate(model, x, y))
                    layout.release()
            first, last = map(statistics.median, found)
            print(f"| {name} | {size} | {first:.0f} | {last:.0f} | {last / first - 1:+.0%} |", flush=True)


if __name__ == "__main__":
    main()
