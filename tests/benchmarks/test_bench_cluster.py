"""Emulated clusters: what they need, and, as root, that they are what they say and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import cluster as emulation
from benchmarks import plan
from benchmarks.clusters import Cluster, Link
from benchmarks.links import spaces
from benchmarks.measure import FailedError
from benchmarks.plan import Block
from benchmarks.results import Session
from benchmarks.run import Bench
from benchmarks.systems import System, find
from evener.launch._cgroups import Parent

ROOT = Path(__file__).parents[2]
SHARES = (0.2, 0.1)

ECHO = """
import socket
with socket.create_server(("0.0.0.0", 7000)) as server:
    connection, _ = server.accept()
    while data := connection.recv(1 << 16):
        connection.sendall(data)
"""

PING = """
import socket, sys, time
for _ in range(200):
    try:
        connection = socket.create_connection((sys.argv[1], 7000), timeout=5)
        break
    except OSError:
        time.sleep(0.05)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
best = 9.0
for _ in range(10):
    began = time.perf_counter()
    connection.sendall(b"x")
    connection.recv(10)
    best = min(best, time.perf_counter() - began)
print(best)
"""


SINK = """
import socket
with socket.create_server(("0.0.0.0", 7001)) as server:
    connection, _ = server.accept()
    while connection.recv(1 << 16):
        pass
    connection.sendall(b"x")
"""

PUSH = """
import socket, sys, time
for _ in range(200):
    try:
        connection = socket.create_connection((sys.argv[1], 7001), timeout=30)
        break
    except OSError:
        time.sleep(0.05)
began = time.perf_counter()
connection.sendall(bytes(3_000_000))
connection.shutdown(socket.SHUT_WR)
connection.recv(1)
print(24 / (time.perf_counter() - began))
"""


def test_without_root_it_says_so(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(emulation.ClusterError, match="needs root"):
        emulation.check()


def test_without_a_tool_it_names_the_package(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(emulation.shutil, "which", lambda tool: None if tool == "nsenter" else tool)
    with pytest.raises(emulation.ClusterError, match="util-linux"):
        emulation.check()


@pytest.fixture
def possible():
    try:
        emulation.check()
    except emulation.ClusterError as error:
        pytest.skip(str(error))


def groups_of(name: str) -> list[Path]:
    return list(emulation.groups.parent().path.glob(f"*{name}*"))


def left(name: str) -> list[object]:
    return [space for space in spaces() if name in space] + groups_of(name)


def round_trip(cluster, tmp_path) -> float:
    log = tmp_path / "ping"
    cluster.start(0, [sys.executable, "-c", ECHO], os.environ, tmp_path / "echo")
    ping = cluster.start(1, [sys.executable, "-c", PING, cluster.address(0)], os.environ, log)
    assert ping.wait(60) == 0, log.read_text()
    return float(log.read_text())


@pytest.mark.comparison
@pytest.mark.usefixtures("possible")
@pytest.mark.parametrize(("link", "least"), [(Link(), 0.0), (Link(rate_mbit=100), 0.0), (Link(delay_ms=5), 0.020)])
def test_hosts_reach_each_other(tmp_path, link, least):
    with emulation.EmulatedCluster(Cluster("two", "", SHARES, link)) as cluster:
        assert least <= round_trip(cluster, tmp_path) < least + 0.1
        name = cluster.name
    assert not left(name)


@pytest.mark.comparison
@pytest.mark.usefixtures("possible")
@pytest.mark.parametrize("link", [Link(rate_mbit=20), Link(rate_mbit=20, delay_ms=1)])
def test_links_are_as_slow_as_asked(tmp_path, link):
    log = tmp_path / "push"
    with emulation.EmulatedCluster(Cluster("two", "", SHARES, link)) as cluster:
        cluster.start(0, [sys.executable, "-c", SINK], os.environ, tmp_path / "sink")
        push = cluster.start(-1, [sys.executable, "-c", PUSH, cluster.address(0)], os.environ, log)
        assert push.wait(60) == 0, log.read_text()
    assert 14 < float(log.read_text()) < 22  # Mbit/s, less what headers take, plus what fits into the queue


@pytest.mark.comparison
@pytest.mark.usefixtures("possible")
def test_quotas_hold_and_change(tmp_path):
    with emulation.EmulatedCluster(Cluster("two", "", SHARES)) as cluster:
        for host in (0, 1):
            cluster.start(host, [sys.executable, "-c", "while True: pass"], os.environ, tmp_path / "log")
            cluster.enter(host)
        used = []
        for share in (0.1, 0.4):
            cluster.set_share(1, share)
            before = cluster.cpu_seconds(1)
            time.sleep(3)  # it is the passing of time itself that is measured
            used.append((cluster.cpu_seconds(1) - before) / 3)
        assert used == pytest.approx([0.1, 0.4], rel=0.25)
        cluster.kill(1)
        assert cluster.cpu_seconds(1) == 0


def test_only_what_a_dead_run_of_ours_left_is_removed(tmp_path, monkeypatch):
    dead, alive = 2**22 + 1, os.getpid()  # beyond the kernel's greatest process id; and we
    ours, others = f"evener-bench-{dead}-0", [
        f"evener-bench-{alive}-0",
        f"evener-{dead}-0",
        f"other-evener-bench-{dead}-0",
        "evener-bench-mine",
        "evener-benchmark",
    ]  # fmt: skip
    for name in (ours, *others):
        (tmp_path / name / "worker-0").mkdir(parents=True)
    removed = []
    monkeypatch.setattr(emulation.groups, "parent", lambda: Parent(1, tmp_path))
    monkeypatch.setattr(emulation.links, "spaces", lambda: [f"{name}-0" for name in (ours, *others)])
    monkeypatch.setattr(emulation.links, "remove", removed.append)
    emulation.sweep()
    assert set(removed) == {ours}
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(others)


@pytest.mark.comparison
@pytest.mark.usefixtures("possible")
def test_a_stalled_host_uses_no_cpu_time_until_it_goes_on(tmp_path):
    with emulation.EmulatedCluster(Cluster("two", "", SHARES)) as cluster:
        cluster.start(0, [sys.executable, "-c", "while True: pass"], os.environ, tmp_path / "log")
        for act in (cluster.stall, cluster.resume):
            act(0)
            time.sleep(0.1)  # the tick under way
            before = cluster.cpu_seconds(0)
            time.sleep(1)  # it is the passing of time itself that is measured
            assert (cluster.cpu_seconds(0) > before) == (act == cluster.resume)
        cluster.stall(0)
        name = cluster.name
    assert not left(name)


@pytest.mark.comparison
@pytest.mark.usefixtures("possible")
def test_the_next_run_removes_what_a_killed_one_left(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path\n"
        "from benchmarks import cluster as c; from benchmarks.clusters import Cluster\n"
        "e = c.EmulatedCluster(Cluster('two', '', (0.2, 0.1))).__enter__()\n"
        # Its child does not die with the launcher; a grandchild, as some systems have.
        "e.start(0, ['sh', '-c', 'sleep 1000 & wait'], os.environ, Path(sys.argv[1]))\n"
        "print(e.name, flush=True); time.sleep(1000)\n"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "log"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    name = launcher.stdout.readline().strip()
    emulation.sweep()
    assert left(name), "a cluster in use must stay"
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    launcher.stdout.close()
    assert left(name)
    emulation.sweep()
    assert not left(name)


@pytest.mark.comparison
@pytest.mark.usefixtures("possible")
def test_a_system_that_does_not_start_is_told_with_its_last_words():
    session = Session("some", {})
    bench = Bench(session)
    with emulation.EmulatedCluster(Cluster("two", "", SHARES)) as cluster:
        one = Block(cluster.cluster, "small", (), 64, 1, 1.0)
        with pytest.raises(FailedError, match=r"exit code 1(.|\n)*No module named"):
            bench.once(cluster, one, System("broken", "", "no_such_runner"), [(16,)] * 2, [1.0, 1.0])


@pytest.mark.comparison
@pytest.mark.usefixtures("possible")
@pytest.mark.timeout(600)
def test_a_tiny_job_runs_on_two_hosts(tmp_path, monkeypatch):
    monkeypatch.setitem(plan.SIZES, "small", (16, 32))
    session = Session("some", {})
    two = Block(Cluster("two", "", SHARES), "small", (find("balanced"), find("ddp")), 64, 1, 2.0)
    Bench(session).measure(two)
    assert [result.failed for result in session.results] == [""] * 4
    assert all(result.samples_per_second > 0 for result in session.results)
    [balanced] = [result for result in session.results if result.system == "balanced"]
    assert balanced.counted_once
    assert balanced.server_cpu > 0
