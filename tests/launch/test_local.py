"""Runs with real processes, which are stand-ins for training."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from evener.launch import LaunchError, RunOptions, local, run
from evener.runtime.place import PolicyChoice
from evener.trace import FILE

from .conftest import FINISHED, Kept, Script, gone, place_in

GOOD = f"""
if server: record({FINISHED!r})
print(json.dumps(place), flush=True)
"""


def test_everyone_gets_a_place(script: Script, screen: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    options = RunOptions(
        script=script(GOOD + "\nprint('threads', os.environ['OMP_NUM_THREADS'], sys.argv[1:])"),
        arguments=("--epochs", "3"),
        workers=3,
        policy=PolicyChoice("balanced", {"bound": 0}),
        seed=7,
        targets={"accuracy": 0.9},
    )
    result = run(options, screen)
    assert (result.code, result.problems, screen.err, screen.notes) == (0, (), [], [])
    assert result.record == result.folder / FILE
    assert result.folder == (Path("runs") / result.run).resolve()
    assert screen.followed == [result.record]
    assert screen.ended
    places = [place_in(line) for line in screen.out if "{" in line]
    assert sorted(str(place["role"]) for place in places) == ["server", "worker", "worker", "worker"]
    assert sorted(place.get("index", -1) for place in places) == [-1, 0, 1, 2]  # type: ignore[type-var]
    for name in ("token", "address", "run"):
        assert len({place[name] for place in places}) == 1
    for place in places:
        assert (place["seed"], place["workers"], place["threads"]) == (7, 3, 1)
        assert place["policy"] == {"name": "balanced", "options": {"bound": 0}}
        assert place["targets"] == {"accuracy": 0.9}
        assert ("record" in place and bool(place["record"])) == (place["role"] == "server")
    threads = [line for line in screen.out if "threads 1" in line]
    assert len(threads) == 4
    assert sum(line.startswith("[worker 2] ") for line in screen.out) == 2
    assert all("['--epochs', '3']" in line for line in threads)


@pytest.mark.parametrize("tcp", [False, True])
def test_every_place_says_whether_memory_may_be_shared(script: Script, screen: Kept, tcp: bool) -> None:
    assert run(RunOptions(script=script(GOOD), workers=2, tcp=tcp), screen).code == 0
    assert [place_in(line)["tcp"] for line in screen.out] == [tcp] * 3


def test_every_place_says_how_bulk_is_compressed(script: Script, screen: Kept) -> None:
    assert run(RunOptions(script=script(GOOD), workers=2, compress="int8"), screen).code == 0
    assert [place_in(line)["compress"] for line in screen.out] == ["int8"] * 3


def test_the_speeds_are_given_and_noted(script: Script, screen: Kept) -> None:
    result = run(RunOptions(script=script(GOOD), workers=2, speeds=(3, 1)), screen)
    assert result.code == 0
    places = {place.get("index", -1): place for place in (place_in(line) for line in screen.out)}
    first, second = places[0]["slowness"], places[1]["slowness"]
    assert first["share"] == pytest.approx(3 * second["share"], rel=1e-4)  # type: ignore[index]
    notes = places[-1]["notes"]
    assert notes["speeds"] == [3, 1]  # type: ignore[index]
    assert screen.notes == [notes["slowness"]]  # type: ignore[index]
    assert not places[-1].get("slowness")
    if path := first.get("path"):  # type: ignore[union-attr, attr-defined]
        assert not Path(path).parent.parent.exists()


def test_one_worker_has_the_machine_and_its_threads(script: Script, screen: Kept) -> None:
    assert run(RunOptions(script=script(GOOD), workers=1), screen).code == 0
    assert all("threads" not in place_in(line) for line in screen.out) or all(
        place_in(line)["threads"] == 0 for line in screen.out
    )


def test_a_failing_worker_is_shown_whole_and_the_others_go_on(script: Script, screen: Kept) -> None:
    body = f"""
if worker and index == 0:
    def deep(n):
        return deep(n - 1) if n else 1 / 0
    deep(5)
if server:
    wait_for("one")
    record({FINISHED!r})
if worker and index == 1:
    print("going on", flush=True)
    let("one")
"""
    path = script(body)
    os.mkfifo(path.parent / "one")
    result = run(RunOptions(script=path, workers=2), screen)
    assert result.code == 1
    (problem,) = result.problems
    assert "worker 0 ended with exit code 1" in problem
    (traceback,) = screen.err
    assert traceback.startswith("[worker 0] Traceback (most recent call last):\n[worker 0] ")
    assert traceback.endswith("[worker 0] ZeroDivisionError: division by zero")
    assert "[worker 1] going on" in screen.out


def test_tracebacks_of_several_workers_do_not_mix(script: Script, screen: Kept) -> None:
    body = """
if server:
    record()
    for_ever()
raise ValueError("one\\ntwo\\nthree")
"""
    run(RunOptions(script=script(body), workers=4), screen)
    assert len(screen.err) == 4
    for block in screen.err:
        assert len({line[:10] for line in block.split("\n")}) == 1


def test_a_server_without_workers_is_stopped(script: Script, screen: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "LAST_WORD", 0.2)
    body = """
if worker: sys.exit(3)
record()
try:
    for_ever()
except KeyboardInterrupt:
    record("closed")
    raise
"""
    result = run(RunOptions(script=script(body), workers=2), screen)
    assert result.code == 1
    assert "all workers are gone before the end of the run" in result.problems[-1]
    assert screen.err == []  # the server's KeyboardInterrupt is our doing
    assert (result.folder / FILE).read_text().endswith("closed\n")


class Patient(Kept):
    """Lets the server go on after a few refreshes, some of which come after the workers have gone."""

    def __init__(self, gate: Path) -> None:
        super().__init__()
        self.gate = gate

    def tick(self) -> None:
        super().tick()
        if self.ticks == 5:
            self.gate.open("w").close()


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(f"record({FINISHED!r}); door = listen()", id="it evaluates after the last step"),
        pytest.param("record()", id="the disk does not take the record's end, but nobody could join any more"),
    ],
)
def test_a_server_that_is_done_may_take_its_time_without_workers(
    script: Script, monkeypatch: pytest.MonkeyPatch, done: str
) -> None:
    # For longer than a deserted server would be left alone.
    monkeypatch.setattr(local, "LAST_WORD", 0.05)
    path = script(f"""
if server:
    {done}
    wait_for("gate")
    print("evaluated")
""")
    os.mkfifo(path.parent / "gate")
    screen = Patient(path.parent / "gate")
    result = run(RunOptions(script=path, workers=2), screen)
    assert (result.code, screen.out) == (0, ["evaluated"])


def test_a_dying_server_ends_its_workers(script: Script, screen: Kept) -> None:
    body = """
if worker: let("up"); for_ever()
wait_for("up")
record()
os.kill(os.getpid(), signal.SIGKILL)
"""
    path = script(body)
    os.mkfifo(path.parent / "up")
    result = run(RunOptions(script=path, workers=1), screen)
    assert result.code == 1
    assert "the server was ended by SIGKILL" in result.problems[0]
    assert screen.err == []


def test_a_worker_that_stays_after_the_end_is_ended(
    script: Script, screen: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = tuple((delay, signum) for delay, signum in local.STOP_NOW)
    monkeypatch.setattr(local, "FAREWELL", steps)
    result = run(RunOptions(script=script("if worker: for_ever()\nrecord()"), workers=1), screen)
    assert result.code == 0
    assert "worker 0 was still busy" in screen.notes[-1]


def test_a_script_that_never_joins_is_told_how(script: Script, screen: Kept) -> None:
    result = run(RunOptions(script=script("print('trained')"), workers=1), screen)
    assert result.code == 2
    assert result.record is None
    assert "without calling evener.join() and session.prepare(" in result.problems[0]


def test_what_a_process_started_goes_with_it(script: Script, screen: Kept) -> None:
    body = f"""
if worker:
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    print("child", child.pid)
else:
    record({FINISHED!r})
"""
    result = run(RunOptions(script=script(body), workers=1), screen)
    assert result.code == 0
    assert gone(int(screen.out[0].split()[-1]))


# Refused before anything starts -----------------------------------------------------------------------------


def test_a_record_is_never_overwritten(script: Script, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / FILE).write_text("precious")
    with pytest.raises(LaunchError, match="already holds the record of a run"):
        run(RunOptions(script=script(GOOD), record=tmp_path / "old"))
    assert (tmp_path / "old" / FILE).read_text() == "precious"


def test_a_port_in_use(script: Script, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match=f"port {port} on 127.0.0.1 cannot be used"):
            run(RunOptions(script=script(GOOD), port=port))
    assert not (tmp_path / "runs").exists()


def test_a_chosen_port_and_folder(script: Script, screen: Kept, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    result = run(RunOptions(script=script(GOOD), port=port, record=tmp_path / "a" / "b"), screen)
    assert result.record == tmp_path / "a" / "b" / FILE
    assert {place_in(line)["address"] for line in screen.out} == {f"tcp://127.0.0.1:{port}"}


def test_a_folder_that_cannot_be_made(script: Script, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LaunchError, match="cannot be made"):
        run(RunOptions(script=script(GOOD), record=tmp_path / "file" / "below"))
