"""Memory that micro-batches have freed is there for the next ones, without the system's help."""

import os
import subprocess
import sys

import pytest

MEASURE = """
import resource, torch
from evener.training.heap import keep_freed_memory
kept = keep_freed_memory()

def faults(sizes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for size in sizes:
        torch.empty(size * 2**20 // 4).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults([24, 8, 24])
print(kept, faults([8, 2, 24] * 10))
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")


def measured(**environment: str) -> tuple[bool, int]:
    """Whether freed memory is kept, and how many page faults 340 MiB in blocks of changing size cost."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=inherited | environment, capture_output=True, text=True, check=True
    )
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


def test_blocks_of_changing_size_cost_no_page_faults() -> None:
    kept, faults = measured()
    assert kept
    assert faults < 1000  # of 87,000 pages


@pytest.mark.parametrize(
    "setting", [{"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}]
)
def test_what_the_user_has_set_up_stays(setting: dict[str, str]) -> None:
    kept, faults = measured(**setting)
    assert not kept
    assert faults > 10_000
