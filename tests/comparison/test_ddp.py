"""The baseline is honest: `synchronous` against PyTorch DDP (gloo) at the same speeds, model and batch.

Run with `make compare`.
"""

import os
import socket
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from evener.launch import RunOptions, run
from evener.launch.slowness import emulate
from evener.observe import summarise
from evener.runtime.place import PolicyChoice

sys.path.insert(0, str(Path(__file__).parent))
from workload import BATCH, SPEEDS, STEPS

HERE = Path(__file__).parent
PAIRS = 3


def ddp(run_id: str) -> float:
    """Samples per second."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    with emulate(SPEEDS, run_id) as emulation:
        if any(worker is None or worker.kind != "cgroup" for worker in emulation.workers):
            pytest.skip("DDP's processes can only be slowed by CPU quotas, which cannot be set here")
        ranks = [
            subprocess.Popen(
                [sys.executable, HERE / "with_ddp.py", str(rank), str(len(SPEEDS)), worker.path,
                 f"tcp://127.0.0.1:{port}"],
                env=environment,
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank, worker in enumerate(emulation.workers)
        ]  # fmt: skip
        try:
            outputs = [process.communicate(timeout=240)[0] for process in ranks]
        finally:
            for process in ranks:
                process.kill()
    return BATCH * STEPS / float(outputs[0])


def synchronous(folder: Path) -> float:
    """Samples per second."""
    options = RunOptions(
        script=HERE / "with_evener.py",
        workers=len(SPEEDS),
        speeds=SPEEDS,
        policy=PolicyChoice("synchronous"),
        record=folder,
    )
    result = run(options)
    assert result.code == 0
    return summarise(folder).samples_per_second


@pytest.mark.comparison
@pytest.mark.timeout(1200)
def test_synchronous_is_as_fast_as_ddp(tmp_path):
    ratios = []
    for pair in range(PAIRS):
        ours, theirs = synchronous(tmp_path / f"evener-{pair}"), ddp(f"ddp-{os.getpid()}-{pair}")
        ratios.append(ours / theirs)
        print(f"synchronous {ours:.0f}, DDP {theirs:.0f} samples/s, ratio {ratios[-1]:.3f}")
    print(f"median ratio {statistics.median(ratios):.3f}")
    assert statistics.median(ratios) >= 0.95
