"""Several machines by hand: what is refused before anything starts, and what each process is told."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from evener.launch import JoinOptions, LaunchError, ServeOptions, join, serve
from evener.launch.options import free_port
from evener.runtime import keys
from evener.runtime.transport import Listener

from .conftest import FINISHED, Kept, Script, place_in

GOOD = f"""
if server: record({FINISHED!r})
print(json.dumps(place), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "keys"
    keys.make(made, ["laptop"])
    return made


def test_a_server_gets_a_place(script: Script, screen: Kept, folder: Path) -> None:
    port = free_port()
    result = serve(
        ServeOptions(script=script(GOOD), listen=f"0.0.0.0:{port}", keys=folder, arguments=("--fast",), workers=3),
        screen,
    )
    assert (result.code, result.problems, screen.err) == (0, (), [])
    place = place_in(screen.out[0])
    assert place["address"] == f"tcp://0.0.0.0:{port}"
    assert (place["role"], place["workers"], place["keys"]) == ("server", 3, str(folder.resolve()))
    assert not place["token"]
    assert place["record"] == str(result.folder)
    serving, how = screen.notes
    assert serving == f"serving on 0.0.0.0:{port}; keys: laptop"
    assert how.startswith(f"on each worker: evener join {socket.gethostname()}:{port} ")
    assert how.endswith(" --keys DIR")


def test_a_script_that_never_serves_is_told(script: Script, screen: Kept, folder: Path) -> None:
    result = serve(ServeOptions(script=script("pass"), listen="127.0.0.1:0", keys=folder), screen)
    assert result.code == 2
    assert "without calling evener.join()" in screen.notes[-1]


def test_a_worker_gets_a_place(script: Script, screen: Kept, folder: Path) -> None:
    listener = Listener(f"tcp://127.0.0.1:{(port := free_port())}", keys.ServerKeys(folder))
    options = JoinOptions(
        address=f"localhost:{port}", script=script(GOOD + "\nsys.exit(3)"), keys=folder / "laptop", device="cpu"
    )
    assert join(options, screen) == 3
    listener.close()
    place = place_in(screen.out[0])
    assert place["address"] == f"tcp://127.0.0.1:{port}"
    assert (place["role"], place["device"], place["run"]) == ("worker", "cpu", "")
    assert place["keys"] == str((folder / "laptop").resolve())
    assert screen.notes == [
        f"joining localhost:{port} as laptop",
        "this worker ended with exit code 3. What it printed is above.",
    ]


def test_a_worker_without_its_data_is_told_what_to_do_even_before_it_has_called_evener(
    script: Script, screen: Kept, folder: Path
) -> None:
    listener = Listener(f"tcp://127.0.0.1:{(port := free_port())}", keys.ServerKeys(folder))
    wants = script("open('train.npz')")
    assert join(JoinOptions(address=f"127.0.0.1:{port}", script=wants, keys=folder / "laptop"), screen) == 1
    listener.close()
    assert "'train.npz'" in "".join(screen.err)
    assert "every machine of a run reads its own copy of the data" in screen.notes[-1]


def test_a_signal_that_ended_the_script_is_told_as_shells_do(script: Script, screen: Kept, folder: Path) -> None:
    body = "os.kill(os.getpid(), signal.SIGKILL)"
    assert serve(ServeOptions(script=script(body), listen="127.0.0.1:0", keys=folder), screen).code == 128 + 9
    assert screen.notes[-1] == "the server was ended by SIGKILL."


def test_a_worker_waits_for_its_server(script: Script, screen: Kept, folder: Path) -> None:
    address, opened = f"127.0.0.1:{free_port()}", []
    real = screen.note

    def note(text: str) -> None:
        real(text)
        if "yet: trying" in text:  # now, and not before
            opened.append(Listener(f"tcp://{address}", keys.ServerKeys(folder)))

    screen.note = note  # type: ignore[method-assign]
    options = JoinOptions(address=address, script=script(GOOD), keys=folder / "laptop", wait=60)
    assert join(options, screen) == 0
    opened[0].close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keys": None}, r"other machines can reach, and there are no keys to listen there"),
        ({"keys": None, "listen": "127.0.0.1:4000"}, r"workers that join need keys"),
        ({"listen": "4000"}, r"write HOST:PORT"),
        ({"listen": "nowhere.invalid:4000"}, r"is not known here"),
        ({"listen": "192.0.2.7:4000"}, r"cannot listen on 192.0.2.7:4000: .*an address of this machine"),
        ({"script": Path("none.py")}, r"does not exist"),
        ({"workers": 0}, r"at least 1 worker"),
        ({"keys": Path("elsewhere")}, r"there is no server.key in elsewhere. Make it"),
    ],
)
def test_what_cannot_be_served(script: Script, folder: Path, changes: dict[str, object], said: str) -> None:
    good: dict[str, object] = {"script": script(GOOD), "listen": "0.0.0.0:4000", "keys": folder}
    with pytest.raises(LaunchError, match=said):
        serve(ServeOptions(**{**good, **changes}))  # type: ignore[arg-type]


def test_a_second_server_on_the_port_or_in_the_folder(
    script: Script, screen: Kept, folder: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LaunchError, match="Is another server running there"):
            serve(ServeOptions(script=script(GOOD), listen=f"127.0.0.1:{port}", keys=folder))
    options = ServeOptions(script=script(GOOD), listen="127.0.0.1:0", keys=folder, record=tmp_path / "run")
    assert serve(options, screen).code == 0
    with pytest.raises(LaunchError, match="already holds the record of a run"):
        serve(options)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"keys": None}, r"a worker needs its keys"),
        ({"keys": Path("elsewhere")}, r"there is no worker.key in elsewhere"),
        ({"address": "host"}, r"write HOST:PORT"),
        ({"address": "nowhere.invalid:4000"}, r"is not known here"),
        ({"script": Path("none.py")}, r"does not exist"),
        ({"wait": float("nan")}, r"no number of seconds to wait"),
        ({}, r"nobody listens on port"),
    ],
)
def test_what_cannot_join(script: Script, folder: Path, changes: dict[str, object], said: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    good: dict[str, object] = {"script": script(GOOD), "address": address, "keys": folder / "laptop", "wait": 0.0}
    began = time.monotonic()
    with pytest.raises(LaunchError, match=said):
        join(JoinOptions(**{**good, **changes}))  # type: ignore[arg-type]
    assert time.monotonic() - began < 10


def test_who_takes_connections_and_says_nothing(script: Script, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evener.runtime.knocking.HANDSHAKE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        held: list[socket.socket] = []
        threading.Thread(target=lambda: held.extend(silent.accept()[0] for _ in range(2)), daemon=True).start()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(LaunchError, match="does not answer as an evener server does"):
            join(JoinOptions(address=address, script=script(GOOD), keys=folder / "laptop"))
