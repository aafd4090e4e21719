"""Peers that mean harm, with a key and without: nothing of theirs counts, and the others do not notice."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evener.core import events as e
from evener.runtime import connections, keys
from evener.runtime import protocol as p
from evener.runtime.conduct import Said, flaw
from evener.runtime.transport import prove
from evener.trace import NoteLine, WarningNote, read

from .raw import Raw
from .test_protocol import message
from .test_server import PATIENCE, SIZE, Run, Worker


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """With keys, for one worker: ``one``. ``two`` has a key, too."""
    keys.make(tmp_path / "keys", ["one", "two"])
    made = Run(tmp_path, 1, secret=keys.ServerKeys(tmp_path / "keys"))
    yield made
    made.close()


def key(run: Run, name: str) -> keys.WorkerKeys:
    return keys.WorkerKeys.read(run.writer.path.parent / "keys" / name)


def begin(run: Run) -> tuple[Worker, e.Granted]:
    """An honest worker with its first ticket."""
    worker = run.worker("honest", key(run, "one"))
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    return worker, worker.hear(e.Granted)[0]


def finish(run: Run, worker: Worker, grant: e.Granted) -> None:
    """The honest worker does the rest of the run; both its contributions count, and nothing else."""
    for version in (1, 2):
        worker.compute(grant)
        worker.push(version, grant, 100 + version)
        if version == 1:
            worker.bulk(p.Pull(0))
            worker.whole(p.Version, SIZE)
            grant = worker.hear(e.Granted)[0]
    assert worker.hear(p.Finished)[0] == p.Finished(2, "complete", True)
    assert run.numeric.added == [(SIZE, bytes([101])), (SIZE, bytes([102]))]
    assert run.server.applied == 4


def refusal(worker: Worker) -> str:
    while not isinstance(said := worker.hear((p.Refusal, e.Granted))[0], p.Refusal):
        pass
    why: str = said.why
    return why


def warnings(run: Run) -> list[str]:
    """What the log says; it is written when the run has ended."""
    run.thread.join(PATIENCE / 1000)
    run.writer.flush(1e9)
    notes = [line.note for line in read(run.writer.path) if isinstance(line, NoteLine)]
    return [note.text for note in notes if isinstance(note, WarningNote)]


# Who has no key, or no more ---------------------------------------------------------------------------------


def test_a_key_taken_back_ends_its_connections(run: Run) -> None:
    worker, grant = begin(run)
    thief = run.worker("thief", key(run, "two"))
    thief.hello(1)
    (run.writer.path.parent / "keys" / "allowed" / "two.pub").unlink()
    assert refusal(thief) == "this worker's key was taken back on the server"
    # Whatever it says on connections that it still has, it is not heard; then they end, and no new ones begin.
    events = thief.dialer.events
    for _ in range(1000):
        thief.control(p.Hello(p.PROTOCOL, "run", 1, [], "host", 1, "cpu"))
        if events.poll(20) and thief.dialer.news()[0]:
            break
    else:
        pytest.fail("it was never refused")
    finish(run, worker, grant)
    assert any("two" in text and "taken back" in text for text in warnings(run))


class Tap:
    """A wire that keeps what goes over it."""

    def __init__(self, address: str) -> None:
        self.port = int(address.rpartition(":")[2])
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.heard: list[bytearray] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            heard = bytearray()
            self.heard.append(heard)
            threading.Thread(target=self._pass, args=(near, far, heard), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, bytearray()), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, heard: bytearray) -> None:
        try:
            while data := one.recv(1 << 16):
                heard += data
                other.sendall(data)
            other.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        self._listening.close()


def test_captured_frames_are_of_no_use(run: Run) -> None:
    tap = Tap(run.address)
    worker = Worker(tap.address, "honest", key(run, "one"))
    run.workers.append(worker)
    worker.hello()
    worker.bulk(p.Fetch())
    worker.whole(p.Constants, 9)
    worker.control(p.Ready(0, None, 1))
    grant, _ = worker.hear(e.Granted)
    for heard in map(bytes, list(tap.heard)):
        assert b"Hello" not in heard  # encrypted: a tap learns nothing
        assert len(heard) > 300
        with socket.create_connection(("127.0.0.1", tap.port)) as replay:
            replay.settimeout(PATIENCE / 1000)
            replay.sendall(heard)
            said = b""
            try:
                while data := replay.recv(1 << 16):  # until the server hangs up
                    said += data
            except ConnectionError:
                pass
            assert len(said) < 400  # its greeting and its part of a handshake: nothing of the run
    finish(run, worker, grant)
    tap.close()
    assert sum(isinstance(event, e.Joined) for event in events_of(run)) == 1


def events_of(run: Run) -> list[Any]:
    run.thread.join(PATIENCE / 1000)
    run.writer.flush(1e9)
    return [line.event for line in read(run.writer.path) if hasattr(line, "event")]


# Who has a key, and lies --------------------------------------------------------------------------------------

LIES: dict[str, tuple[p.Message, str]] = {
    "a ticket twice": (p.Push(0, (0, 0), (0, 0), 4.0), "a ticket twice"),
    "no ticket": (p.Push(0, (), (), 2.0), "a contribution of 0 tickets"),
    "versions left out": (p.Push(0, (0,), (), 2.0), "1 tickets and 0 versions"),
    "a version before all": (p.Push(0, (0,), (-1,), 2.0), "a number that no version has"),
    "a ticket beyond all": (p.Push(0, (2**60,), (0,), 2.0), "a number that no push or ticket has"),
    "a thousand metrics": (p.Push(0, (0,), (0,), 2.0, b"", {str(n): (1.0, 1.0) for n in range(1000)}), "1000 metrics"),
    "an endless name": (p.Push(0, (0,), (0,), 2.0, b"", {"x" * 10_000: (1.0, 1.0)}), "a name or reason of 10000"),
    "parameters of the future": (e.Received(1, 2**62), "it holds version"),
    "no time": (e.Computed(1, 0, float("nan")), "no number of seconds"),
    "negative time": (e.Computed(1, 0, -5.0), "no number of seconds"),
    "a goodbye without end": (p.Leave("x" * 100_000), "a name or reason of 100000"),
    "CPU time of nobody": (p.Alive(float("inf")), "no number of seconds"),
    "absurd pace": (p.Ready(0, 1e300, 1), "nothing computes"),
    "no time of packing": (p.Ready(0, 1.0, 1, transfer_s=0.1, packing_s=float("nan")), "no number of seconds"),
    "no base": (p.Pull(0, base=-2), "there is no version -2"),
    "a number of worker": (p.Hello(p.PROTOCOL, "run", 2**60, [], "host", 1, "cpu"), "there is no worker"),
    "memory with something in it": (
        p.Hello(p.PROTOCOL, "run", 1, [], "host", 1, "cpu", p.Offer(1, 1, b"k", 2**40)),
        "offers memory",
    ),
    "what only a server says": (p.Finished(0, "complete", True), "not for a worker to say"),
    "memory that is not there": (p.Push(0, (0,), (0,), 2.0, offer=p.Offer(1, 1, b"k", 7)), "7 bytes were pushed"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_lie_is_refused_in_words_and_costs_the_others_nothing(run: Run, what: str) -> None:
    worker, grant = begin(run)
    liar = run.worker("liar", key(run, "two"))
    liar.hello(1)
    lie, why = LIES[what]
    if not isinstance(lie, p.Ready):
        liar.control(p.Ready(0, 1.0, 1))
    liar.control(lie)
    assert why in refusal(liar)
    finish(run, worker, grant)
    assert any(
        text.startswith("refused: protocol error: ") and "(from two, 127.0.0.1)" in text for text in warnings(run)
    )


def test_a_version_that_there_is_not_yet(run: Run) -> None:
    liar = run.worker("liar", key(run, "two"))
    liar.hello()
    liar.control(p.Ready(0, None, 1))
    grant = liar.hear(e.Granted)[0]
    liar.bulk(p.Push(0, (grant.ticket,), (7,), 2.0), bytes(SIZE))
    assert "it holds version 7, of 0 that there are" in refusal(liar)
    finish(run, *begin(run))
    assert run.numeric.judged == [(SIZE, bytes([101])), (SIZE, bytes([102]))]


def test_another_workers_ticket_cannot_be_touched(run: Run) -> None:
    worker, grant = begin(run)
    liar = run.worker("liar", key(run, "two"))
    assert liar.hello(1).worker == 1
    liar.control(p.Ready(0, 1.0, 1))
    # In its own name, and in the other's.
    for number in (0, 1):
        liar.control(e.Started(number, grant.ticket, 0))
        liar.control(e.Computed(number, grant.ticket, 0.1))
        liar.control(e.Declined(number, grant.ticket))
        liar.control(e.Released(number, grant.ticket))
    liar.push(0, grant, 66)
    liar.control(p.Leave("enough"))  # with the tickets of its own, which it does not compute
    finish(run, worker, grant)
    assert run.numeric.judged == [(SIZE, bytes([101])), (SIZE, bytes([102]))]  # its bytes were not even looked at


def test_another_ones_name_is_not_to_be_had(run: Run) -> None:
    worker, grant = begin(run)
    context = zmq.Context()
    thief: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    thief.linger = 0
    thief.identity = b"honest/elsewhere"
    prove(thief, key(run, "two"))
    thief.connect(run.address)
    for said in (p.Leave("goodbye"), p.Hello(p.PROTOCOL, "run", 0, [], "host", 1, "cpu")):
        thief.send(p.encode(said))
    # The right one goes on under a name that somebody else has used, too: no answer reaches the thief.
    assert thief.poll(300) == 0
    thief.close()
    context.term()
    worker.control(p.Alive())
    finish(run, worker, grant)


def test_one_key_is_not_a_thousand_workers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evener.runtime.reception.PER_KEY", 3)
    worker, grant = begin(run)
    crowd = [run.worker(f"crowd{number}", key(run, "two")) for number in range(4)]
    for one in crowd[:3]:
        one.hello(-1)
    crowd[3].control(p.Hello(p.PROTOCOL, "run", -1, [], "host", 1, "cpu"))
    assert "take part with this key already" in refusal(crowd[3])
    finish(run, worker, grant)


# Memory -------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="this system does not count bytes")
def test_a_message_without_an_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HELD_MOST", 4 << 20)
    monkeypatch.setattr("evener.runtime.peers.ROLL_CALL", 0.05)
    run = Run(tmp_path, 1)
    worker = run.worker("honest")
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    grant = worker.hear(e.Granted)[0]
    endless = Raw(int(run.address.rpartition(":")[2]), b"endless/bulk")
    data, sent = bytes(p.CHUNK), 0
    endless.socket.settimeout(5)
    # Reset, or its window stays shut: it gets no further in either case.
    with pytest.raises(OSError, match=r"reset|pipe|timed out"):  # noqa: PT012
        while sent < 1000:
            endless.send(data, more=True)
            sent += 1
    assert sent < 1000
    endless.close()
    finish(run, worker, grant)
    assert any("without its end" in text for text in warnings(run))
    run.close()


def test_who_asks_and_never_reads_is_cut_off(tmp_path: Path) -> None:
    run = Run(tmp_path, 1, queue=20)
    worker = run.worker("honest")
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    grant = worker.hear(e.Granted)[0]
    context = zmq.Context()
    sockets = []
    for channel in ("control", "bulk"):
        one: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        one.linger, one.rcvhwm, one.rcvbuf = 0, 1, 4096
        one.identity = f"greedy/{channel}".encode()
        prove(one, "secret")
        one.connect(run.address)
        sockets.append(one)
    sockets[0].send(p.encode(p.Hello(p.PROTOCOL, "run", 1, [], "host", 1, "cpu")))
    assert sockets[0].poll(PATIENCE)
    for _ in range(200):
        sockets[1].send(p.encode(p.Pull(-1)))
    finish(run, worker, grant)
    for one in sockets:
        one.close()
    context.term()
    run.close()


# Noise --------------------------------------------------------------------------------------------------------

CONTROL = [kind for kind in p.MESSAGES.values() if kind not in (p.Leave,)]


@settings(max_examples=200, deadline=None)
@given(st.one_of([message(kind) for kind in p.MESSAGES.values()]), st.integers(0, 2**40))
def test_what_passes_is_in_its_bounds(said: Any, version: int) -> None:
    if not isinstance(said, Said) or flaw(said, version):
        return
    match said:
        case p.Push():
            assert 0 < len(said.tickets) == len(set(said.tickets)) == len(said.versions)
            assert all(0 <= held < 2**53 for held in said.versions)
        case e.Received() | p.Ready():
            assert 0 <= said.version <= version
        case e.Computed():
            assert 0 <= said.seconds < float("inf")


def test_a_worker_cannot_fill_the_record(run: Run) -> None:
    worker, grant = begin(run)
    liar = run.worker("liar", key(run, "two"))
    liar.hello(1)
    liar.control(p.Ready(0, 1.0, 1))
    for _ in range(10_000):
        liar.control(e.Received(1, 0))
    assert refusal(liar) == "protocol error: it reports more than there is to report"
    finish(run, worker, grant)
    assert sum(isinstance(event, e.Received) for event in events_of(run)) < 200


def test_who_begins_anew_again_and_again_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evener.runtime.admission.GREETINGS", 5)
    monkeypatch.setattr("evener.runtime.admission.REFILL", 0.0)
    worker, grant = begin(run)
    liar = run.worker("liar", key(run, "two"))
    for _ in range(5):
        liar.hello(1)
    liar.control(p.Hello(p.PROTOCOL, "run", 1, [], "host", 1, "cpu"))
    assert refusal(liar) == "it begins anew again and again"
    finish(run, worker, grant)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.lists(st.one_of([message(kind) for kind in CONTROL]), min_size=20, max_size=40), seed=st.randoms())
def test_noise_on_the_live_port(noise: list[p.Message], seed: Any, tmp_path_factory: Any) -> None:
    run = Run(tmp_path_factory.mktemp("run"), 1)
    worker = run.worker("honest")
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    grant = worker.hear(e.Granted)[0]
    liar = run.worker("liar")
    for said in noise:
        data = bytearray(p.encode(said))
        if seed.random() < 0.5:
            data[seed.randrange(len(data))] ^= 1 << seed.randrange(8)
        liar.control(p.Hello(p.PROTOCOL, "run", 1, [], "host", 1, "cpu"))
        frames = [bytes(data), os.urandom(seed.randrange(40))][: seed.randrange(1, 3)]
        seed.choice((liar.dialer.control, liar.dialer.bulk)).send_multipart(frames)
    liar.control(p.Alive())
    finish(run, worker, grant)
    run.close()


def test_the_log_is_not_filled(run: Run) -> None:
    worker, grant = begin(run)
    liar = run.worker("liar", key(run, "two"))
    for number in range(3000):
        liar.dialer.control.send(struct.pack("<I", number) + b"garbage")
    for _ in range(3000):
        assert "protocol error" in refusal(liar)
    assert run.server.refusals.count == 3000
    finish(run, worker, grant)
    said = warnings(run)
    assert len(said) <= 30
    assert all(len(text) < 800 for text in said)
