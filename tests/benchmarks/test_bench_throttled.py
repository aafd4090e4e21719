"""What is left where there are no quotas."""

import os
import sys
import time

import pytest

from benchmarks import plan
from benchmarks.clusters import Cluster
from benchmarks.plan import PLANS, Block
from benchmarks.results import Session
from benchmarks.run import Bench
from benchmarks.systems import find
from benchmarks.throttled import ThrottledCluster, fit, possible

TWO = Cluster("two", "", (0.3, 0.1))

pytestmark = pytest.mark.skipif(not possible(), reason="Linux's")


def test_what_cannot_pause_is_left_out_and_named():
    kept, left = fit(PLANS["full"])
    runners = {system.runner for one in kept for system in one.systems}
    assert runners == {"evener", "plain", "limit"}
    assert {one.cluster.name for one in kept} >= {"8-4-2-1", "stalls", "fifth", "one"}
    text = "\n".join(left)
    for word in ("cluster rotating", "cluster access", "PyTorch DDP", "hivemind"):
        assert word in text


def state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def wait_for(pid: int, *states: str) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if state(pid) in states:
            return True
        time.sleep(0.01)
    return False


def test_a_hosts_processes_stand_still_go_on_and_end(tmp_path):
    with ThrottledCluster(TWO) as cluster:
        process = cluster.start(1, [sys.executable, "-c", "while True: pass"], os.environ, tmp_path / "l")
        cluster.stall(1)
        assert wait_for(process.pid, "T")
        cluster.resume(1)
        assert wait_for(process.pid, "R", "S")
        cluster.stall(1)
    assert process.returncode is not None


@pytest.mark.comparison
@pytest.mark.timeout(300)
def test_a_tiny_job_runs_without_quotas(monkeypatch):
    monkeypatch.setitem(plan.SIZES, "small", (16, 32))
    session = Session("some", {}, "no root")
    Bench(session).measure(Block(TWO, "small", (find("balanced"),), 64, 1, 2.0))
    assert [result.failed for result in session.results] == [""] * 3
    assert all(result.samples_per_second > 0 for result in session.results)
    [run] = [result for result in session.results if result.system == "balanced"]
    assert run.counted_once
