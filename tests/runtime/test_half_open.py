"""Connections whose other end has vanished without a word, as a host does whose power fails, or a way that is cut."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import zmq

from evener.runtime import line, peers, transport
from evener.runtime.transport import Listener

TOKEN = "token"
WITHIN = 30_000
"""Milliseconds that something may take which takes seconds."""

DIALER = """
import sys
from evener.runtime import transport

transport.IDLE = transport.BETWEEN = transport.PROBES = transport.CONNECT = 1
dialer = transport.Dialer(sys.argv[1], "token", sys.argv[2], plain_outside=True)
dialer.bulk.send(b"hello")
while True:
    dialer.control.send(b"here")
    if dialer.control.poll(100):
        dialer.control.send(b"heard " + dialer.control.recv())
    if dialer.news()[1]:
        print("lost", flush=True)
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Elsewhere:
    """A network namespace: another host, as far as TCP can tell, with a cable that can be cut."""

    def __init__(self) -> None:
        self.name = f"evener-test-{os.getpid()}"
        self.cable = f"ev{os.getpid()}"
        self.here, self.there = (f"198.18.{os.getpid() % 250}.{last}" for last in (1, 2))

    def make(self) -> None:
        ip("netns", "add", self.name)
        ip("link", "add", f"{self.cable}a", "type", "veth", "peer", "name", f"{self.cable}b", "netns", self.name)
        ip("addr", "add", f"{self.here}/30", "dev", f"{self.cable}a")
        ip("link", "set", f"{self.cable}a", "up")
        ip("-n", self.name, "addr", "add", f"{self.there}/30", "dev", f"{self.cable}b")
        self.cut(False)

    def cut(self, now: bool) -> None:
        ip("-n", self.name, "link", "set", f"{self.cable}b", "down" if now else "up")

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("needs root, and ip, for another network namespace")
    made = Elsewhere()
    try:
        try:
            made.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr}")
        yield made
    finally:
        made.remove()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    for name in ("IDLE", "BETWEEN", "PROBES"):
        monkeypatch.setattr(transport, name, 1)
    made = Listener("tcp://0.0.0.0:*", TOKEN, plain_outside=True)
    yield made
    made.close()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def make(address: str, name: str, *before: str) -> subprocess.Popen[str]:
        words = [*before, sys.executable, "-c", DIALER, address, name]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield make
    for one in started:
        one.kill()
        one.communicate()


def hear(listener: Listener, wanted: Callable[[list[bytes]], bool]) -> None:
    """Read until somebody has said this."""
    while True:
        assert listener.socket.poll(WITHIN), "nobody says it"
        if wanted(listener.socket.recv_multipart()):
            return


def test_a_host_that_vanished_is_noticed_on_both_sides_and_a_process_that_is_stopped_is_not(
    elsewhere: Elsewhere, listener: Listener, start: Callable[..., subprocess.Popen[str]]
) -> None:
    port = listener.socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
    cut = start(f"tcp://{elsewhere.here}:{port}", "cut", "ip", "netns", "exec", elsewhere.name)
    stopped = start(f"tcp://127.0.0.1:{port}", "stopped")
    said: set[bytes] = set()
    hear(listener, lambda frames: said.add(frames[0]) or len(said) == 4)
    assert listener.news()[0] == 0
    stopped.send_signal(signal.SIGSTOP)
    elsewhere.cut(True)
    for name in (b"cut", b"stopped"):
        listener.socket.send_multipart([name + b"/control", b"something"])
    lost = threading.Event()
    watching = threading.Thread(target=lambda: cut.stdout and cut.stdout.readline() and lost.set(), daemon=True)
    watching.start()
    ended = 0
    while ended < 2:  # one has something under way, the other has not
        assert listener.news_socket.poll(WITHIN), "the server takes a host for there that is gone"
        ended += listener.news()[0]
    assert lost.wait(WITHIN / 1000), "the worker takes a host for there that is gone"
    assert len(listener.connections) == 2, "who is stopped keeps its connections"
    stopped.send_signal(signal.SIGCONT)
    hear(listener, lambda frames: frames == [b"stopped/control", b"heard something"])
    elsewhere.cut(False)
    hear(listener, lambda frames: frames[0] == b"cut/control")
    assert listener.news()[0] == 0, "nobody else was cut off"


def test_every_connection_is_watched_for_longer_than_silence_takes_to_be_noticed() -> None:
    gone = transport.IDLE + transport.BETWEEN * transport.PROBES
    assert gone > max(peers.SILENCE, line.SILENCE), "who is silent for a while decides that, not what is below"
    ours = Listener("tcp://127.0.0.1:*", TOKEN)
    dialer = transport.Dialer(ours.socket.getsockopt_string(zmq.LAST_ENDPOINT), TOKEN, "name")
    try:
        dialer.control.send(b"hello")
        dialer.bulk.send(b"hello")
        for _ in range(2):
            assert ours.socket.poll(WITHIN)
            fd = int(ours.socket.recv_multipart(copy=False)[-1].get(zmq.SRCFD))
            with socket.socket(fileno=os.dup(fd)) as accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    finally:
        dialer.close()
        ours.close()
