from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evener.launch import _cgroups, slowness

QUOTAS = [parent for parent in _cgroups.here() if parent.version == 1]


def quotas_work() -> bool:
    with slowness.emulate([1.0], "probe") as emulation:
        return "cgroup v1" in emulation.words


real_quotas = pytest.mark.skipif(not quotas_work(), reason="CPU quotas of version 1 cannot be set here")

speeds = st.lists(st.floats(0.05, 100), min_size=1, max_size=20)


@given(speeds, st.floats(1, 128))
def test_shares_are_in_proportion_and_leave_room_for_the_server(some: list[float], cores: float) -> None:
    shares = slowness.shares(some, cores)
    assert max(shares) <= 1.0
    assert sum(shares) <= 0.75 * cores + 1e-4
    assert max(shares) > 0.999 or sum(shares) > 0.749 * cores
    for share, speed in zip(shares, some, strict=True):
        assert share == pytest.approx(shares[0] * speed / some[0], rel=1e-2, abs=1e-6)


@given(st.floats(_cgroups.LEAST_SHARE, 1.0))
def test_quotas_deliver_the_share_and_the_kernel_takes_them(share: float) -> None:
    quota, period = _cgroups.quota(share)
    assert quota >= 1_000
    assert 1_000 <= period <= 1_000_000
    assert quota / period == pytest.approx(share, rel=0.01)


@pytest.mark.parametrize("wrong", [(1.0, 0.0), (2.0, -1.0), (float("nan"),), (1.0, float("inf"))])
def test_a_speed_is_a_positive_number(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="positive number"):
        slowness.check(wrong)


def test_speeds_beyond_what_can_be_given() -> None:
    with pytest.raises(ValueError, match="too unequal"):
        slowness.check([1.0, 1e-6])


def test_without_speeds_nothing_happens() -> None:
    with slowness.emulate([], "none") as emulation:
        assert emulation == slowness.Emulation((), "")


def test_where_quotas_cannot_be_set_workers_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cgroups, "here", list)
    with slowness.emulate([2, 1], "none") as emulation:
        assert [s.kind for s in emulation.workers if s] == ["throttle", "throttle"]
        assert emulation.shares[0] == 2 * emulation.shares[1]
        assert "pauses" in emulation.words
        assert "no control groups" in emulation.words


# The groups of version 1, if they are to be had -------------------------------------------------------------


@real_quotas
def test_a_process_enters_its_quota_and_nothing_stays_behind() -> None:
    with slowness.emulate([8, 4, 2, 1], "enter") as emulation:
        door = Path(emulation.workers[3].path)  # type: ignore[union-attr]
        assert emulation.words.startswith("CPU quotas (cgroup v1): ")
        with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
            door.write_text(str(process.pid))
            quota = int((door.parent / "cpu.cfs_quota_us").read_text())
            period = int((door.parent / "cpu.cfs_period_us").read_text())
            assert quota / period == pytest.approx(emulation.shares[3], rel=0.01)
            assert door.read_text().split() == [str(process.pid)]
            emulation.lift()
            assert (door.parent / "cpu.cfs_quota_us").read_text() == "-1\n"
            assert process.stdin is not None
            process.stdin.close()
    assert not door.parent.parent.exists()


@real_quotas
def test_a_process_that_stays_in_its_group_is_ended_with_it() -> None:
    with slowness.emulate([1, 1], "stay") as emulation:
        door = Path(emulation.workers[0].path)  # type: ignore[union-attr]
        process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        door.write_text(str(process.pid))
    assert process.wait(timeout=10) == -9
    assert not door.parent.parent.exists()


@real_quotas
def test_groups_go_when_the_run_fails() -> None:
    with pytest.raises(RuntimeError), slowness.emulate([1, 1], "fails") as emulation:
        raise RuntimeError
    assert not Path(emulation.workers[0].path).parent.parent.exists()  # type: ignore[union-attr]


@real_quotas
def test_left_overs_of_dead_runs_go_and_nothing_else() -> None:
    top = QUOTAS[0].path
    dead, alive, other = top / "evener-dead", top / "evener-alive", top / "evenerless"
    process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        (dead / "worker-0").mkdir(parents=True)
        (alive / "worker-0").mkdir(parents=True)
        other.mkdir()
        (alive / "worker-0" / "cgroup.procs").write_text(str(process.pid))
        with slowness.emulate([1, 1], "first"):
            assert not dead.exists()
            assert alive.exists()
            assert other.exists()
            with slowness.emulate([1, 1], "second"):  # the first is still empty, and must stay
                assert (top / "evener-first" / "worker-1").exists()
    finally:
        process.kill()
        process.wait()
        _cgroups._remove(alive / "worker-0")
        for folder in (alive, other):
            _cgroups._remove(folder)
    assert not any((top / name).exists() for name in ("evener-first", "evener-second", "evener-alive"))


# A tree that looks like version 2 ---------------------------------------------------------------------------

MOUNTS = """\
24 1 0:22 / / rw,relatime - ext4 /dev/sda rw
31 24 0:27 / {top} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate
"""


@pytest.fixture
def version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plain files where the kernel's would be: ``top/user/session`` holds this process."""
    session = tmp_path / "user" / "session"
    session.mkdir(parents=True)
    (session / "cgroup.subtree_control").write_text("\n")
    (session.parent / "cgroup.subtree_control").write_text("cpu memory pids\n")
    ancestry = _cgroups.ancestry(MOUNTS.format(top=tmp_path), "0::/user/session\n")
    monkeypatch.setattr(_cgroups, "_own", lambda: ancestry)
    monkeypatch.setattr(Path, "rmdir", lambda path: shutil.rmtree(path))
    return session.parent


def test_version_2_takes_the_nearest_group_that_hands_the_controller_down(version_2: Path) -> None:
    with slowness.emulate([2, 1], "run2") as emulation:
        outer = version_2 / "evener-run2"
        assert emulation.words.startswith("CPU quotas (cgroup v2): ")
        assert (outer / "cpu.weight").read_text() == "10000"
        assert (outer / "cgroup.subtree_control").read_text() == "+cpu"
        first, second = emulation.shares
        assert (outer / "worker-0" / "cpu.max").read_text() == f"{round(first * 10_000)} 10000"
        assert emulation.workers[1].path == str(outer / "worker-1" / "cgroup.procs")  # type: ignore[union-attr]
        assert second == first / 2
    assert not outer.exists()


def test_cores_are_counted_by_the_quota_that_this_process_is_in(version_2: Path) -> None:
    (version_2 / "cpu.max").write_text("50000 100000\n")
    (version_2 / "session" / "cpu.max").write_text("max 100000\n")
    assert _cgroups.cores_allowed() == 0.5


def test_where_groups_may_not_be_made_workers_pause(version_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with slowness.emulate([2, 1], "run2") as emulation:
        assert "rights that this user does not have" in emulation.words
        assert all(s is not None and s.kind == "throttle" for s in emulation.workers)


def test_mounts_of_a_container_start_at_its_own_group() -> None:
    mount = "30 23 0:26 /docker/ab12 /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    member = "4:cpu,cpuacct:/docker/ab12/inner\n1:name=systemd:/docker/ab12\n"
    paths = [str(parent.path) for parent in _cgroups.ancestry(mount, member)]
    assert paths == ["/sys/fs/cgroup/cpu/inner", "/sys/fs/cgroup/cpu"]
