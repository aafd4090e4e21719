"""Ctrl-C, SIGTERM and SIGKILL: nothing stays behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from evener.launch import RunOptions, _cgroups, run
from evener.launch._signals import Signals

from .conftest import FINISHED, Kept, Launcher, Script

Start = Callable[..., Launcher]

POLITE = """
if server: record()
print("pid", os.getpid(), flush=True)
try:
    for_ever()
except KeyboardInterrupt:
    if server: record("closed")
    raise
"""

STUBBORN = """
for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(signum, signal.SIG_IGN)
if server: record()
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("pid", child.pid, flush=True)
print("pid", os.getpid(), flush=True)
while True: time.sleep(1000)
"""


def record_of(launcher: Launcher, folder: Path) -> str:
    (record,) = folder.glob("runs/*/record.jsonl")
    return record.read_text()


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_asked_to_stop(launcher: Start, tmp_path: Path, signum: int, code: int) -> None:
    run = launcher(POLITE, "--workers", "2")
    run.wait_for_pids(3)
    returned, seconds, err = run.end(signum)
    assert returned == code
    assert seconds < 3
    assert run.survivors(0) == []
    assert record_of(run, tmp_path).endswith("closed\n")  # the server was given the time to close it
    assert "KeyboardInterrupt" not in err
    assert f"stopping, as {signal.Signals(signum).name} asks" in err


def test_processes_that_do_not_listen_are_killed_within_three_seconds(launcher: Start, tmp_path: Path) -> None:
    run = launcher(STUBBORN, "--workers", "2", "--speeds", "2,1")
    run.wait_for_pids(6)
    code, seconds, _ = run.end(signal.SIGINT)
    assert code == 130
    assert seconds < 3
    assert run.survivors() == []
    (folder,) = tmp_path.glob("runs/*")
    assert not any((parent.path / f"evener-{folder.name}").exists() for parent in _cgroups.here())


def test_asked_twice_everything_ends_at_once(launcher: Start) -> None:
    run = launcher(STUBBORN, "--workers", "1")
    run.wait_for_pids(4)
    run.process.send_signal(signal.SIGINT)
    assert run.process.stderr is not None
    while "stopping, as SIGINT asks" not in run.process.stderr.readline():
        pass
    code, seconds, _ = run.end(signal.SIGINT)
    assert code == 130
    assert seconds < 1
    assert run.survivors() == []


def test_told_several_times_of_one_death_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child of a process with threads is, when that is killed; who presses Ctrl-C twice means it."""
    with Signals() as signals:
        for signum in (signal.SIGTERM, signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(signum)
        assert signals.received == [signal.SIGTERM, signal.SIGINT]
        monkeypatch.setattr("evener.launch._signals.AGAIN", 0.0)
        signal.raise_signal(signal.SIGTERM)
        assert signals.received[2:] == [signal.SIGTERM]


def test_a_killed_launcher_takes_its_processes_along(launcher: Start) -> None:
    run = launcher(POLITE, "--workers", "2")
    run.wait_for_pids(3)
    run.end(signal.SIGKILL)
    assert run.survivors() == []


def test_a_run_whose_reader_has_gone_ends(launcher: Start) -> None:
    run = launcher('if server: record()\nprint("pid", os.getpid(), flush=True)\nwhile True: print("more")')
    run.wait_for_pids(1)
    assert run.process.stdout is not None
    run.process.stdout.close()
    assert run.process.wait(timeout=20) == 128 + signal.SIGPIPE
    assert run.survivors() == []


def test_who_blocks_ctrl_c_can_still_ask_with_it(script: Script, screen: Kept) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as Ray's processes do
    try:
        path = script(f"if server: record({FINISHED!r})\nprint(signal.pthread_sigmask(signal.SIG_BLOCK, []))")
        assert run(RunOptions(script=path, workers=1), screen).code == 0
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert sorted(screen.out) == ["[worker 0] set()", "set()"]
