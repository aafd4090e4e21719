"""Who does not know the run's token gets nothing, and disturbs nobody; who hangs is welcomed back."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import zmq

from evener.core import events as e
from evener.runtime import protocol as p
from evener.runtime.transport import Dialer
from evener.trace import WarningNote
from training.harness import Launch, Run, says
from training.test_exactly_once import COUNT, SCRIPT, counted_once

from .proxy import Proxy

GATED = """
def at_batch(number):
    if number == 1:
        let("here")
        wait_for("go on")
"""


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


def hello(run: Run, protocol: int = p.PROTOCOL) -> bytes:
    entries = [p.Entry("0", (COUNT,), "float64", "trained")]
    return p.encode(p.Hello(protocol, run.place.run, 9, entries, "far away", 1, "cpu"))


def port(run: Run) -> int:
    return int(run.place.address.rpartition(":")[2])


def test_strangers(launch: Launch, context: zmq.Context[Any]) -> None:
    run = launch(GATED + SCRIPT, gates=["here", "go on"])
    run.wait_for("here")
    # Without a token, with a wrong one, and with keys of another mechanism.
    strangers = []
    for kind in ("none", "wrong", "curve"):
        stranger = context.socket(zmq.DEALER)
        stranger.linger = 0
        stranger.identity = f"{kind}/control".encode()
        if kind == "wrong":
            stranger.plain_username, stranger.plain_password = b"evener", b"guess"
        elif kind == "curve" and zmq.has("curve"):
            public, secret = zmq.curve_keypair()
            stranger.curve_publickey = stranger.curve_serverkey = public
            stranger.curve_secretkey = secret
        stranger.connect(run.place.address)
        for message in (hello(run), p.encode(p.Fetch()), p.encode(p.Pull(-1)), b"garbage"):
            stranger.send(message)
        strangers.append(stranger)
    # Plain TCP: noise, a greeting that breaks off, and a frame that claims to be endless.
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00PLAIN" + bytes(48)
    for noise in (
        os.urandom(100_000),
        greeting[:20],
        greeting + b"\x02" + b"\xff" * 8,
        b"GET / HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", port(run)), timeout=10) as raw:
            try:
                raw.sendall(noise)
                raw.shutdown(socket.SHUT_WR)
                said = b"".join(iter(lambda raw=raw: raw.recv(4096), b""))  # type: ignore[misc]
            except OSError:  # refused so soon that it was cut off
                said = b""
        # At most the transport's own greeting and its word that this is an error.
        assert len(said) < 200
    # Who has the token but another protocol is told so.
    dialer = Dialer(run.place.address, run.place.token, "old")
    dialer.control.send(hello(run, protocol=99))
    assert dialer.control.poll(20_000)
    refusal = p.decode(dialer.control.recv())
    assert refusal == p.Refusal(f"the server speaks protocol {p.PROTOCOL}, the worker 99: install the same evener")
    # So is who sends no message at all, with which the run goes on.
    for noise in (
        b"",
        b"\x92\xa2\xff\xfe\xc0",
        b"\x92\xa5Hello" + b"\x91" * 5000,
        p.encode(p.Alive()) + b"more",
    ):
        dialer.control.send(noise)
        assert dialer.control.poll(20_000)
        answer = p.decode(dialer.control.recv())
        assert isinstance(answer, p.Refusal)
        assert answer.why.startswith("protocol error: ")
    dialer.close()
    run.let("go on", 2)
    run.succeed()
    assert [stranger.poll(0) for stranger in strangers] == [0, 0, 0]
    counted_once(run, "balanced")
    assert {event.worker for event in run.events(e.Joined)} == {0, 1}
    # Several kinds of them at once may share a line.
    assert any("a connection without this run's token" in note.text for note in run.notes(WarningNote))


HANGING = """
import evener.runtime.line, evener.runtime.peers
evener.runtime.peers.ROLL_CALL = evener.runtime.line.BEAT = 0.1
evener.runtime.peers.SILENCE, evener.runtime.line.SILENCE = 1.5, 1.2

def at_batch(number):
    if number == 2:
        let("here")
        if index == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            wait_for("go on")
"""


def test_a_worker_that_hangs_is_given_up_and_welcomed_back(launch: Launch) -> None:
    run = launch(HANGING + SCRIPT, gates=["here", "go on"], bound=1)
    run.wait_for("here")
    run.wait_for("here")
    run.wait_line(says(e.Left, 1))
    run.signal("worker1", signal.SIGCONT)
    run.wait_line(says(e.Joined, 1), count=2)
    run.let("go on")
    run.succeed()
    counted_once(run, "balanced")
    assert run.events(e.Left)[0].reason == "silent for 2 s"
    # It computed on after its return, and what it had under way before it did not count a second time.
    back = run.events(e.Joined)[-1]
    assert back.worker == 1
    ends = [run.kept(name)["weights"] for name in run.pids]
    assert all(torch.equal(one, ends[0]) for one in ends)
    assert run.proved().returned > 0


def test_a_server_that_was_stopped_keeps_its_workers(launch: Launch) -> None:
    body = HANGING.replace("SILENCE, evener.runtime.line.SILENCE = 1.5, 1.2", "SILENCE = 0.8")
    run = launch(body.replace("if index == 1", "if False") + SCRIPT, gates=["here", "go on"])
    run.wait_for("here")
    run.wait_for("here")
    run.signal("server", signal.SIGSTOP)
    # Longer than a worker may be silent; nothing else tells that time has passed.
    select.select([], [], [], 1.2)
    run.signal("server", signal.SIGCONT)
    run.let("go on", 2)
    run.succeed()
    counted_once(run, "balanced")
    assert len(run.events(e.Joined)) == 2


CUT = """
def at_batch(number):
    if index == 1 and number in (1, 2):
        let("here")
        wait_for("go on")
"""


def test_a_bulk_connection_that_ends_alone_costs_nothing_but_time(launch: Launch) -> None:
    # Under a policy that waits for everybody: through a proxy a worker may be too slow to be of use to `balanced`.
    run = launch(CUT + SCRIPT, gates=["here", "go on"], policy="synchronous", start=False, place={"tcp": True})
    proxy = Proxy(port(run))
    run.server()
    run.worker(0)
    run.worker(1, address=proxy.address)
    for times in (2, 3):
        run.wait_for("here")
        proxy.cut()
        run.wait_line(says(e.Joined, 1), count=times)
        run.let("go on")
    run.succeed()
    proxy.close()
    counted_once(run, "synchronous")
    assert {event.reason for event in run.events(e.Left) if event.worker == 1} >= {"it began anew"}
