"""Both ends of packed bulk, joined by a connection that delivers late and may lose what is under way."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable

import numpy as np
import pytest

from evener.runtime import protocol as p
from evener.runtime.bulk.codec import CODECS
from evener.runtime.bulk.memory import probe
from evener.runtime.bulk.packing import Packing
from evener.runtime.bulk.server import LostError, Say, ServerBulk
from evener.runtime.bulk.worker import WorkerBulk
from evener.runtime.numeric import Extent

HEADS = 16, 24
COUNT = 700_000
"""Values: a version has three chunks, and so has a contribution as bf16."""

EXTENT = Extent(*HEADS, 4 * COUNT)
codecs = pytest.mark.parametrize("codec", CODECS)


def version(number: int) -> memoryview:
    """Parameters whose running statistics say which version they are; each value drifts."""
    values = np.linspace(-1, 1, COUNT, dtype=np.float32) * np.float32(1 + 1e-3 * number)
    return memoryview(bytes([number % 256]) * HEADS[0] + values.tobytes())


def values(data: memoryview | bytearray, head: int = HEADS[0]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.frombuffer(data, np.float32, offset=head)


class Wires:
    """A server and its workers, and what is under way to each: message, chunk."""

    def __init__(self, codec: str, memory: bool = False, say: Say = lambda *_: True) -> None:
        self.packing = Packing(CODECS[codec], EXTENT)
        self.down: dict[bytes, deque[tuple[p.Message, bytes]]] = {}
        self.bytes: dict[bytes, int] = {}
        self.published = 0
        self.push_bytes = HEADS[1] + 4 * COUNT
        bulk = version(0), memoryview(b""), self.push_bytes
        self.server = ServerBulk(*bulk, self._send, say, memory, packing=self.packing)

    def _send(self, name: bytes, message: p.Message, chunk: memoryview) -> bool:
        self.down[name].append((message, bytes(chunk)))
        self.bytes[name] += len(chunk)
        return True

    def publish(self, times: int = 1) -> None:
        for _ in range(times):
            self.published += 1
            self.server.publish(self.published, version(self.published))

    def worker(self, name: bytes, memory: bool = False) -> Worker:
        self.down[name], self.bytes[name] = deque(), 0
        return Worker(self, name, memory)


class Worker:
    """A worker's end, and the line that it speaks on."""

    def __init__(self, wires: Wires, name: bytes, memory: bool) -> None:
        self.wires, self.name = wires, name
        self.sent: list[tuple[p.Message, bytes]] = []
        self.asked: deque[p.Pull] = deque()
        self.said: list[p.Message] = []
        self.bulk = WorkerBulk(HEADS[0] + 4 * COUNT, memory, EXTENT)
        self.bulk.line = self  # type: ignore[assignment]
        self.join()

    def join(self) -> None:
        """A membership begins."""
        reads = self.wires.server.join(self.name, self.bulk.offer)
        terms = self.wires.server.offer, reads, "run", 0, self.wires.server.compress
        self.bulk.welcomed(p.Welcome(0, 0, {}, *terms))

    def say(self, message: p.Message) -> None:
        self.said.append(message)

    def ask(self, message: p.Message) -> None:
        assert isinstance(message, p.Pull)
        self.asked.append(message)

    def send(self, chunks: Iterable[tuple[p.Message, memoryview]], copied: object) -> None:
        self.sent += [(message, bytes(chunk)) for message, chunk in chunks]

    def reach(self) -> None:
        """Let the server hear what was asked."""
        while self.asked:
            asked = self.asked.popleft()
            self.wires.server.pull(self.name, asked.newer_than, asked.reads, asked.base)

    def hear(self) -> list[p.Message]:
        """Take all that is under way to this worker; returns the first message of each series."""
        heard = []
        queue = self.wires.down[self.name]
        while queue:
            message, chunk = queue.popleft()
            if message.offset == 0:  # type: ignore[union-attr]
                heard.append(message)
            self.bulk.hear(message, memoryview(chunk))
        return heard

    def pull(self, newer_than: int, exact: bool = False) -> list[p.Message]:
        self.bulk.pull(newer_than, exact)
        self.reach()
        return self.hear()

    def has(self) -> tuple[int, bytes]:
        """The version at hand, which is taken and given back."""
        number, data = self.bulk.take()
        copy = bytes(data)
        self.bulk.give_back(data)
        return number, copy

    def push(self, gradient: np.ndarray[tuple[int], np.dtype[np.float32]], weight: float) -> tuple[p.Push, memoryview]:
        """What arrives at the server of a contribution."""
        self.sent.clear()
        payload = memoryview(b"statistics".ljust(HEADS[1]) + gradient.tobytes())
        self.bulk.push((1,), (0,), weight, b"", {}, payload, lambda: None)
        for message, chunk in self.sent[:-1]:
            assert self.wires.server.push(self.name, message, memoryview(chunk)) is None
        message, chunk = self.sent[-1]
        found = self.wires.server.push(self.name, message, memoryview(chunk))
        assert found is not None
        return found


@codecs
def test_versions_come_as_changes_and_are_the_same_for_all(codec: str) -> None:
    wires = Wires(codec)
    one, other = wires.worker(b"one"), wires.worker(b"other")
    for worker in (one, other):
        assert worker.pull(-1) == [p.Version(0, 0, exact=False)]
        assert worker.has() == (0, bytes(version(0)))
    for number in range(5):
        wires.publish()
        for worker in (one, other):
            assert worker.pull(number) == [p.Change(number + 1, number, 1, 0)]
        found = one.has()
        assert found == other.has()
        assert found[0] == number + 1
        assert found[1][: HEADS[0]] == bytes(version(number + 1)[: HEADS[0]])  # running statistics are as they are
        # A value changes by a thousandth at most, and the half step is what may be missing.
        off = np.abs(values(memoryview(found[1])) - values(version(number + 1))).max()
        assert 0 < off < 1e-3 / 128
    late = wires.worker(b"late")
    assert late.pull(-1) == [p.Version(5, 0, exact=False)]
    assert late.has() == found


@codecs
def test_who_missed_versions_gets_their_changes_or_the_whole(codec: str) -> None:
    wires = Wires(codec)
    fast, slow = wires.worker(b"fast"), wires.worker(b"slow")
    fast.pull(-1), slow.pull(-1)
    most = wires.packing.most_changes()
    assert most == {"bf16": 1, "int8": 3}[codec]
    have = 0
    for missed in range(1, most + 3):
        for number in range(have, have + missed):
            wires.publish()
            fast.pull(number)
        heard = slow.pull(have)
        if missed <= most:
            assert heard == [p.Change(have + missed, have, missed, 0)]
        else:
            assert heard == [p.Version(have + missed, 0, exact=False)]
        have += missed
        assert slow.has() == fast.has()


def test_what_nobody_wants_is_not_packed() -> None:
    wires = Wires("int8")
    worker = wires.worker(b"one")
    worker.pull(-1)
    wires.publish(times=50)
    assert worker.pull(0) == [p.Change(50, 0, 1, 0)]
    assert np.abs(values(memoryview(worker.has()[1])) - values(version(50))).max() < 0.05 / 200


@pytest.mark.parametrize(("codec", "ratio"), [("bf16", 2), ("int8", 4)])
def test_bytes_on_the_wire(codec: str, ratio: int) -> None:
    wires = Wires(codec)
    worker = wires.worker(b"one")
    worker.pull(-1)
    wires.bytes[b"one"] = 0
    wires.publish()
    worker.pull(0)
    assert len(version(0)) / wires.bytes[b"one"] == pytest.approx(ratio, rel=0.01)
    worker.push(np.ones(COUNT, np.float32), 1.0)
    assert 4 * COUNT / sum(len(chunk) for _, chunk in worker.sent) == pytest.approx(ratio, rel=0.01)


@codecs
def test_the_exact_version_is_to_be_had(codec: str) -> None:
    wires = Wires(codec)
    worker, other = wires.worker(b"one"), wires.worker(b"other")
    worker.pull(-1), other.pull(-1)
    wires.publish()
    worker.pull(0), other.pull(0)
    assert not worker.bulk.exact
    assert worker.has()[1] != bytes(version(1))
    assert worker.pull(0, exact=True) == [p.Version(1, 0)]
    assert worker.bulk.exact
    assert worker.has() == (1, bytes(version(1)))
    # It follows the changes all the same, from where it was and not from there.
    wires.publish()
    assert worker.pull(1) == other.pull(1) == [p.Change(2, 1, 1, 0)]
    assert worker.has() == other.has()


@codecs
def test_parameters_that_are_not_finite_go_whole(codec: str) -> None:
    wires = Wires(codec)
    worker = wires.worker(b"one")
    worker.pull(-1)
    broken = bytearray(version(1))
    broken[HEADS[0] + 40 : HEADS[0] + 44] = np.float32(np.nan).tobytes()
    for number, data in ((1, memoryview(bytes(broken))), (2, version(2))):
        wires.server.publish(number, data)
        assert worker.pull(number - 1) == [p.Version(number, 0, exact=False)]
        assert worker.has() == (number, bytes(data))
    wires.server.publish(3, version(3))
    assert worker.pull(2) == [p.Change(3, 2, 1, 0)]


@codecs
def test_contributions_arrive_and_their_rest_comes_with_the_next(codec: str) -> None:
    worker = Wires(codec).worker(b"one")
    gradient = np.linspace(0, 1, COUNT, dtype=np.float32)
    arrived = np.zeros(COUNT)
    weights = [3.0, 64.0, 1.0]
    for weight in weights:
        head, payload = worker.push(gradient, weight)
        assert bytes(payload[: HEADS[1]]) == b"statistics".ljust(HEADS[1])
        assert (head.weight, head.packed) == (weight, True)
        arrived += weight * values(payload, HEADS[1]).astype(np.float64)
    # The last weighs 1: at most half a step of values near 64/250 is missing.
    assert np.abs(arrived - sum(weights) * gradient.astype(np.float64)).max() < 0.01
    # Without what was left out, sixty-four times half a step would be.
    alone = Wires(codec).worker(b"alone").push(gradient, 64.0)[1]
    assert 64 * np.abs(values(alone, HEADS[1]) - gradient).max() > 0.04


def test_a_new_membership_begins_without_what_was_left_out() -> None:
    wires = Wires("int8")
    worker = wires.worker(b"one")
    worker.pull(-1)
    gradient = np.linspace(0, 1, COUNT, dtype=np.float32)
    _, first = worker.push(gradient, 1.0)
    assert bytes(worker.push(gradient, 1.0)[1]) != bytes(first)
    worker.join()
    assert bytes(worker.push(gradient, 1.0)[1]) == bytes(first)
    wires.publish()
    assert worker.pull(0) == [p.Version(1, 0, exact=False)]  # nor does it know what it holds


@codecs
def test_whatever_is_lost_or_asked_for_twice_all_hold_the_same(codec: str) -> None:
    for seed in range(6):
        chance = random.Random(seed)
        wires = Wires(codec)
        workers = [wires.worker(name) for name in (b"one", b"other")]
        had = [-1, -1]
        held: dict[int, bytes] = {}
        for worker in workers:
            worker.bulk.pull(-1)
        for _ in range(60):
            number = chance.randrange(2)
            worker, queue = workers[number], wires.down[workers[number].name]
            match chance.choice(["publish", "hear", "hear", "reach", "reach", "again", "lose"]):
                case "publish":
                    wires.publish()
                case "again":
                    worker.bulk.ask_again()
                case "lose":  # the rest of what is under way
                    for _ in range(chance.randrange(4)):
                        if queue:
                            queue.pop()
                    worker.bulk.ask_again()
                case "reach":
                    worker.reach()
                case "hear":
                    worker.hear()
            if worker.bulk.at_hand is not None:
                version_, data = worker.has()
                assert held.setdefault(version_, data) == data, (seed, version_)
                had[number] = max(had[number], version_)
                worker.bulk.pull(had[number])
        # At the end nothing is lost any more, and everybody gets there.
        wires.publish()
        for number, worker in enumerate(workers):
            worker.bulk.ask_again()
            for _ in range(4):
                worker.reach()
                worker.hear()
                if worker.bulk.at_hand is not None:
                    had[number] = worker.has()[0]
                    worker.bulk.pull(had[number])
        assert had == [wires.published] * 2, seed


def test_what_fits_nowhere_is_refused() -> None:
    wires = Wires("int8")
    worker = wires.worker(b"one")
    worker.pull(-1)
    size = wires.packing.push_bytes
    with pytest.raises(p.ProtocolError, match="is longer than"):
        wires.server.push(b"one", p.Push(0, (1,), (0,), 1.0, packed=True), memoryview(bytes(size + 1)))
    wires.server.push(b"one", p.Push(1, (1,), (0,), 1.0, packed=True), memoryview(bytes(8)))
    with pytest.raises(LostError):
        wires.server.push(b"one", p.Part(1, 9), memoryview(bytes(8)))
    lent = p.Push(2, (1,), (0,), 1.0, offer=p.Offer(1, 1, b"", size), packed=True)
    with pytest.raises(p.ProtocolError, match="in memory came packed"):
        wires.server.push(b"one", lent, memoryview(b""))
    for changes in (-1, 0, wires.packing.most_changes() + 1, 2**40):
        with pytest.raises(p.ProtocolError, match="nobody asks for"):
            worker.bulk.hear(p.Change(1, 0, changes, 0), memoryview(bytes(8)))
    with pytest.raises(p.ProtocolError, match="is longer than"):
        worker.bulk.hear(p.Change(1, 0, 1, 0), memoryview(bytes(wires.packing.change_bytes + 1)))


def test_who_was_not_told_of_packing_takes_none() -> None:
    plain = ServerBulk(version(0), memoryview(b""), HEADS[1] + 4 * COUNT, lambda *_: True, lambda *_: True)
    plain.join(b"one")
    with pytest.raises(p.ProtocolError, match="came packed"):
        plain.push(b"one", p.Push(0, (1,), (0,), 1.0, packed=True), memoryview(bytes(8)))
    with pytest.raises(p.ProtocolError, match="nobody asks for"):
        WorkerBulk(100).hear(p.Change(1, 0, 1, 0), memoryview(bytes(8)))


@pytest.mark.skipif(probe() is None, reason="no anonymous shared memory here")
def test_memory_is_never_packed() -> None:
    said: list[p.Message] = []

    def say(_: bytes, message: p.Message) -> bool:
        said.append(message)
        return True

    wires = Wires("int8", memory=True, say=say)
    worker = wires.worker(b"one", memory=True)
    assert not worker.bulk.packs
    assert worker.pull(-1) == []
    assert [type(message) for message in said] == [p.InMemory]
    worker.bulk.hear(said[0], memoryview(b""))
    assert worker.has() == (0, bytes(version(0)))
    assert worker.bulk.exact
    room = worker.bulk.room(wires.push_bytes)
    assert room is not None
    worker.bulk.push((1,), (0,), 1.0, b"", {}, room, lambda: None)
    head = worker.said[-1]
    assert isinstance(head, p.Push)
    assert head.offer is not None
    assert not head.packed
    found = wires.server.push(b"one", head, memoryview(b""))
    assert found is not None
    assert len(found[1]) == wires.push_bytes


def test_a_change_of_a_server_that_was_lost_means_nothing_to_the_one_that_goes_on() -> None:
    wires = Wires("int8")
    worker = wires.worker(b"one")
    worker.pull(-1)
    wires.publish()
    worker.bulk.pull(0)
    worker.reach()
    (late,) = [sent for sent in wires.down[b"one"] if sent[0] == p.Change(1, 0, 1, 0)]
    # The other server goes on from version 0, which that change would lead on from.
    worker.bulk.welcomed(p.Welcome(0, 0, {}, compress="int8", life=1))
    worker.bulk.start_over()
    for start, stop in p.chunks(len(version(0))):
        worker.bulk.hear(p.Version(0, start, 1, exact=False), version(0)[start:stop])
    assert not worker.bulk.hear(late[0], memoryview(late[1]))
    assert worker.has() == (0, bytes(version(0)))
    assert worker.asked[-1] == p.Pull(-1, base=-1)
