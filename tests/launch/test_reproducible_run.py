"""What the processes of a reproducible run find in their environment."""

from __future__ import annotations

import pytest

from evener.launch import LaunchError, RunOptions, run
from evener.runtime.place import PolicyChoice

from .conftest import FINISHED, Kept, Script

TELL = f"""
if server: record({FINISHED!r})
names = "OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "MKL_CBWR", "PYTHONHASHSEED"
print(place.get("micro_batch", 0), [os.environ.get(name) for name in names], flush=True)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_one_thread_and_fixed_kernels(
    script: Script, screen: Kept, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # several would add up in any order
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")  # the user's own way of fixing it
    for name in ("CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED"):
        monkeypatch.delenv(name, raising=False)
    balanced = PolicyChoice("balanced", {"bound": 0})
    assert run(RunOptions(script=script(TELL), workers=workers, policy=balanced, micro_batch=8), screen).code == 0
    told = [line for line in screen.out if "['1', ':4096:8', 'COMPATIBLE', '0']" in line and "8 [" in line]
    assert len(told) == workers + 1


def test_other_runs_keep_their_environment(script: Script, screen: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUBLAS_WORKSPACE_CONFIG", "MKL_CBWR", "PYTHONHASHSEED"):
        monkeypatch.delenv(name, raising=False)
    assert run(RunOptions(script=script(TELL), workers=2), screen).code == 0
    assert len([line for line in screen.out if "0 ['1', None, None, None]" in line]) == 3


def test_nothing_must_be_left_out(script: Script) -> None:
    balanced = PolicyChoice("balanced", {"bound": 0})
    with pytest.raises(LaunchError, match="depends on who has sent what"):
        RunOptions(script=script(TELL), policy=balanced, micro_batch=8, compress="bf16").check()
    RunOptions(script=script(TELL), policy=balanced, micro_batch=8).check()


@pytest.mark.parametrize("policy", [PolicyChoice(), PolicyChoice("synchronous")])
def test_time_must_decide_nothing(script: Script, policy: PolicyChoice) -> None:
    with pytest.raises(LaunchError, match="balanced with bound 0"):
        RunOptions(script=script(TELL), policy=policy, micro_batch=8).check()
