"""Keys: their files, and who gets in with them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from evener.launch.options import free_port
from evener.runtime import addresses, keys, knocking
from evener.runtime.knocking import NobodyError, knock, seen
from evener.runtime.transport import Dialer, Listener, OpenAddressError, PortInUseError

PATIENCE = 20_000
"""Milliseconds."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of keys for a server, and for ``one`` and ``two``."""
    made = tmp_path / "keys"
    keys.make(made, ["one", "two"])
    return made


# Files --------------------------------------------------------------------------------------------------------


def test_private_keys_are_their_owners_alone(folder: Path) -> None:
    old = os.umask(0)  # a careless user's
    try:
        keys.make(folder, ["three"])
    finally:
        os.umask(old)
    for path in (folder / "server.key", folder / "one" / "worker.key", folder / "three" / "worker.key"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(keys.ServerKeys(folder).allowed().values()) == ["one", "three", "two"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o601, 0o620])
def test_looser_permissions_are_refused_in_words(folder: Path, mode: int) -> None:
    for path, read in (
        (folder / "server.key", lambda: keys.ServerKeys(folder)),
        (folder / "one" / "worker.key", lambda: keys.WorkerKeys.read(folder / "one")),
    ):
        path.chmod(mode)
        with pytest.raises(keys.KeysError, match=f"its mode is {mode:04o}.*Do: chmod 600 "):
            read()  # type: ignore[no-untyped-call]
        path.chmod(0o600)
        read()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["", "..", "a/b", "allowed", "-x", "a b", "x" * 65, "a\n"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(keys.KeysError, match="cannot be a worker's name"):
        keys.make(tmp_path / "keys", [name])
    assert not (tmp_path / "keys").exists()


def test_keys_are_never_overwritten(folder: Path) -> None:
    before = (folder / "server.key").read_bytes(), (folder / "one" / "worker.key").read_bytes()
    with pytest.raises(keys.KeysError, match=r"is there already.*take one's key back"):
        keys.make(folder, ["three", "one"])
    assert not (folder / "three").exists()
    (folder / "allowed" / "one.pub").unlink()
    with pytest.raises(keys.KeysError, match="is there already"):
        keys.make(folder, ["one"])
    with pytest.raises(keys.KeysError, match="given twice"):
        keys.make(folder, ["four", "four"])
    keys.make(folder, [])
    assert before == ((folder / "server.key").read_bytes(), (folder / "one" / "worker.key").read_bytes())


def test_the_wrong_folder_is_told_apart(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(keys.KeysError, match="is the server's folder of keys"):
        keys.WorkerKeys.read(folder)
    with pytest.raises(keys.KeysError, match="has a worker's key"):
        keys.ServerKeys(folder / "one")
    for read in (keys.ServerKeys, keys.WorkerKeys.read):
        with pytest.raises(keys.KeysError, match="evener keys"):
            read(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{}", "no json", '{"public": 1, "secret": 2}', '{"public": "a", "secret": "b"}', "[" * 60_000]
)
def test_a_damaged_key_file(folder: Path, text: str) -> None:
    (folder / "server.key").write_text(text)
    with pytest.raises(keys.KeysError, match="Make a new one"):
        keys.ServerKeys(folder)


def test_a_worker_may_make_its_key_itself_and_its_successor_takes_its_place(folder: Path, tmp_path: Path) -> None:
    server = keys.ServerKeys(folder)
    first = keys.make_worker(tmp_path / "first", "three", server.public)
    keys.allow(folder, "three", first)
    assert server.allowed()[first.decode()] == "three"
    assert keys.WorkerKeys.read(tmp_path / "first").server == server.public
    second = keys.make_worker(tmp_path / "second", "three", server.public)
    keys.allow(folder, "three", second)
    assert server.allowed()[second.decode()] == "three"
    assert first.decode() not in server.allowed()
    secret = keys.WorkerKeys.read(tmp_path / "second").secret
    assert not any(secret in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(("name", "public"), [("../three", b"0" * 40), ("three", b"short"), ("three", b"\xff" * 40)])
def test_what_is_no_key_or_no_name_is_not_let_in(folder: Path, name: str, public: bytes) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(keys.KeysError):
        keys.allow(folder, name, public)
    assert sorted(folder.rglob("*")) == before


def test_what_is_no_key_allows_nobody(folder: Path) -> None:
    server = keys.ServerKeys(folder)
    (folder / "allowed" / "one.pub").write_bytes(b"\xff\xfe")
    (folder / "allowed" / "two.pub").write_text("")
    (folder / "allowed" / "three.pub").mkdir()
    (folder / "allowed" / "four.pub").write_text("x" * 39)
    assert server.allowed() == {}


# Addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "4000", "host", "host:", ":4000", "host:x", "host:70000", "::1:4000", "h:-1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(addresses.AddressError, match="write HOST:PORT"):
        addresses.split(text)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "*", "[::]", "192.0.2.7", "[2001:db8::1]", "[::ffff:192.0.2.7]", "169.254.1.1"]
)
def test_nobody_listens_outside_or_dials_there_without_keys(host: str) -> None:
    with pytest.raises(OpenAddressError, match=r"other machines can reach.*evener keys"):
        Listener(f"tcp://{host}:{free_port()}", "token")
    if host != "*":
        with pytest.raises(OpenAddressError, match="other machines can reach"):
            Dialer(f"tcp://{host}:4000", "token", "name")


def test_a_name_counts_as_what_it_means(monkeypatch: pytest.MonkeyPatch) -> None:
    def means(*ips: str) -> None:
        found = [(0, 0, 0, "", (ip, 0)) for ip in ips]
        monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: found)

    means("127.0.0.1", "192.0.2.7")
    with pytest.raises(OpenAddressError, match=r"inside \(which means 127.0.0.1, 192.0.2.7\)"):
        Listener("tcp://inside:4000", "token")
    # What is judged is what is bound: a name that means something else the next moment changes nothing.
    answers = iter(["127.0.0.1", *["0.0.0.0"] * 9])

    def resolve(host: str) -> list[str]:
        if host != "inside":
            return [host]
        return [next(answers)]

    monkeypatch.setattr(addresses, "resolve", resolve)
    listener = Listener("tcp://inside:*", "token")
    assert listener.socket.getsockopt_string(zmq.LAST_ENDPOINT).startswith("tcp://127.0.0.1:")
    listener.close()


def test_only_the_constructor_lifts_it() -> None:
    listener = Listener("tcp://0.0.0.0:*", "token", plain_outside=True)
    listener.close()


# The handshake ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["127.0.0.1", "[::1]"])
def listener(folder: Path, request: pytest.FixtureRequest) -> Iterator[Listener]:
    try:
        made = Listener(f"tcp://{request.param}:*", keys.ServerKeys(folder))
    except PortInUseError:
        pytest.skip("this machine has no IPv6")
    yield made
    made.close()


def address_of(listener: Listener) -> str:
    return listener.socket.getsockopt_string(zmq.LAST_ENDPOINT)


def test_who_has_a_key_gets_in_and_carries_it(folder: Path, listener: Listener) -> None:
    one = keys.WorkerKeys.read(folder / "one")
    dialer = Dialer(address_of(listener), one, "name")
    dialer.control.send(b"hello")
    assert listener.socket.poll(PATIENCE)
    frames = listener.socket.recv_multipart(copy=False)
    assert bytes(frames[1].buffer) == b"hello"
    allowed = listener.allowed()
    assert allowed is not None
    assert allowed[str(frames[1].get("User-Id"))] == "one"
    dialer.close()


def test_who_has_none_gets_nothing(folder: Path, tmp_path: Path, listener: Listener) -> None:
    keys.make(tmp_path / "other", ["one"])
    stranger = keys.WorkerKeys.read(tmp_path / "other" / "one")
    right = keys.WorkerKeys.read(folder / "one")
    (folder / "allowed" / "two.pub").unlink()
    tries: dict[str, tuple[keys.WorkerKeys, str]] = {
        "a key of nobody's": (keys.WorkerKeys("x", stranger.public, stranger.secret, right.server), "does not allow"),
        "a key taken back": (keys.WorkerKeys.read(folder / "two"), "does not allow the key of 'two'"),
        "a public key alone": (keys.WorkerKeys("x", right.public, stranger.secret, right.server), "is not the server"),
        "another server's": (stranger, "is not the server"),
    }
    for what, (guess, why) in tries.items():
        with pytest.raises(NobodyError, match=why):
            knock(address_of(listener).removeprefix("tcp://"), guess)
        dialer = Dialer(address_of(listener), guess, what)
        dialer.control.linger = 0
        dialer.control.send(b"hello")
        assert listener.socket.poll(200) == 0, what
        dialer.close()
    # Without any, with a token, and as plain text.
    context = zmq.Context()
    for user in (None, b"evener"):
        socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        socket.ipv6 = True
        if user:
            socket.plain_username, socket.plain_password = user, b"token"
        socket.connect(address_of(listener))
        socket.send(b"hello")
        assert listener.socket.poll(200) == 0
        socket.close(linger=0)
    context.term()
    refused = {why for _, why in listener.news()[1]}
    assert any("not (or no longer) allowed" in why for why in refused)
    assert any("wrong key" in why for why in refused)


def test_a_server_without_the_key_is_not_talked_to(folder: Path, tmp_path: Path) -> None:
    keys.make(tmp_path / "other", [])
    worker = keys.WorkerKeys.read(folder / "one")
    (tmp_path / "other" / "allowed" / "one.pub").write_bytes(worker.public)
    impostor = Listener("tcp://127.0.0.1:*", keys.ServerKeys(tmp_path / "other"))
    dialer = Dialer(address_of(impostor), worker, "name")
    dialer.control.linger = 0
    dialer.control.send(b"a secret")
    assert impostor.socket.poll(300) == 0
    dialer.close()
    impostor.close()


# Knocking -----------------------------------------------------------------------------------------------------


def test_a_knock_leaves_nothing_in_the_log(folder: Path, listener: Listener) -> None:
    address = address_of(listener).removeprefix("tcp://")
    assert knock(address, keys.WorkerKeys.read(folder / "one")) == address
    assert listener.socket.poll(100) == 0
    assert listener.news()[1] == []


def test_nobody_there(folder: Path) -> None:
    worker, port = keys.WorkerKeys.read(folder / "one"), free_port()
    with pytest.raises(NobodyError, match=f"nobody listens on port {port}.*--listen"):
        knock(f"127.0.0.1:{port}", worker)
    said: list[str] = []
    with pytest.raises(NobodyError, match="nobody listens"):
        knock(f"127.0.0.1:{port}", worker, 1.1, said.append)
    assert said == [f"nobody listens on 127.0.0.1:{port} yet: trying for 1 s"]
    with pytest.raises(addresses.AddressError, match="is not known here"):
        knock("nowhere.invalid:4000", worker)


def test_another_program_listens(folder: Path) -> None:
    context = zmq.Context()
    other: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
    port = other.bind_to_random_port("tcp://127.0.0.1")
    with pytest.raises(NobodyError, match="another program, a run without keys"):
        knock(f"127.0.0.1:{port}", keys.WorkerKeys.read(folder / "one"))
    other.close(linger=0)
    context.term()


def test_a_server_that_does_not_answer_may_yet_be_the_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knocking, "HANDSHAKE", 0.1)
    worker = keys.WorkerKeys.read(folder / "one")
    with socket.create_server(("127.0.0.1", 0)) as stopped:  # the system still takes connections for it
        address = f"127.0.0.1:{stopped.getsockname()[1]}"
        assert "takes connections but does not answer" in seen(address, worker)
        with pytest.raises(NobodyError, match="takes connections but does not answer"):
            knock(address, worker)
