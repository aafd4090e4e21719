"""Both ends of bulk in memory, joined by connections that deliver late: nothing is read while it is written."""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Iterator

import pytest

from evener.runtime import protocol as p
from evener.runtime.bulk import memory
from evener.runtime.bulk.memory import Segment, probe
from evener.runtime.bulk.server import LostError, ServerBulk
from evener.runtime.bulk.worker import WorkerBulk

pytestmark = pytest.mark.skipif(probe() is None, reason="no anonymous shared memory here")

SIZE = 4096


def filled(value: int) -> memoryview:
    return memoryview(bytes([value % 256]) * SIZE)


@pytest.fixture(autouse=True)
def handles_closed() -> Iterator[None]:
    """Memory is handed back when nobody refers to it: a thousand handles would wait for the collector."""
    yield
    gc.collect()


class Wires:
    """A server's end and its workers', and what is under way between them, oldest first."""

    def __init__(self, memory: bool = True) -> None:
        self.server = ServerBulk(filled(0), memoryview(b""), SIZE, self._send, self._say, memory)
        self.down: dict[bytes, deque[tuple[p.Message, bytes]]] = {}
        self.workers: dict[bytes, Worker] = {}
        self.published = 0

    def _send(self, name: bytes, message: p.Message, chunk: memoryview) -> bool:
        self.down[name].append((message, bytes(chunk)))
        return True

    def _say(self, name: bytes, message: p.Message) -> bool:
        return self._send(name, message, memoryview(b""))

    def publish(self) -> bool:
        """Whether there was memory for it."""
        self.published += 1
        room = self.server.room()
        if room is not None:
            room[:] = filled(self.published)
        self.server.publish(self.published, filled(self.published) if room is None else room.toreadonly())
        return room is not None

    def worker(self, name: bytes, memory: bool = True) -> Worker:
        worker = self.workers[name] = Worker(self, name, memory)
        return worker


class Worker:
    """A worker's end. It plays the line: what it says is under way until it is delivered."""

    def __init__(self, wires: Wires, name: bytes, memory: bool) -> None:
        self.name = name
        self.bulk = WorkerBulk(SIZE, memory)
        self.bulk.line = self  # type: ignore[assignment]
        self.up: deque[tuple[p.Message, bytes]] = deque()
        self.welcome = False
        self._wires = wires
        wires.down[name] = deque()
        self.join()
        self.reach()
        self.hear()

    def join(self) -> None:
        """Say hello; what it has said before is heard before, and so is what was said to it before it is welcome."""
        self.welcome = False
        self.say(p.Hello(p.PROTOCOL, "run", 0, [], "host", 1, "cpu", self.bulk.offer))

    def say(self, message: p.Message) -> None:
        self.up.append((message, b""))

    def ask(self, message: p.Message) -> None:
        self.up.append((message, b""))

    def send(self, chunks: object, copied: object) -> None:
        self.up.extend((message, bytes(chunk)) for message, chunk in chunks)  # type: ignore[attr-defined]

    def push(self, value: int) -> bool:
        """Whether it goes through memory."""
        room = self.bulk.room(SIZE)
        if room is not None:
            room[:] = filled(value)
        self.bulk.push((value,), (0,), 1.0, b"", {}, filled(value) if room is None else room, lambda: None)
        return room is not None

    def hear(self) -> p.Message:
        """Take the next of what is under way to this worker."""
        message, chunk = self._wires.down[self.name].popleft()
        match message:
            case p.Taken(key):
                self.bulk.taken(key)
            case p.Welcome():
                self.bulk.welcomed(message)
                self.welcome = True
            case _:
                self.bulk.hear(message, memoryview(chunk))
        return message

    def reach(self) -> tuple[p.Push, memoryview] | None:
        """Let the server take the next of what this worker has said; returns a contribution."""
        message, chunk = self.up.popleft()
        server = self._wires.server
        match message:
            case p.Hello():
                server.forget(self.name)
                reads = server.join(self.name, message.offer)
                self._wires.down[self.name].append((p.Welcome(0, 0, {}, server.offer, reads), b""))
            case p.Pull(newer_than, reads):
                server.pull(self.name, newer_than, reads)
            case p.Taken(key):
                server.taken(self.name, key)
            case p.Push():
                return server.push(self.name, message, memoryview(chunk))
        return None

    def kinds(self) -> list[str]:
        return [type(message).__name__ for message, _ in self.up]


def read(worker: Worker) -> tuple[int, set[int]]:
    version, data = worker.bulk.take()
    worker.bulk.give_back(data)
    return version, set(data)


def test_a_version_is_read_where_it_lies() -> None:
    wires = Wires()
    worker = wires.worker(b"a")
    worker.bulk.pull(-1)
    worker.reach()
    assert isinstance(worker.hear(), p.InMemory)
    assert read(worker) == (0, {0})
    assert worker.kinds() == ["Taken"]


def test_each_worker_gets_it_the_way_it_can() -> None:
    wires = Wires()
    near, far = wires.worker(b"near"), wires.worker(b"far", memory=False)
    for worker in (near, far):
        worker.bulk.pull(0)
        worker.reach()
    wires.publish()
    assert isinstance(near.hear(), p.InMemory)
    assert isinstance(far.hear(), p.Version)
    assert read(near) == read(far) == (1, {1})
    assert near.push(1)
    assert not far.push(2)
    for worker, value in ((near, 1), (far, 2)):
        found = None
        while found is None:
            found = worker.reach()
        assert set(found[1]) == {value}


def test_a_server_without_memory_gets_and_sends_chunks() -> None:
    wires = Wires(memory=False)
    worker = wires.worker(b"a")
    assert not worker.push(1)
    worker.up.clear()
    worker.bulk.pull(-1)
    assert worker.up[0] == (p.Pull(-1, False), b"")
    worker.reach()
    assert isinstance(worker.hear(), p.Version)


def test_a_version_that_cannot_be_read_is_asked_for_in_chunks() -> None:
    wires = Wires()
    worker = wires.worker(b"a")
    worker.bulk.pull(-1)
    worker.up.clear()
    gone = Segment(SIZE).offer
    wires.down[b"a"].append((p.InMemory(0, gone), b""))
    worker.hear()
    assert [message for message, _ in worker.up] == [p.Taken(gone.key), p.Pull(-1, False)]
    assert worker.bulk.at_hand is None
    worker.up.popleft()
    worker.reach()
    assert isinstance(worker.hear(), p.Version)
    assert read(worker) == (0, {0})


def test_an_answer_that_is_overtaken_does_not_count() -> None:
    wires = Wires()
    worker = wires.worker(b"a")
    for reads in (False, True):
        wires.server.pull(b"a", wires.published, reads)
        wires.publish()
    in_chunks, in_memory = wires.down[b"a"]
    assert isinstance(in_memory[0], p.InMemory)
    wires.down[b"a"] = deque([in_memory, in_chunks])
    worker.hear()
    worker.hear()
    assert read(worker) == (2, {2})


def test_who_slowly_reads_leaves_the_others_chunks() -> None:
    wires = Wires()
    slow = [wires.worker(bytes([index])) for index in range(memory.SEGMENTS + 1)]
    found = []
    for worker in slow:
        worker.bulk.pull(wires.published)
        worker.reach()
        found.append(wires.publish())
    assert found == [True] * memory.SEGMENTS + [False]
    for number, worker in enumerate(slow, 1):
        worker.hear()
        assert read(worker) == (number, {number})
    assert not wires.publish()
    slow[0].reach()  # it has taken it
    assert wires.publish()


def test_contributions_are_kept_as_long_as_the_server_likes() -> None:
    wires = Wires()
    worker = wires.worker(b"a")
    ways = [worker.push(number) for number in range(memory.SEGMENTS + 2)]
    assert ways == [True] * memory.SEGMENTS + [False] * 2
    kept = [worker.reach() for _ in ways]
    assert [one and set(one[1]) for one in kept] == [{number} for number in range(len(ways))]
    first = kept[3]
    assert first is not None
    assert first[0].offer is not None
    worker.bulk.taken(first[0].offer.key)
    worker.bulk.taken(b"of a membership that is over")
    assert worker.push(99)
    assert not worker.push(100)
    assert all(one and set(one[1]) == {number} for number, one in enumerate(kept) if number != 3)


def test_a_contribution_outlives_its_worker() -> None:
    wires = Wires()
    worker = wires.worker(b"a")
    worker.push(7)
    found = worker.reach()
    assert found is not None
    # It rejoins and goes on while the server still holds what it gave in its first membership.
    worker.join()
    worker.reach()
    worker.hear()
    for number in range(2 * memory.SEGMENTS):
        worker.push(number)
    assert set(found[1]) == {7}
    del worker.bulk
    wires.server.forget(b"a")
    assert set(found[1]) == {7}


def test_a_push_in_chunks_is_not_disturbed_by_one_in_memory() -> None:
    size = 2 * p.CHUNK
    server = ServerBulk(filled(0), memoryview(b""), size, lambda *_: True, lambda *_: True, memory=True)
    mine, segment = Segment(0), Segment(size)
    assert server.join(b"a", mine.offer)
    half = memoryview(bytes(p.CHUNK))
    assert server.push(b"a", p.Push(0, (1,), (0,), 1.0), half) is None
    found = server.push(b"a", p.Push(1, (2,), (0,), 1.0, offer=segment.offer), memoryview(b""))
    assert found is not None
    found = server.push(b"a", p.Part(0, p.CHUNK), half)
    assert found is not None
    assert found[0].push == 0


def test_a_push_that_cannot_be_read_ends_sharing_with_this_worker() -> None:
    server = ServerBulk(filled(0), memoryview(b""), SIZE, lambda *_: True, lambda *_: True, memory=True)
    mine, segment = Segment(0), Segment(SIZE)
    assert server.join(b"a", mine.offer)
    with pytest.raises(p.ProtocolError, match="100 bytes were pushed instead of 4096"):
        server.push(b"a", p.Push(0, (1,), (0,), 1.0, offer=Segment(100).offer), memoryview(b""))
    head = p.Push(0, (1,), (0,), 1.0, offer=p.Offer(1, segment.offer.fd, segment.offer.key, SIZE))
    with pytest.raises(LostError, match="its memory cannot be read"):
        server.push(b"a", head, memoryview(b""))
    assert not server.join(b"a", mine.offer)
    assert server.join(b"b", mine.offer)


def test_what_was_lent_in_a_membership_that_is_over_may_be_taken_late() -> None:
    wires = Wires()
    worker = wires.worker(b"a")
    worker.bulk.pull(-1)
    worker.reach()
    worker.join()
    worker.hear()  # the version, after it has said hello
    assert worker.kinds() == ["Hello", "Taken"]
    worker.reach()
    worker.hear()
    worker.bulk.pull(-1)
    while worker.up:
        worker.reach()
    assert isinstance(worker.hear(), p.InMemory)
    assert read(worker) == (0, {0})


WHAT = ["publish", "hear", "hear", "reach", "reach", "pull", "push", "drop", "rejoin", "give up", "ghost"]


@pytest.mark.parametrize("seed", range(30))
def test_nothing_is_ever_torn(seed: int) -> None:
    """Versions and contributions have one value each; whatever is late, given up or dead, no reader sees two."""
    chance = random.Random(seed)
    wires = Wires()
    names = [b"a", b"b", b"c"]
    for name in names:
        wires.worker(name)
    kept: list[tuple[int, memoryview]] = []
    ghosts: list[tuple[Worker, deque[tuple[p.Message, bytes]]]] = []
    shared = 0
    for _ in range(600):
        name = chance.choice(names)
        worker = wires.workers[name]
        match chance.choice(WHAT):
            case "publish":
                shared += wires.publish()
            case "hear" if wires.down[name]:
                worker.hear()
                if worker.bulk.at_hand is not None:
                    version, values = read(worker)
                    assert values == {version % 256}
            case "reach" if worker.up:
                if found := worker.reach():
                    kept.append((found[0].tickets[0], found[1]))
                    if found[0].offer is not None and chance.random() < 0.5:
                        assert set(found[1]) == {found[0].tickets[0]}
                        wires.down[name].append((p.Taken(found[0].offer.key), b""))
                        kept.pop()
            case "pull":
                worker.bulk.pull(chance.randint(-1, wires.published))
            case "push" if worker.welcome:
                shared += worker.push(chance.randrange(256))
            case "drop" if kept:
                value, data = kept.pop(chance.randrange(len(kept)))
                assert set(data) == {value}
            case "rejoin" if worker.welcome and chance.random() < 0.2:
                worker.join()
            case "give up" if chance.random() < 0.2:
                # It hangs with all that is on its way to it, and is replaced: what it reads when it wakes is as it was.
                ghosts.append((worker, wires.down.pop(name)))
                wires.server.forget(name)
                wires.worker(name)
            case "ghost" if ghosts:
                ghost, late = ghosts.pop(chance.randrange(len(ghosts)))
                for message, chunk in late:
                    if isinstance(message, p.Version | p.InMemory):
                        ghost.bulk.hear(message, memoryview(chunk))
                    if ghost.bulk.at_hand is not None:
                        version, values = read(ghost)
                        assert values == {version % 256}
    assert all(set(data) == {value} for value, data in kept)
    assert shared > 50
