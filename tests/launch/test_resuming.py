"""A launcher and a run that goes on: what it takes from the folder, what it refuses, and a server that is killed."""

from __future__ import annotations

import os
import shlex
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evener.cli import main
from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.launch import LaunchError, RunOptions, run, to_resume
from evener.launch.local import TRIES
from evener.runtime import keys
from evener.runtime.place import Place
from evener.trace import Writer, part_path, record_path

from .conftest import FINISHED, PLACE, Kept, Launcher, Script, keep, place_in


def record(folder: Path, *lines: str) -> None:
    with Writer(folder) as writer:
        writer.header(run="the-run", settings=Settings(batch=32, epochs=1), policy=Balanced(), parameters=7)
    with record_path(folder).open("a") as file:
        file.writelines(line + "\n" for line in lines)


SHOW = """
print(os.environ["EVENER_PLACE"], flush=True)
if server: record('%s')
"""


def test_run_id_token_and_port_are_those_of_before(
    script: Script, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evener.cli._report.conclude", lambda result, *_: result.code)
    folder = tmp_path / "one"
    keep(folder)
    record(folder)
    path = script(SHOW % FINISHED)
    assert main(["run", str(path), "--resume", str(folder), "--keep-checkpoints", "7"]) == 0
    places = [place_in(line) for line in capfd.readouterr().out.splitlines() if "{" in line]
    assert len(places) == 3
    for place in places:
        assert (place["run"], place["token"], place["address"]) == (PLACE.run, PLACE.token, PLACE.address)
    (server,) = (place for place in places if place["role"] == "server")
    assert server["policy"] == {"name": "stale", "options": {"bound": 2}}
    assert server["resume"] == str(folder)
    assert server["keep_checkpoints"] == 7
    assert part_path(record_path(folder), 1).exists()


def with_keys(folder: Path) -> Place:
    """A run that was begun with ``evener serve``: the server's place in it."""
    made = folder / "keys"
    keys.make(made, ["laptop"])
    changes = {"keys": str(made), "compare_data": "length", "compress": "auto", "keep_checkpoints": 5}
    place = msgspec.structs.replace(PLACE, token="", **changes)
    keep(folder / "one", place=place)
    record(folder / "one")
    return place


def test_a_server_keeps_its_keys_its_port_and_its_run(
    script: Script, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evener.cli._report.conclude", lambda result, *_: result.code)
    place = with_keys(tmp_path)
    assert main(["serve", str(script(SHOW % FINISHED)), "--resume", str(tmp_path / "one")]) == 0
    (resumed,) = (place_in(line) for line in capfd.readouterr().out.splitlines() if "{" in line)
    for name in ("run", "address", "keys", "workers", "seed", "compare_data", "compress", "keep_checkpoints"):
        assert resumed[name] == getattr(place, name), name
    assert resumed["policy"] == {"name": "stale", "options": {"bound": 2}}
    assert (resumed["role"], resumed["resume"]) == ("server", str(tmp_path / "one"))


@pytest.mark.parametrize(
    ("words", "was"),
    [
        (["--policy", "synchronous"], "the policy (--policy, its options) was stale with bound=2"),
        (["--listen", "127.0.0.1:4001"], "--listen was 127.0.0.1:45123"),
        (["--seed", "4"], "--seed was 0"),
        (["--record", "other"], "--record was "),
        (["--compress", "bf16"], "--compress was auto"),
    ],
)
def test_what_is_fixed_cannot_be_changed_with_keys_either(
    script: Script, tmp_path: Path, capsys: Any, words: list[str], was: str
) -> None:
    with_keys(tmp_path)
    assert main(["serve", str(script("")), "--resume", str(tmp_path / "one"), *words]) == 2
    told = capsys.readouterr().err
    assert "a run goes on as it began" in told
    assert was in told


def test_keys_that_were_moved(script: Script, tmp_path: Path, capsys: Any) -> None:
    place = with_keys(tmp_path)
    Path(place.keys).rename(tmp_path / "moved")
    assert main(["serve", str(script("")), "--resume", str(tmp_path / "one")]) == 2
    told = capsys.readouterr().err
    assert f"there is no server.key in {place.keys}" in told
    assert "If the folder was moved, say where to: --keys DIR" in told


def test_a_server_that_cannot_listen_where_it_did(script: Script, tmp_path: Path, capsys: Any) -> None:
    place = msgspec.structs.replace(with_keys(tmp_path), address="tcp://192.0.2.7:4000")
    keep(tmp_path / "two", place=place)
    assert main(["serve", str(script("")), "--resume", str(tmp_path / "two")]) == 2
    told = capsys.readouterr().err
    assert "cannot listen on 192.0.2.7:4000: " in told
    assert f"--record {tmp_path / 'two'} --go-on --listen HOST:PORT" in told
    assert "Choose another" not in told, "which --resume would refuse"


def test_a_port_that_is_taken_when_a_run_goes_on(script: Script, tmp_path: Path, capsys: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        keep(tmp_path / "one", place=msgspec.structs.replace(PLACE, address=address))
        assert main(["run", str(script("")), "--resume", str(tmp_path / "one")]) == 2
    told = capsys.readouterr().err
    assert "End what listens there, or wait for it: a run goes on at the port that it began with." in told
    assert "leave it out" not in told, "it was"


def test_a_folder_that_is_taken_may_be_gone_on_with(script: Script, tmp_path: Path, capsys: Any) -> None:
    keep(tmp_path / "one")
    record(tmp_path / "one")
    assert main(["run", str(script("")), "--record", str(tmp_path / "one")]) == 2
    assert f"or go on with that run: --resume {tmp_path / 'one'}" in capsys.readouterr().err


def test_each_verb_goes_on_with_what_it_began(script: Script, tmp_path: Path, capsys: Any) -> None:
    with_keys(tmp_path)
    assert main(["run", str(script("")), "--resume", str(tmp_path / "one")]) == 2
    assert "was begun with 'evener serve', for workers with keys: evener serve " in capsys.readouterr().err
    keep(tmp_path / "two")
    assert main(["serve", str(script("")), "--resume", str(tmp_path / "two")]) == 2
    assert "was begun with 'evener run', for this machine alone: evener run " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["--policy", "synchronous"],
        ["--seed", "4"],
        ["--port", "4001"],
        ["--record", "other"],
        ["--bound", "1"],
        ["--compress", "int8"],
    ],
)
def test_what_is_fixed_cannot_be_changed(script: Script, tmp_path: Path, capsys: Any, words: list[str]) -> None:
    keep(tmp_path / "one")
    assert main(["run", str(script("")), "--resume", str(tmp_path / "one"), *words]) == 2
    assert "a run goes on as it began" in capsys.readouterr().err


def test_a_record_that_no_server_took_up_is_put_back(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    results = []
    monkeypatch.setattr("evener.cli._report.conclude", lambda result, *_: results.append(result) or result.code)
    folder = tmp_path / "one"
    keep(folder)
    record(folder)
    path = script("if server: sys.exit(3)\nfor_ever()")
    assert main(["run", str(path), "--resume", str(folder)]) == 1
    assert results[0].record is None, "it says nothing of what was tried now"
    told = capfd.readouterr().err
    assert f"the run in {folder} is as it was" in told
    assert "--resume" not in told, "which was just refused"
    assert record_path(folder).exists()
    assert not part_path(record_path(folder), 1).exists()


def test_a_run_that_is_over(tmp_path: Path) -> None:
    keep(tmp_path)
    record(tmp_path, FINISHED)
    assert to_resume(tmp_path).number == 1, "its server was lost before the weights were there"
    (tmp_path / "final.pt").touch()
    with pytest.raises(LaunchError, match="is complete: there is nothing to resume"):
        to_resume(tmp_path)


def test_a_run_that_goes_on_already(tmp_path: Path) -> None:
    keep(tmp_path)
    with Writer(tmp_path) as writer:
        writer.header(run="the-run", settings=Settings(batch=32, epochs=1), policy=Balanced(), parameters=7)
        with pytest.raises(LaunchError, match="goes on already"):
            to_resume(tmp_path)


def test_nothing_there(tmp_path: Path, script: Script, capsys: Any) -> None:
    assert main(["run", str(script("")), "--resume", str(tmp_path / "none")]) == 2
    assert "is no folder of a run" in capsys.readouterr().err


@pytest.mark.parametrize("every", [-1.0, float("nan"), float("inf")])
def test_no_number_of_seconds(script: Script, every: float) -> None:
    with pytest.raises(LaunchError, match="no number of seconds between checkpoints"):
        RunOptions(script=script(""), checkpoint_every=every).check()


KILLED = """
import shutil
if server:
    shutil.copy(sys.argv[1], place["record"])
    record()
    if not place["resume"] or AGAIN:
        os.kill(os.getpid(), signal.SIGKILL)
    record(sys.argv[2])
    let("resumed")
elif AGAIN:
    for_ever()
else:
    wait_for("resumed")
"""


@pytest.mark.parametrize("again", [False, True])
def test_a_killed_server_is_started_again_but_not_for_ever_from_one_version(
    script: Script, tmp_path: Path, screen: Kept, again: bool
) -> None:
    keep(tmp_path / "kept")
    (checkpoint,) = (tmp_path / "kept").iterdir()
    os.mkfifo(tmp_path / "resumed")
    path = script(KILLED.replace("AGAIN", str(again)))
    options = RunOptions(script=path, arguments=(str(checkpoint), FINISHED), workers=1, record=tmp_path / "run")
    result = run(options, screen)
    assert result.code == (1 if again else 0)
    told = [note for note in screen.notes if "goes on from checkpoint 1 (version 7)" in note]
    assert len(told) == (TRIES if again else 1)
    assert len(screen.followed) == 1, "who follows a record goes on to its next part"
    words = shlex.join(["evener", "run", str(path), "--resume", str(tmp_path / "run"), "--", *options.arguments])
    assert any(note.endswith(words) for note in screen.notes) is again, "how to go on, with the script's arguments"


def test_sigusr1_does_not_end_a_server_that_is_only_about_to_begin(script: Script, tmp_path: Path) -> None:
    path = script(f"if server:\n    os.kill(os.getpid(), signal.SIGUSR1)\n    record('{FINISHED}')")
    assert run(RunOptions(script=path, workers=1, record=tmp_path / "run"), Kept()).code == 0


def test_sigusr1_reaches_the_server_alone(launcher: Callable[..., Launcher], tmp_path: Path) -> None:
    keep(tmp_path / "kept")
    (checkpoint,) = (tmp_path / "kept").iterdir()
    body = f"""
import shutil
if server:
    heard = []
    signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    shutil.copy({str(checkpoint)!r}, place["record"])
    record()
    print("pid", os.getpid(), flush=True)
    while not heard: time.sleep(0.01)
    print("pid 1 heard", flush=True)
    record('{FINISHED}')
    let("over")
else:
    print("pid", os.getpid(), flush=True)
    wait_for("over")
"""
    os.mkfifo(tmp_path / "over")
    launched = launcher(body, "--workers", "1")
    launched.wait_for_pids(2)
    launched.process.send_signal(signal.SIGUSR1)
    assert launched.process.stdout is not None
    assert "heard" in "".join(launched.process.stdout)
