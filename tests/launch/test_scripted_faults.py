"""Scripted faults and restarts on real processes, which are stand-ins for training."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest

from evener.launch import LaunchError, RunOptions, run
from evener.launch._proxy import Proxy
from evener.simulation.sentences import parse_faults

from .conftest import FINISHED, Kept, Script, keep

HEADER = (
    '{"t":0.0,"header":{"schema":1,"kind":"run","run":"r","created":"","evener":"0","script":"s",'
    '"settings":{"batch":8,"epochs":1,"workers":2},"policy":{"name":"balanced"},"positions":8,"parameters":1}}'
)


def resumed_header(version: int) -> str:
    resumed = {"part": 1, "checkpoint": 1, "standing": {"version": version}}
    return HEADER[:-2] + f',"resumed":{json.dumps(resumed)}' + "}}"


PUBLISHED = (
    '{"t":1.0,"event":{"type":"StepDone","version":7,"seconds":0.1},"commands":[{"type":"Publish","version":7}]}\n'
    '{"t":1.1,"event":{"type":"StepDone","version":8,"seconds":0.1},"commands":[{"type":"Publish","version":8}]}'
)
STARTED = '{"t":1.0,"event":{"type":"Started","worker":1,"ticket":1,"version":0},"commands":[]}'


def options(path: Path, *faults: str, **changes: object) -> RunOptions:
    return RunOptions(script=path, workers=2, faults=parse_faults("\n".join(faults)), **changes)  # type: ignore[arg-type]


def fifos(folder: Path, *names: str) -> None:
    for name in names:
        os.mkfifo(folder / name)


def test_a_worker_is_killed_in_compute_and_that_is_no_failure(script: Script, screen: Kept) -> None:
    path = script(f"""
if worker and index == 1:
    let("up")
    for_ever()
if worker:
    wait_for("over")
if server:
    record({HEADER!r})
    wait_for("up")
    record({STARTED!r})
    import select
    wait_for("gone")
    record({FINISHED!r})
    let("over")
""")
    fifos(path.parent, "up", "gone", "over")

    class Watching(Kept):
        def note(self, text: str) -> None:
            super().note(text)
            if "was ended by SIGKILL" in text:
                (path.parent / "gone").open("w").close()

    watching = Watching()
    result = run(options(path, "in compute kill worker 1"), watching)
    assert (result.code, result.problems) == (0, ())
    assert watching.notes == [
        "as scripted: in compute kill worker 1",
        "worker 1 was ended by SIGKILL; the others go on.",
    ]


@pytest.mark.parametrize("what", ["stop worker 0 for 0.3 s", "slow worker 0 by 50 for 0.3 s"])
def test_a_worker_is_stopped_for_a_while(script: Script, screen: Kept, what: str) -> None:
    path = script(f"""
if server:
    record({HEADER!r})
    wait_for("late")
    record({FINISHED!r})
if worker and index == 0:
    last = time.monotonic()
    until = last + 20
    while last < until:
        now = time.monotonic()
        if now - last > 0.07:
            print("stopped")
            break
        last = now
    let("late")
""")
    fifos(path.parent, "late")
    result = run(options(path, f"at 0.1 s {what}"), screen)
    assert result.code == 0, screen.err
    assert "[worker 0] stopped" in screen.out


def test_a_run_that_is_asked_to_end_lets_those_go_who_are_stopped(script: Script, screen: Kept) -> None:
    path = script(f"""
if server:
    record({HEADER!r})
    for_ever()
if worker and index == 0:
    for_ever()
""")

    class Asking(Kept):
        def note(self, text: str) -> None:
            super().note(text)
            if text.startswith("as scripted"):
                os.kill(os.getpid(), signal.SIGINT)

    began = time.monotonic()
    assert run(options(path, "at 0 s stop worker 0 for 1000 s"), Asking()).code == 130
    assert time.monotonic() - began < 30


def test_a_worker_that_does_not_run_cannot_be_struck(script: Script) -> None:
    path = script(f"""
if server:
    record({HEADER!r})
    wait_for("gone")
    record({STARTED!r})
    wait_for("noted")
    record({FINISHED!r})
if worker and index == 1:
    sys.exit(3)
""")
    fifos(path.parent, "gone", "noted")

    class Watching(Kept):
        def note(self, text: str) -> None:
            super().note(text)
            (path.parent / ("noted" if "not done" in text else "gone")).open("w").close()

    watching = Watching()
    assert run(options(path, "in compute kill worker 1"), watching).code == 1
    assert watching.notes[1:] == ["not done, as worker 1 is not running: in compute kill worker 1"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [("in push kill worker 2", "there is no worker 2; they are workers 0 to 1"), ("x", "")],
)
def test_faults_that_cannot_be(script: Script, fault: str, says: str) -> None:
    if fault == "x":
        fault, says = "at 1 s slow worker 0 by 0.5 for 1 s", "slower, not faster"
    with pytest.raises(LaunchError, match=says):
        run(options(script(""), fault))


def test_a_server_that_goes_on_is_followed(script: Script, screen: Kept, tmp_path: Path) -> None:
    keep(tmp_path / "kept")
    (checkpoint,) = (tmp_path / "kept").iterdir()
    path = script(f"""
import shutil
if server and not place["resume"]:
    shutil.copy(sys.argv[1], place["record"])
    record({HEADER!r})
    wait_for("up")
    os.kill(os.getpid(), signal.SIGKILL)
if server:
    record({resumed_header(version=7)!r})
    record({STARTED!r})
    wait_for("gone")
    record({FINISHED!r})
    let("over")
if worker and index == 1:
    let("up")
    for_ever()
if worker:
    wait_for("over")
""")
    fifos(path.parent, "up", "gone", "over")

    class Watching(Kept):
        def note(self, text: str) -> None:
            super().note(text)
            if "worker 1 was ended by SIGKILL" in text:
                (path.parent / "gone").open("w").close()

    watching = Watching()
    faults = ("in compute after step 7 kill worker 1", "at step 3 kill worker 0")
    result = run(options(path, *faults, arguments=(str(checkpoint),), record=tmp_path / "run"), watching)
    assert (result.code, result.problems) == (0, ())
    assert watching.notes[1:] == [
        "not done, as the run goes on from version 7: at step 3 kill worker 0",
        "as scripted: in compute after step 7 kill worker 1",
        "worker 1 was ended by SIGKILL; the others go on.",
    ]


def test_the_server_is_killed_as_scripted_and_goes_on(script: Script, tmp_path: Path) -> None:
    keep(tmp_path / "kept")
    (checkpoint,) = (tmp_path / "kept").iterdir()
    path = script(f"""
import shutil
if server and not place["resume"]:
    shutil.copy(sys.argv[1], place["record"])
    record({HEADER!r})
    record({PUBLISHED!r})
    for_ever()
if server:
    record({resumed_header(version=7)!r})
    record({FINISHED!r})
    let("over")
if worker and index == 1:
    wait_for("over")
""")
    fifos(path.parent, "over")
    watching = Kept()
    faults = ("at step 8 kill the server", "at step 7 stop the server for 5 s")
    result = run(options(path, *faults, arguments=(str(checkpoint),), record=tmp_path / "run"), watching)
    assert (result.code, result.problems) == (0, ())
    assert watching.notes == [
        "as scripted: at step 7 stop the server for 5 s",
        "as scripted: at step 8 kill the server",
        "the server was ended by SIGKILL; it goes on from checkpoint 1 (version 7).",
    ]


# Starting again ---------------------------------------------------------------------------------------------

COUNTING = """
def times():
    with open(f"times-{index}", "a+") as file:
        file.write(".")
        file.seek(0)
        return len(file.read())
"""


def test_a_worker_that_fails_is_started_again(script: Script, screen: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evener.launch.restarts.FIRST", 0.05)
    path = script(
        COUNTING
        + f"""
if worker and index == 1:
    if times() < 3: raise MemoryError("no room")
    let("third time")
if server:
    record({HEADER!r})
    wait_for("third time")
    record({FINISHED!r})
"""
    )
    fifos(path.parent, "third time")
    result = run(options(path, restarts=3), screen)
    assert (result.code, result.problems) == (0, ())
    assert screen.notes == [
        "worker 1 ended with exit code 1; it is started again in 0.05 s.",
        "worker 1 ended with exit code 1; it is started again in 0.1 s.",
    ]


def test_but_not_for_ever(script: Script, screen: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evener.launch.restarts.FIRST", 0.01)
    monkeypatch.setattr("evener.launch.local.LAST_WORD", 0.05)
    path = script(COUNTING + f"\nif server:\n    record({HEADER!r})\n    for_ever()\ntimes()\nsys.exit(3)")
    result = run(options(path, restarts=2), screen)
    assert result.code == 1
    assert [len((path.parent / f"times-{index}").read_text()) for index in (0, 1)] == [3, 3]
    assert "all workers are gone" in result.problems[-1]


# A way that can be cut --------------------------------------------------------------------------------------


def readable(end: socket.socket, seconds: float) -> bool:
    return bool(select.select([end], [], [], seconds)[0])


def test_what_is_sent_over_a_cut_way_arrives_later_and_in_order() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(server.getsockname()[1])
        port = int(proxy.address.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as near:
            far, _ = server.accept()
            with far:
                near.sendall(b"one")
                assert far.recv(10) == b"one"
                proxy.cut()
                near.sendall(b"two")
                far.sendall(b"back")
                assert not readable(far, 0.1)
                assert not readable(near, 0.0)
                proxy.mend()
                assert readable(far, 5.0)
                assert far.recv(10) == b"two"
                assert near.recv(10) == b"back"
                proxy.drop()
                assert readable(far, 5.0)
                assert far.recv(10) == b""
        proxy.close()
        proxy.close()
