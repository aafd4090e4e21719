"""Runs on a real Ray cluster of emulated hosts, some of which are killed: all counts once, and the lost come again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cluster import SERVER, ClusterError, EmulatedCluster, check
from benchmarks.clusters import Cluster
from benchmarks.rays import RayCluster
from evener import trace
from evener.core import events as e

pytest.importorskip("ray", reason="needs Ray: make test-ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

SCRIPT = """
import os, signal, sys, torch, evener
from pathlib import Path
from torch import nn
from torch.utils.data import DataLoader, Dataset

here, host = Path(__file__).parent, os.environ["EMULATED_HOST"]
SAMPLES, BATCH = 1024, 64

def let(name):
    open(here / name, "w").close()

def wait_for(name):
    open(here / name).read()

def first(name):
    try:
        (here / name).open("x").close()
        return True
    except FileExistsError:
        return False

class Numbers(Dataset):
    def __len__(self):
        return SAMPLES

    def __getitem__(self, index):
        return torch.tensor(index)

class Weights(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(SAMPLES))

    def forward(self, numbers):
        return self.w[numbers]

session = evener.join()
if session.is_server:
    (here / "pids").write_text(f"{os.getpid()} {os.getppid()}")
model = Weights()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
model, optimizer, loader = session.prepare(model, optimizer, DataLoader(Numbers(), batch_size=BATCH, shuffle=True))
for epoch in session.epochs(1):
    for numbers in loader:
        optimizer.zero_grad()
        model(numbers).mean().backward()
        at_batch()
        optimizer.step()
if session.is_server:
    # Each position moved its own weight, once: by 1/B.
    exact = torch.allclose(model.w, torch.full((SAMPLES,), -1 / BATCH), rtol=1e-5, atol=0.0)
    print("exact" if exact else f"NOT EXACT: {model.w.unique()}", flush=True)
"""

COMMAND = [sys.executable, "-c", "import sys; from evener.cli import main; sys.exit(main())", "run", "--on", "ray"]


class Run:
    """``evener run --on ray`` on the head's host."""

    def __init__(self, cluster: RayCluster, folder: Path, at_batch: str, *words: str) -> None:
        self.folder = folder
        self.log = folder / "output"
        self.record = folder / "run"
        script = folder / "train.py"
        script.write_text(f"def at_batch():\n    {at_batch}\n{SCRIPT}")
        record = [] if "--resume" in words else ["--record", str(self.record)]
        command = [*COMMAND, str(script), *record, *words]
        self.process = cluster.start(SERVER, command, cluster.environment(EMULATED_HOST=str(SERVER)), self.log)

    @property
    def output(self) -> str:
        return self.log.read_text()

    def end(self) -> int:
        return self.process.wait(120)

    def joined(self) -> list[int]:
        lines = trace.read(trace.record_path(self.record))
        return [
            line.event.worker for line in lines if isinstance(line, trace.EventLine) and type(line.event) is e.Joined
        ]

    def exact(self) -> bool:
        accounting = trace.check(self.record)
        return (
            accounting.complete
            and accounting.counted_once
            and re.search(r"\bexact$", self.output, re.MULTILINE) is not None
        )


def gate(folder: Path, name: str) -> Path:
    os.mkfifo(folder / name)
    return folder / name


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """Three hosts. The first two are nodes: one has two CPUs, the other has one and something big."""
    try:
        check()
    except ClusterError as error:
        pytest.skip(str(error))
    with EmulatedCluster(Cluster("ray", "Ray's", (0.5, 0.5, 0.5))) as hosts:
        # Ray takes 15 s to notice that a machine is gone, unless it is told to look more often.
        often = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
        cluster = RayCluster(hosts, tmp_path_factory.mktemp("ray"), settings=often)
        cluster.head()
        cluster.add(0, "--num-cpus=2")
        cluster.add(1, "--num-cpus=1", '--resources={"big": 1}')
        yield cluster


def test_different_kinds_of_workers_each_on_a_node_that_has_what_they_need(cluster: RayCluster, tmp_path: Path) -> None:
    kinds = ["--worker-resources", '{"CPU": 2}', "--worker-resources", '{"CPU": 0.5, "big": 1}']
    show = 'first("host-" + host + "-threads-" + str(torch.get_num_threads()))'
    run = Run(cluster, tmp_path, show, "--workers", "1,1", *kinds)
    assert run.end() == 0, run.output
    assert run.exact(), run.output
    assert len(list(tmp_path.glob("host-0-*"))) == 1, run.output
    assert len(list(tmp_path.glob("host-1-*"))) == 1, run.output
    assert "no node" not in run.output


def test_a_killed_script_is_started_again_and_one_that_fails_is_not(cluster: RayCluster, tmp_path: Path) -> None:
    do = 'first("killed") and os.kill(os.getpid(), signal.SIGKILL); first("failed") and sys.exit(3)'
    run = Run(cluster, tmp_path, do, "--workers", "2")
    assert run.end() == 1, run.output
    assert run.exact(), run.output
    assert len(run.joined()) == 3
    assert (
        len(re.findall(r"evener: worker-\d ended with exit code 3. What it printed is above, by Ray.", run.output)) == 1
    )


def test_a_run_that_everybody_has_left_ends(cluster: RayCluster, tmp_path: Path) -> None:
    run = Run(cluster, tmp_path, "sys.exit(3)", "--workers", "2")
    assert run.end() == 1, run.output
    assert "every worker is gone before the end of the run: stopping the server" in run.output
    assert not trace.check(run.record).complete


def test_ctrl_c_closes_the_record_and_leaves_nobody(cluster: RayCluster, tmp_path: Path) -> None:
    under_way = gate(tmp_path, "under way")
    run = Run(cluster, tmp_path, 'let("under way"); wait_for("under way")', "--workers", "1")
    under_way.read_text()
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 128 + signal.SIGINT
    assert time.monotonic() - began < 10
    assert isinstance(list(trace.read(trace.record_path(run.record)))[-1], trace.EndLine)
    assert f"--resume {run.record} --workers 1 --worker-resources '{{\"CPU\": 1}}'" in run.output
    until = time.monotonic() + 10
    while left := subprocess.run(["pgrep", "-f", str(tmp_path / "train.py")], capture_output=True, text=True).stdout:
        assert time.monotonic() < until, left


@pytest.mark.parametrize("what", ["its script", "its actor"])
def test_a_server_that_is_killed_goes_on_from_its_checkpoint(cluster: RayCluster, tmp_path: Path, what: str) -> None:
    under_way, go_on = gate(tmp_path, "under way"), gate(tmp_path, "go on")
    do = 'first("one") and (let("under way"), wait_for("go on"))'
    run = Run(cluster, tmp_path, do, "--workers", "1", "--checkpoint-every", "1")
    under_way.read_text()
    script, actor = map(int, (tmp_path / "pids").read_text().split())
    os.kill(script if what == "its script" else actor, signal.SIGKILL)
    go_on.write_text("")
    assert run.end() == 0, run.output
    assert run.exact(), run.output
    assert "the server was lost, and goes on from its newest checkpoint." in run.output
    assert trace.parts(run.record) == 1


def test_another_job_goes_on_with_a_run_whose_job_was_lost(cluster: RayCluster, tmp_path: Path) -> None:
    under_way, go_on = gate(tmp_path, "under way"), gate(tmp_path, "go on")
    do = 'first("one") and (let("under way"), wait_for("go on"))'
    lost = Run(cluster, tmp_path, do, "--workers", "1", "--checkpoint-every", "1")
    under_way.read_text()
    lost.process.kill()
    lost.end()
    until = time.monotonic() + 60
    while trace.held(trace.record_path(lost.record)):  # Ray ends what was the job's
        assert time.monotonic() < until, lost.output
        time.sleep(0.1)
    os.remove(go_on)
    run = Run(cluster, tmp_path, do, "--resume", str(lost.record), "--workers", "1")
    assert run.end() == 0, run.output
    assert run.exact(), run.output
    assert "the run goes on from its newest checkpoint." in run.output
    assert trace.parts(run.record) == 1


def test_no_cluster(cluster: RayCluster, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("")
    log = tmp_path / "output"
    # Ray looks for one among the processes, too, and hosts share those.
    alone = ["unshare", "--pid", "--mount-proc", "--fork", *COMMAND, str(script)]
    for address in ("", f"{cluster.hosts.address(2)}:6379", "ray://10.0.0.1:10001"):
        began = time.monotonic()
        environment = cluster.environment(RAY_ADDRESS=address)
        assert cluster.hosts.start(2, alone, environment, log).wait(60) == 2, log.read_text()
        assert time.monotonic() - began < 20, address
    text = log.read_text()
    assert text.count("evener run: error: no Ray cluster can be used from here") == 2, text
    assert "Start one on this machine (ray start --head), run this on a node of one" in text
    assert text.count("a Ray client's address (ray://)") == 1


# The last one: it kills a node of the cluster that all share.
def test_a_node_is_killed_and_another_one_added(cluster: RayCluster, tmp_path: Path) -> None:
    under_way, _, _ = (gate(tmp_path, name) for name in ("under way", "never", "the new one"))
    do = """{
        "0": lambda: first("zero") and wait_for("the new one"),
        "1": lambda: (let("under way"), wait_for("never")),
        "2": lambda: first("two") and let("the new one"),
    }[host]()"""
    # Two CPUs for each: one worker a node.
    kind = ["--worker-resources", '{"one": 1}']
    for host in (0, 1):
        cluster.kill(host)
        cluster.add(host, '--resources={"one": 1}')
    run = Run(cluster, tmp_path, do, "--workers", "2", *kind)
    under_way.read_text()
    cluster.kill(1)
    cluster.add(2, '--resources={"one": 1}')
    assert run.end() == 0, run.output
    assert run.exact(), run.output
    assert len(run.joined()) == 3
