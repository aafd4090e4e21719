"""A worker's link against a server that these tests play."""

from __future__ import annotations

import os
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import zmq

from evener.core import events as e
from evener.runtime import keys, line
from evener.runtime import protocol as p
from evener.runtime.line import SILENCE, Line
from evener.runtime.transport import Dialer, Listener
from evener.runtime.versions import here
from evener.runtime.work import Compute, Install, Push
from evener.runtime.worker import Link, RunError
from training.harness import free_port

from .proxy import Proxy

SIZE = 3 * p.CHUNK
"""Bytes of one version of the parameters: three chunks."""

PATIENCE = 20_000
"""Milliseconds."""


class Server:
    """Says what a test tells it to, and hears what the worker says."""

    def __init__(self, secret: str | keys.ServerKeys = "secret") -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.listener = Listener(self.address, secret)
        self.name = b""

    def say(self, channel: str, message: p.Message, *payload: bytes) -> None:
        self.listener.socket.send_multipart([self.name + b"/" + channel.encode(), p.encode(message), *payload])

    def hear(self, kind: type[p.Message]) -> p.Message:
        """The next message of this kind; others before it are ignored."""
        while self.listener.socket.poll(PATIENCE):
            name, data, *_ = self.listener.socket.recv_multipart()
            self.name = name.partition(b"/")[0]
            message = p.decode(data)
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} came")

    def version(self, version: int, chunks: slice = slice(None)) -> None:
        for start, stop in p.chunks(SIZE)[chunks]:
            self.say("bulk", p.Version(version, start), bytes([version]) * (stop - start))

    def grant(self, ticket: int, min_version: int = 0) -> None:
        self.say("control", e.Granted(ticket, 0, 0, ticket, ((ticket, ticket + 1),), min_version), b"8 bytes.")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.listener.close()


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    made = Proxy(int(server.address.rpartition(":")[2]))
    yield made
    made.close()


@pytest.fixture
def link(server: Server, proxy: Proxy) -> Iterator[Link]:
    made = Link(proxy.address, "secret", "run", 4, [], SIZE, "cpu")
    yield made
    made.close("the test is over")


@pytest.fixture
def ready(server: Server, link: Link) -> Link:
    """A link that has joined with version 0, and whose next request for parameters is under way."""
    with ThreadPoolExecutor(1) as main:
        opening = main.submit(link.open)
        hello = p.Hello(p.PROTOCOL, "run", 4, [], socket.gethostname(), os.getpid(), "cpu", versions=here())
        assert server.hear(p.Hello) == hello
        server.say("control", p.Welcome(4, 0, {"epochs": 1}))
        server.hear(p.Fetch)
        assert server.hear(p.Pull) == p.Pull(-1)
        server.say("bulk", p.Constants(0), b"")
        server.version(0)
        _, constants, install = opening.result(PATIENCE / 1000)
    assert (bytes(constants), install.version, bytes(install.data)) == (b"", 0, bytes(SIZE))
    link.ready(0, 100.0, 1)
    assert server.hear(p.Ready) == p.Ready(0, 100.0, 1)
    return link


def test_a_grant_is_heard_while_parameters_are_under_way(server: Server, ready: Link) -> None:
    server.grant(1)
    assert ready.work() == Compute(1, 0, ((1, 2),), b"8 bytes.", 0)
    assert server.hear(p.Pull) == p.Pull(0)
    # Two of three chunks are on their way, and the third is not sent before the worker has acted on a ticket.
    server.version(1, slice(0, 2))
    server.grant(2)
    ready.done(False, 0)
    work = [ready.work(), ready.work()]
    assert work == [Push((1,), (0,)), Compute(2, 0, ((2, 3),), b"8 bytes.", 0)]
    server.version(1, slice(2, 3))
    assert server.hear(e.Received) == e.Received(4, 1)
    server.grant(3, min_version=1)
    ready.done(False, 0)
    kinds = [type(ready.work()) for _ in range(3)]
    assert kinds == [Push, Install, Compute]


def test_the_newest_parameters_win(server: Server, ready: Link) -> None:
    server.grant(1)
    assert isinstance(ready.work(), Compute)
    server.hear(p.Pull)
    server.version(1, slice(0, 1))
    server.version(2)  # a version that another one cuts short
    assert server.hear(e.Received) == e.Received(4, 2)
    server.grant(2)
    ready.done(False, 0)
    assert isinstance(ready.work(), Push)
    install = ready.work()
    assert isinstance(install, Install)
    assert (install.version, bytes(install.data)) == (2, bytes([2]) * SIZE)


def test_a_version_with_a_hole_is_never_installed(server: Server, ready: Link) -> None:
    server.grant(1)
    assert isinstance(ready.work(), Compute)
    assert server.hear(p.Pull) == p.Pull(0)
    server.version(1, slice(1, 3))  # its beginning was lost with a connection
    assert server.hear(p.Pull) == p.Pull(0)
    server.version(2)
    assert server.hear(e.Received) == e.Received(4, 2)


def test_a_chunk_beyond_the_end_of_a_version_is_refused(server: Server, ready: Link) -> None:
    server.version(1, slice(0, 2))
    server.say("bulk", p.Version(1, 2 * p.CHUNK), bytes(p.CHUNK + 1))
    with pytest.raises(p.ProtocolError, match="version 1 is longer than"):
        ready.work()


def test_a_new_membership_forgets_the_work_of_the_old(server: Server, ready: Link) -> None:
    server.grant(1)
    old = ready.work()
    assert isinstance(old, Compute)
    server.grant(2)
    server.say("control", p.Rejoin())
    assert isinstance(server.hear(p.Hello), p.Hello)
    server.say("control", p.Welcome(7, 0, {"epochs": 1}))
    assert server.hear(p.Ready) == p.Ready(0, 100.0, 1)
    assert ready.generation == 1
    assert ready.queued() == []
    # What was computed for the old membership is not counted, and cannot pass for a ticket of the new one.
    server.grant(3)
    new = ready.work()
    assert new == Compute(3, 0, ((3, 4),), b"8 bytes.", 1)
    assert not ready.done(False, old.generation)
    assert ready.done(False, 1)
    assert server.hear(e.Computed).worker == 7  # type: ignore[union-attr]
    assert ready.work() == Push((3,), (0,))


def test_nothing_is_pushed_between_two_memberships(server: Server, ready: Link) -> None:
    server.grant(1)
    ready.work()
    ready.done(False, 0)
    old = ready.work()
    assert isinstance(old, Push)
    server.say("control", p.Rejoin())
    server.hear(p.Hello)
    ready.push(old, memoryview(b"old"), 1.0, b"", {})
    assert ready.sent()
    server.say("control", p.Welcome(7, 0, {"epochs": 1}))
    server.hear(p.Ready)
    ready.push(Push((3,), (0,)), memoryview(b"new"), 1.0, b"", {})
    assert server.hear(p.Push).tickets == (3,)  # type: ignore[union-attr]


def test_who_is_given_up_before_it_is_ready_joins_when_it_is_welcome_again(server: Server, link: Link) -> None:
    with ThreadPoolExecutor(1) as main:
        opening = main.submit(link.open)
        server.hear(p.Hello)
        server.say("control", p.Welcome(4, 0, {}))
        server.hear(p.Pull)
        server.version(0)
        opening.result(PATIENCE / 1000)
        server.say("control", p.Rejoin())
        server.hear(p.Hello)
        joining = main.submit(link.ready, 0, 100.0, 1)
        server.say("control", p.Welcome(7, 0, {}))
        joining.result(PATIENCE / 1000)
    assert server.hear(p.Ready) == p.Ready(0, 100.0, 1)
    server.grant(1)
    assert isinstance(link.work(), Compute)
    assert server.hear(e.Started).worker == 7  # type: ignore[union-attr]


def test_the_final_parameters_are_fetched(server: Server, ready: Link) -> None:
    server.grant(1)
    assert isinstance(ready.work(), Compute)
    ready.done(False, 0)
    assert isinstance(ready.work(), Push)
    server.say("control", p.Finished(5, "complete", True))
    server.version(5)
    assert ready.work() is None
    final = ready.final()
    assert final is not None
    assert (final.version, final.data[0]) == (5, 5)


def test_who_works_elsewhere_is_told_why_a_run_was_broken_off(tmp_path: Path) -> None:
    keys.make(tmp_path / "keys", ["lab"])
    server = Server(keys.ServerKeys(tmp_path / "keys"))
    told: queue.Queue[str] = queue.Queue()
    own, hello = keys.WorkerKeys.read(tmp_path / "keys" / "lab"), p.Hello(p.PROTOCOL, "", 0, [], "host", 1, "cpu")
    away = Line(server.address, own, hello, lambda *_: None, lambda *_: None, lambda: None, tell=told.put)
    away.open()
    server.hear(p.Hello)
    server.say("control", p.Finished(7, "stopped by SIGINT", False))
    assert told.get(timeout=PATIENCE / 1000) == "the run has ended: stopped by SIGINT"
    away.close("the test is over")
    server.listener.close()


def test_a_terminal_that_takes_nothing_holds_nobody_up(tmp_path: Path) -> None:
    keys.make(tmp_path / "keys", ["lab"])
    server = Server(keys.ServerKeys(tmp_path / "keys"))
    told, taken = threading.Event(), threading.Event()

    def tell(_: str) -> None:
        told.set()
        assert taken.wait(PATIENCE / 1000)

    own, hello = keys.WorkerKeys.read(tmp_path / "keys" / "lab"), p.Hello(p.PROTOCOL, "", 0, [], "host", 1, "cpu")
    away = Line(server.address, own, hello, lambda *_: None, lambda *_: None, lambda: None, tell=tell)
    away.open()
    server.hear(p.Hello)
    server.say("control", p.Finished(7, "stopped by SIGINT", False))
    assert told.wait(PATIENCE / 1000)
    try:
        assert away.changed.acquire(timeout=5.0), "the main thread may look whether there is something to do"
        away.changed.release()
        server.hear(p.Alive)
    finally:
        taken.set()
        away.close("the test is over")
        server.listener.close()


def test_a_revoked_ticket_is_given_back(server: Server, ready: Link) -> None:
    server.grant(1)
    assert isinstance(ready.work(), Compute)
    server.grant(2)
    server.say("control", e.Revoked(2))
    assert server.hear(e.Released) == e.Released(4, 2)
    server.say("control", e.Revoked(1))  # too late: it is being computed
    ready.done(False, 0)
    assert ready.work() == Push((1,), (0,))


def test_a_refusal_is_told(server: Server, link: Link) -> None:
    with ThreadPoolExecutor(1) as main:
        opening = main.submit(link.open)
        server.hear(p.Hello)
        server.say("control", p.Refusal("no room"))
        with pytest.raises(RunError, match="no room"):
            opening.result(PATIENCE / 1000)


@pytest.mark.parametrize("channel", ["control", "bulk"])
def test_a_server_that_talks_nonsense_ends_the_link_with_words(server: Server, ready: Link, channel: str) -> None:
    server.say(channel, p.Ready(0, None, 1), b"")
    with pytest.raises(p.ProtocolError, match="Ready is not for a server to s"):
        ready.work()


def test_control_passes_bulk_that_nobody_has_read(server: Server) -> None:
    # On one connection the message would be behind the bytes; on two it is there although none was read.
    dialer = Dialer(server.address, "secret", "worker")
    dialer.bulk.send(p.encode(p.Fetch()))
    server.hear(p.Fetch)
    dialer.control.send(p.encode(p.Alive()))
    server.hear(p.Alive)
    for _ in range(30):
        server.version(1)
    server.say("control", p.Alive())
    assert dialer.control.poll(PATIENCE, zmq.POLLIN)
    assert p.decode(dialer.control.recv()) == p.Alive()
    dialer.close()


# Connections that end alone ---------------------------------------------------------------------------------


def test_who_loses_its_bulk_connection_joins_anew(server: Server, proxy: Proxy, ready: Link) -> None:
    server.grant(1)
    old = ready.work()
    assert isinstance(old, Compute)
    assert server.hear(p.Pull) == p.Pull(0)
    proxy.cut()  # the server's answer is lost, or a part of a push
    assert isinstance(server.hear(p.Hello), p.Hello)
    server.say("control", p.Welcome(4, 0, {"epochs": 1}))
    assert server.hear(p.Ready) == p.Ready(0, 100.0, 1)
    assert ready.generation == 1
    server.grant(2)
    assert isinstance(ready.work(), Compute)
    assert server.hear(p.Pull) == p.Pull(0)
    server.version(1)
    assert server.hear(e.Received) == e.Received(4, 1)


def test_who_loses_its_control_connection_joins_anew(server: Server, proxy: Proxy, ready: Link) -> None:
    server.grant(1)
    assert isinstance(ready.work(), Compute)
    cut = time.monotonic()
    proxy.cut("control")  # a grant is lost, perhaps, and this server has not noticed
    assert isinstance(server.hear(p.Hello), p.Hello)
    assert time.monotonic() - cut < SILENCE / 2, "it waited for words that had no way to come"
    server.say("control", p.Welcome(4, 0, {"epochs": 1}))
    assert server.hear(p.Ready) == p.Ready(0, 100.0, 1)
    assert ready.generation == 1
    server.grant(2)
    assert isinstance(ready.work(), Compute)


def test_a_greeting_that_was_lost_with_its_connection_is_said_again_at_once(
    server: Server, proxy: Proxy, ready: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "BEAT", 60.0)  # no sign of life that the server could answer
    proxy.cut()
    assert isinstance(server.hear(p.Hello), p.Hello)
    proxy.cut("control")  # as where the server is lost, and the worker hears of this one last
    assert isinstance(server.hear(p.Hello), p.Hello)
    server.say("control", p.Welcome(4, 0, {"epochs": 1}))
    assert server.hear(p.Ready) == p.Ready(0, 100.0, 1)


def test_what_is_lost_while_a_worker_joins_is_asked_for_again(server: Server, proxy: Proxy, link: Link) -> None:
    with ThreadPoolExecutor(1) as main:
        opening = main.submit(link.open)
        server.hear(p.Hello)
        server.say("control", p.Welcome(4, 2 * p.CHUNK, {"epochs": 1}))
        server.hear(p.Fetch)
        server.hear(p.Pull)
        server.say("bulk", p.Constants(0), bytes(p.CHUNK))
        server.version(0, slice(0, 2))
        proxy.cut()
        server.hear(p.Fetch)
        assert server.hear(p.Pull) == p.Pull(-1)
        for start in (0, p.CHUNK):
            server.say("bulk", p.Constants(start), bytes([start > 0]) * p.CHUNK)
        server.version(1)
        _, constants, install = opening.result(PATIENCE / 1000)
    assert constants == bytes(p.CHUNK) + bytes([1]) * p.CHUNK
    assert (install.version, set(install.data)) == (1, {1})


def test_the_final_parameters_are_asked_for_again(server: Server, proxy: Proxy, ready: Link) -> None:
    server.grant(1)
    assert isinstance(ready.work(), Compute)
    ready.done(False, 0)
    server.hear(p.Pull)
    server.say("control", p.Finished(5, "complete", True))
    assert isinstance(ready.work(), Push | None)
    while ready.work() is not None:
        pass
    with ThreadPoolExecutor(1) as main:
        finishing = main.submit(ready.final)
        assert server.hear(p.Pull) == p.Pull(4)
        server.version(5, slice(0, 2))
        proxy.cut()
        assert server.hear(p.Pull) == p.Pull(4)
        server.version(5)
        final = finishing.result(PATIENCE / 1000)
    assert final is not None
    assert final.version == 5


def test_what_is_said_does_not_wait_for_bulk_to_be_copied(server: Server) -> None:
    heard = threading.Event()

    def chunks() -> Iterator[tuple[p.Message, memoryview]]:
        for number in range(4):
            if number == 2:  # were all copied first, this would never be heard
                speaking.say(p.Alive(cpu_s=12.0))
            if number == 3:
                assert heard.wait(PATIENCE / 1000)
            yield p.Part(0, number), memoryview(b"chunk")

    sent = threading.Event()
    hello = p.Hello(p.PROTOCOL, "run", 4, [], "host", 1, "cpu")
    speaking = Line(server.address, "secret", hello, lambda *_: None, lambda *_: None, lambda: None)
    speaking.send(chunks(), sent.set)
    speaking.open()
    while server.hear(p.Alive) != p.Alive(cpu_s=12.0):
        pass
    heard.set()
    assert sent.wait(PATIENCE / 1000)
    speaking.close("the test is over")
    assert server.hear(p.Leave).reason == "the test is over"  # type: ignore[union-attr]


# No server ------------------------------------------------------------------------------------------------


def test_a_worker_that_finds_no_server_says_what_it_waits_for_again_and_again_and_gives_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line, "UNSAID", 0.0)
    monkeypatch.setattr(line, "AGAIN", 0.0)
    monkeypatch.setattr(line, "BEAT", 0.1)
    told: list[str] = []
    link = Link(f"tcp://127.0.0.1:{free_port()}", "secret", "run", 4, [], SIZE, "cpu", wait=1.5, tell=told.append)
    with pytest.raises(RunError, match=r"nobody at .* answers, for \d+ s now: the run is over, or its server is lost"):
        link.open()
    assert len(told) > 1
    assert all(re.fullmatch(r"waiting for .*, for \d s of 2: nobody listens there yet\. .*", text) for text in told)
    link.close("the test is over")


def test_looks_at_a_host_that_does_not_answer_do_not_make_the_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0.0

    def look(*_: object) -> str:
        nonlocal looked
        looked += 2.0  # as long as one that is off takes
        assert looked < 100.0
        return "it cannot be reached"

    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + looked, process_time=time.process_time)
    monkeypatch.setattr(line, "time", clock)
    monkeypatch.setattr(line, "seen", look)
    monkeypatch.setattr(line, "BEAT", 0.1)
    monkeypatch.setattr(line, "UNSAID", 0.0)
    monkeypatch.setattr(line, "AGAIN", 0.0)
    link = Link(f"tcp://127.0.0.1:{free_port()}", "secret", "run", 4, [], SIZE, "cpu", wait=5.0)
    with pytest.raises(RunError, match=r"nobody at .* answers, for \d+ s now"):
        link.open()
    link.close("the test is over")


def test_a_worker_that_finds_another_program_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "UNSAID", 0.0)
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        link = Link(address, "secret", "run", 4, [], SIZE, "cpu", wait=1.0, tell=told.append)
        with pytest.raises(RunError, match=r"nobody at .* answers"):
            link.open()
        link.close("the test is over")
    assert len(told) == 1
    assert "somebody listens there, but does not answer as this worker's server" in told[0]


def test_a_worker_whose_keys_are_another_servers_gives_up_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "UNSAID", 0.0)
    monkeypatch.setattr(line, "AGAIN", 0.0)
    for folder in ("this", "that"):
        keys.make(tmp_path / folder, ["lab"])
    address, told = f"tcp://127.0.0.1:{free_port()}", []
    listener = Listener(address, keys.ServerKeys(tmp_path / "that"))
    own = keys.WorkerKeys.read(tmp_path / "this" / "lab")
    link = Link(address, own, "run", 4, [], SIZE, "cpu", tell=told.append)
    with pytest.raises(RunError, match="is not the server that the key of 'lab' was made for"):
        link.open()
    assert len(told) == 1
    link.close("the test is over")
    listener.close()


def test_a_worker_that_comes_after_the_end_need_not_look_for_the_server() -> None:
    link = Link(f"tcp://127.0.0.1:{free_port()}", "secret", "run", 4, [], SIZE, "cpu", over=lambda: "in runs/mine")
    with pytest.raises(RunError, match="the run in runs/mine is complete: this worker has come too late"):
        link.open()
    link.close("the test is over")


def test_a_server_that_is_there_and_slow_to_answer_is_waited_for(server: Server) -> None:
    link = Link(server.address, "secret", "run", 4, [], SIZE, "cpu", wait=2.0)
    with ThreadPoolExecutor(1) as main:
        opening = main.submit(link.open)
        server.hear(p.Hello)
        for _ in range(3):  # its signs of life: seconds go by
            server.hear(p.Alive)
        assert not opening.done()
        server.say("control", p.Refusal("that is all"))
        with pytest.raises(RunError, match="that is all"):
            opening.result(PATIENCE / 1000)
    link.close("the test is over")


# A server that was lost, and one that went on from its checkpoint --------------------------------------------


def resumed(server: Server, version: int) -> None:
    """What the server of another life says, up to its parameters; before them comes what the lost one had sent."""
    server.say("control", p.Welcome(2, 0, {"epochs": 1}, life=1))
    while server.hear(p.Pull) != p.Pull(-1):
        pass
    for life, number in ((0, version + 5), (1, version)):
        for start, stop in p.chunks(SIZE):
            server.say("bulk", p.Version(number, start, life), bytes([number]) * (stop - start))


def test_nothing_that_a_worker_has_counts_for_the_server_that_goes_on(server: Server, ready: Link) -> None:
    server.grant(1)
    old = ready.work()
    assert isinstance(old, Compute)
    server.version(8)
    server.hear(e.Received)
    server.say("control", p.Rejoin())
    server.hear(p.Hello)
    resumed(server, version=3)
    assert server.hear(p.Ready) == p.Ready(3, 100.0, 1)
    install = ready.work()
    assert isinstance(install, Install)
    assert (install.version, bytes(install.data)) == (3, bytes([3]) * SIZE)
    assert not ready.done(False, old.generation)
    server.grant(1 << 32, min_version=3)
    new = ready.work()
    assert isinstance(new, Compute)
    assert new.generation != old.generation
    assert server.hear(e.Started) == e.Started(2, 1 << 32, 3)


def test_a_server_lost_while_a_worker_measures_its_pace(server: Server, link: Link) -> None:
    with ThreadPoolExecutor(1) as main:
        opening = main.submit(link.open)
        server.hear(p.Hello)
        server.say("control", p.Welcome(4, 0, {"epochs": 1}))
        server.hear(p.Pull)
        server.say("bulk", p.Constants(0), b"")
        server.version(9)
        opening.result(PATIENCE / 1000)
    server.say("control", p.Rejoin())
    server.hear(p.Hello)
    server.say("control", p.Welcome(4, 0, {"epochs": 1}, life=1))
    while link._life != 1:  # it has nothing to answer yet
        server.hear(p.Alive)
    link.ready(9, 100.0, 1)
    assert server.hear(p.Pull) == p.Pull(-1)
    for start, stop in p.chunks(SIZE):
        server.say("bulk", p.Version(2, start, 1), bytes([2]) * (stop - start))
    assert server.hear(p.Ready) == p.Ready(2, 100.0, 1)
    install = link.work()
    assert isinstance(install, Install)
    assert install.version == 2


def test_a_silent_server_is_greeted_again_and_again_it_is_heard(
    server: Server, ready: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evener.runtime.line.SILENCE", 0.3)
    monkeypatch.setattr("evener.runtime.line.BEAT", 0.1)
    assert isinstance(server.hear(p.Hello), p.Hello)
    server.say("control", p.Welcome(4, 0, {"epochs": 1}))
    assert server.hear(p.Ready) == p.Ready(0, 100.0, 1)


def test_a_server_that_does_not_come_back_is_given_up(ready: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evener.runtime.line.SILENCE", 0.2)
    monkeypatch.setattr("evener.runtime.line.LOST", 0.5)
    monkeypatch.setattr("evener.runtime.line.BEAT", 0.1)
    with pytest.raises(RunError, match="speaks any more: is the server's process alive"):
        ready.work()
