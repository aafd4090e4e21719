"""The server's loop against workers that these tests play."""

from __future__ import annotations

import array
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.coordinator import Coordinator
from evener.core.policies import Synchronous
from evener.core.standing import TICKETS, EpochStanding, Standing
from evener.core.state import Settings
from evener.launch.options import free_port
from evener.runtime import protocol as p
from evener.runtime.bulk.memory import HEAD, Segment, attach, probe
from evener.runtime.keys import ServerKeys, WorkerKeys
from evener.runtime.numeric import Verdict
from evener.runtime.past import Past
from evener.runtime.server import Server
from evener.runtime.transport import Dialer, Listener
from evener.trace import Writer

SIZE = 2 * p.CHUNK + 5
"""Bytes of a version, and of a contribution: three chunks."""

PATIENCE = 20_000
"""Milliseconds."""


def brief(data: bytes | memoryview) -> tuple[int, bytes]:
    """Length and values: megabytes that differ would take minutes to be shown."""
    return len(data), bytes(sorted(set(bytes(data))))


class Bytes:
    """A numeric layer whose version ``v`` is the byte ``v``, over and over."""

    def __init__(self, version: int) -> None:
        self.entries: list[p.Entry] = []
        self.push_bytes = SIZE
        self.version = version - 1
        self.added: list[tuple[int, bytes]] = []
        self.judged: list[tuple[int, bytes]] = []

    def constants(self) -> memoryview:
        return memoryview(b"constants")

    def draw(self, epoch: int) -> memoryview:
        return memoryview(array.array("q", range(4)).tobytes())

    def verdict(self, head: p.Push, payload: memoryview) -> Verdict:
        self.judged.append(brief(payload))
        return Verdict("ok", 1.0)

    def accumulate(self, step: int, head: p.Push, payload: memoryview, factor: float) -> None:
        self.added.append(brief(payload))

    def step(self, step: c.Step) -> None:
        pass

    def publish(self, into: memoryview | None = None) -> memoryview:
        self.version += 1
        data = memoryview(bytes([self.version]) * SIZE)
        if into is None:
            return data
        into[:] = data
        return into.toreadonly()

    def end_epoch(self, epoch: int, version: int) -> None:
        pass


class Worker:
    """Says what a test tells it to, and hears what the server says."""

    def __init__(self, address: str, name: str, secret: str | WorkerKeys = "secret") -> None:
        self.dialer = Dialer(address, secret, name)
        self.landed = 0

    def hello(self, index: int = 0, offer: p.Offer | None = None) -> p.Welcome:
        self.control(p.Hello(p.PROTOCOL, "run", index, [], "host", 1, "cpu", offer))
        welcome: p.Welcome = self.hear(p.Welcome)[0]
        return welcome

    def control(self, message: p.Message) -> None:
        self.dialer.control.send(p.encode(message))

    def bulk(self, message: p.Message, *chunk: bytes) -> None:
        self.dialer.bulk.send_multipart([p.encode(message), *chunk])

    def push(self, number: int, grant: e.Granted, value: int, spans: slice = slice(None)) -> None:
        head = p.Push(number, (grant.ticket,), (grant.min_version,), 2.0)
        for start, stop in p.chunks(SIZE)[spans]:
            self.bulk(p.Part(number, start) if start else head, bytes([value]) * (stop - start))

    def hear(self, kind: type[p.Message] | tuple[type[p.Message], ...], bulk: bool = False) -> tuple[Any, bytes]:
        """The next message of a kind, with what follows it; signs of life and of pushes that landed are passed over."""
        socket = self.dialer.bulk if bulk else self.dialer.control
        while socket.poll(PATIENCE):
            head, *rest = socket.recv_multipart()
            message = p.decode(head)
            if isinstance(message, kind):
                return message, b"".join(rest)
            assert isinstance(message, p.Alive | e.Landed), f"{message} instead of {kind}"
            self.landed += isinstance(message, e.Landed)
        raise AssertionError(f"no {kind} came")

    def whole(self, kind: type[p.Version] | type[p.Constants], size: int) -> tuple[int, bytes]:
        """What comes in chunks, put together, in brief."""
        found = b""
        while len(found) < size:
            found += self.hear(kind, bulk=True)[1]
        return brief(found)

    def receive(self, version: int) -> None:
        """Wait for these parameters: a ticket of theirs may be here before them."""
        self.bulk(p.Pull(version - 1))
        self.whole(p.Version, SIZE)

    def compute(self, grant: e.Granted, worker: int = 0) -> None:
        """Say that the ticket was computed."""
        self.control(e.Started(worker, grant.ticket, grant.min_version))
        self.control(e.Computed(worker, grant.ticket, 0.1))


class Run:
    """A server in a thread of its own, for one epoch of four positions in batches of two."""

    def __init__(
        self,
        folder: Path,
        workers: int,
        memory: bool = False,
        past: Past | None = None,
        secret: str | ServerKeys = "secret",
        queue: int = 1000,
    ) -> None:
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.numeric = Bytes(past.standing.version if past else 0)
        self.listener = Listener(self.address, secret, queue=queue)
        settings, policy = Settings(batch=2, epochs=1, workers=workers), Synchronous()
        self.writer = Writer(folder)
        self.writer.header(run="run", settings=settings, policy=policy, parameters=0)
        self.server = Server(
            self.listener,
            Coordinator(settings, policy, past and past.standing),
            self.numeric,
            self.writer,
            "run",
            lambda metrics: None,
            lambda command, now: None,
            memory,
            past,
        )
        self.server.farewell = 0.2
        self.workers: list[Worker] = []
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()

    def worker(self, name: str, secret: str | WorkerKeys = "secret") -> Worker:
        self.workers.append(Worker(self.address, name, secret))
        return self.workers[-1]

    def close(self) -> None:
        for worker in self.workers:
            worker.dialer.close()
        self.server.post(e.StopAsked("the test is over"))
        self.thread.join(PATIENCE / 1000)
        assert not self.thread.is_alive()
        self.listener.close()
        self.writer.close()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Callable[[int], Run]]:
    made: list[Run] = []

    def make(workers: int, memory: bool = False, past: Past | None = None) -> Run:
        made.append(Run(tmp_path, workers, memory, past))
        return made[-1]

    yield make
    for run in made:
        run.close()


def test_a_server_that_goes_on_takes_nothing_of_the_life_before(runs: Callable[..., Run]) -> None:
    order = memoryview(array.array("q", range(4)).tobytes())
    standing = Standing(5, 0, (EpochStanding(0, 4, applied=((0, 2),)),), resumed=2)
    run = runs(2, past=Past(standing, {0: order}))
    assert run.server.applied == 2
    worker, other = run.worker("one"), run.worker("two")
    worker.control(e.Started(0, 3, 9))  # it did not know yet that the server was lost
    assert worker.hello().life == 2
    worker.control(e.Received(0, 9))
    worker.bulk(p.Pull(-1))
    assert worker.hear(p.Version, bulk=True)[0] == p.Version(5, 0, life=2)
    worker.control(p.Ready(5, None, 1))
    grant, indices = worker.hear(e.Granted)  # although but one of two workers is back
    assert array.array("q", indices).tolist() == [2, 3]
    assert grant.ticket >= 2 * TICKETS
    other.hello(1)
    other.control(p.Ready(9, None, 1))  # a version of the life before
    assert "it holds version 9, of 5" in other.hear(p.Refusal)[0].why
    worker.push(1, e.Granted(3, 0, 9, 3, ((2, 4),), 9), 9)  # what was under way when the server was lost
    worker.compute(grant)
    worker.push(2, grant, 7)
    assert worker.hear(p.Finished)[0] == p.Finished(6, "complete", True)
    assert run.numeric.added == [(SIZE, bytes([7]))]
    assert run.server.applied == 4


@pytest.mark.parametrize("waits", [True, False])
def test_a_server_that_went_on_can_be_found_for_a_while_although_the_run_is_over(
    runs: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, waits: bool
) -> None:
    monkeypatch.setattr("evener.runtime.server.LINGER", PATIENCE / 1000 if waits else 0.0)
    order = memoryview(array.array("q", range(4)).tobytes())
    standing = Standing(1, 0, (EpochStanding(0, 4, applied=((0, 2),)),), resumed=1)
    run = runs(2, past=Past(standing, {0: order}))
    run.server.farewell = PATIENCE / 1000
    worker, other = run.worker("one"), run.worker("two")
    worker.hello()
    worker.control(p.Ready(1, None, 1))
    grant, _ = worker.hear(e.Granted)
    worker.compute(grant)
    worker.push(1, grant, 7)
    worker.hear(p.Finished)
    worker.control(p.Leave("finished"))
    if waits:
        other.control(p.Alive())  # as who does not know yet that it is another server
        other.hear(p.Rejoin)
        other.hello(1)
        assert other.hear(p.Finished)[0] == p.Finished(2, "complete", True)
        other.control(p.Leave("finished"))
    run.thread.join(PATIENCE / 1000)
    assert not run.thread.is_alive(), "and no longer than that"


def test_a_run(runs: Callable[[int], Run]) -> None:
    run = runs(1)
    worker = run.worker("one")
    assert worker.hello() == p.Welcome(
        0,
        9,
        {"batch": 2, "epochs": 1, "workers": 1, "seed": 0, "micro_batch": 0, "look_ahead": False},
        run="run",
    )
    worker.bulk(p.Fetch())
    assert worker.whole(p.Constants, 9) == brief(b"constants")
    worker.bulk(p.Pull(-1))
    assert worker.whole(p.Version, SIZE) == (SIZE, b"\0")
    worker.control(p.Ready(0, None, 1))
    positions: list[int] = []
    for version in (1, 2):
        grant, indices = worker.hear(e.Granted)
        positions += array.array("q", indices)
        worker.bulk(p.Pull(version - 1))  # answered when there is such a version
        worker.compute(grant)
        worker.push(version, grant, 100 + version)
        assert worker.whole(p.Version, SIZE) == (SIZE, bytes([version]))
    assert positions == [0, 1, 2, 3]
    assert worker.hear(p.Finished)[0] == p.Finished(2, "complete", True)
    assert worker.landed == 2
    worker.control(p.Leave("finished", 3.5))
    run.thread.join(PATIENCE / 1000)
    assert run.numeric.added == [(SIZE, bytes([101])), (SIZE, bytes([102]))]
    assert run.server.applied == 4
    assert run.server.workers_cpu == {0: 3.5}


@pytest.mark.skipif(probe() is None, reason="no anonymous shared memory here")
def test_memory_is_let_go_whatever_comes_of_what_lies_there(runs: Callable[..., Run]) -> None:
    run = runs(1, memory=True)
    worker, own, segment = run.worker("one"), Segment(0), Segment(SIZE)
    welcome = worker.hello(offer=own.offer)
    assert welcome.reads
    assert attach(welcome.offer) is not None
    worker.control(p.Ready(0, None, 1, reads=True))
    grants: list[e.Granted] = []

    def wait_taken() -> None:
        taken = worker.hear((p.Taken, e.Granted))[0]
        if isinstance(taken, e.Granted):  # the next ticket may come first
            grants.append(taken)
            taken = worker.hear(p.Taken)[0]
        assert taken == p.Taken(segment.offer.key)

    for number in (1, 2):
        grant = grants.pop() if grants else worker.hear(e.Granted)[0]
        worker.compute(grant)
        # The first names a ticket that nobody has: it is refused, and its memory let go as well.
        for ticket, value in ((99, 9), (grant.ticket, number)):
            segment.mapping[HEAD:] = bytes([value]) * SIZE
            worker.control(p.Push(number, (ticket,), (grant.min_version,), 2.0, offer=segment.offer))
            wait_taken()
    assert worker.hear(p.Finished)[0] == p.Finished(2, "complete", True)
    assert run.numeric.added == [(SIZE, bytes([1])), (SIZE, bytes([2]))]
    worker.bulk(p.Pull(1, True))
    lent = worker.hear(p.InMemory)[0]
    assert lent.version == 2
    assert brief(attach(lent.offer) or b"") == (SIZE, bytes([2]))


def test_numbers_are_given_once(runs: Callable[[int], Run]) -> None:
    run = runs(3)
    names = ["one", "two", "three", "four"]
    assert [run.worker(name).hello(index).worker for name, index in zip(names, (1, 1, -1, 0), strict=True)] == [
        1,
        2,
        3,
        0,
    ]


def test_who_says_hello_again_is_one_worker(runs: Callable[[int], Run]) -> None:
    run = runs(1)
    worker = run.worker("one")
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    worker.hear(e.Granted)
    assert worker.hello().worker == 0
    worker.control(p.Ready(0, None, 1))
    # All that was granted before is granted again, and nobody waits for the one it was before.
    for version in (1, 2):
        grant, _ = worker.hear(e.Granted)
        worker.receive(grant.min_version)
        worker.compute(grant)
        worker.push(version, grant, version)
    assert worker.hear(p.Finished)[0] == p.Finished(2, "complete", True)


def test_who_leaves_in_the_middle_of_a_push_may_come_back(runs: Callable[[int], Run]) -> None:
    run = runs(1)
    worker = run.worker("one")
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    old, _ = worker.hear(e.Granted)
    # All on one connection, so that it arrives in this order.
    worker.push(1, old, 1, slice(0, 1))
    worker.bulk(p.Leave("it hangs"))
    worker.bulk(p.Hello(p.PROTOCOL, "run", 0, [], "host", 1, "cpu"))
    worker.push(1, old, 1, slice(1, 3))
    worker.bulk(p.Ready(0, None, 1))
    worker.hear(p.Welcome)
    for version in (1, 2):
        grant, _ = worker.hear(e.Granted)
        worker.receive(grant.min_version)
        worker.compute(grant)
        worker.push(version + 1, grant, 10 + version)
    assert worker.hear(p.Finished)[0] == p.Finished(2, "complete", True)
    assert run.numeric.added == [(SIZE, bytes([11])), (SIZE, bytes([12]))]


def test_a_push_with_a_hole_is_asked_for_anew(runs: Callable[[int], Run]) -> None:
    run = runs(1)
    worker = run.worker("one")
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    broken, _ = worker.hear(e.Granted)
    worker.push(1, broken, 1, slice(0, 3, 2))  # its middle was lost with a connection
    worker.hear(p.Rejoin)
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    for version in (1, 2):
        grant, _ = worker.hear(e.Granted)
        worker.receive(grant.min_version)
        worker.compute(grant)
        worker.push(1 + version, grant, version)
    assert worker.hear(p.Finished)[0] == p.Finished(2, "complete", True)
    assert run.numeric.added == [(SIZE, bytes([1])), (SIZE, bytes([2]))]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([p.Ready(0, 10.0, 1), p.Ready(0, 10.0, 1)], "Ready was said before"),
        ([p.Ready(1, 10.0, 1)], "it holds version 1, of 0 that there are"),
        ([p.Ready(-1, 10.0, 1)], "it holds version -1, of 0 that there are"),
        *(
            ([ready], "its pace is no positive number, or a time no number of seconds")
            for ready in (
                p.Ready(0, 0.0, 1),
                p.Ready(0, -1.0, 1),
                p.Ready(0, math.inf, 1),
                p.Ready(0, math.nan, 1),
                p.Ready(0, None, 1, imports_s=math.nan),
                p.Ready(0, None, 1, probe_s=-1.0),
            )
        ),
    ],
)
def test_who_joins_wrongly_is_refused(runs: Callable[[int], Run], said: list[p.Ready], why: str) -> None:
    run = runs(2)
    worker = run.worker("one")
    worker.hello()
    for message in said:
        worker.control(message)
    assert worker.hear(p.Refusal)[0] == p.Refusal(f"protocol error: {why}")


def test_a_push_that_is_too_long_ends_the_worker_not_the_run(runs: Callable[[int], Run]) -> None:
    run = runs(2)
    good, bad = run.worker("good"), run.worker("bad")
    for index, worker in enumerate((good, bad)):
        worker.hello(index)
        worker.control(p.Ready(0, None, 1))
    broken, _ = bad.hear(e.Granted)
    bad.bulk(p.Push(1, (broken.ticket,), (0,), 2.0), bytes(SIZE + 1))
    refusal = p.Refusal(f"protocol error: push 1 is longer than its {SIZE} bytes")
    assert bad.hear(p.Refusal)[0] == refusal
    computed = 0
    while computed < 4:
        grant, indices = good.hear(e.Granted)
        computed += len(indices) // 8
        good.bulk(p.Pull(grant.min_version - 1))  # nobody computes on parameters that are not there yet
        good.whole(p.Version, SIZE)
        good.compute(grant)
        good.push(grant.ticket, grant, 2)
    assert good.hear(p.Finished)[0] == p.Finished(2, "complete", True)


def test_who_answered_while_the_server_was_stopped_is_not_late(
    runs: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evener.runtime.server.GRACE", PATIENCE / 1000)
    run = runs(1)
    worker = run.worker("one")
    worker.hello()
    worker.control(p.Ready(0, None, 1))
    grant, _ = worker.hear(e.Granted)
    worker.control(e.Started(0, grant.ticket, 0))
    ticket, heard = run.server.coordinator.state.ledger.tickets[grant.ticket], threading.Event()
    while ticket.started is None:  # or it would begin when the stop is over
        heard.clear()
        run.server.call(heard.set)
        assert heard.wait(PATIENCE / 1000)
    stopped, another_round = threading.Event(), threading.Event()

    def stop() -> None:  # for ten minutes; what was said meanwhile has yet to be read
        run.server._origin -= 600.0
        stopped.set()

    run.server.call(stop)
    assert stopped.wait(PATIENCE / 1000)
    run.server.call(another_round.set)
    assert another_round.wait(PATIENCE / 1000)
    worker.control(e.Computed(0, grant.ticket, 0.1))
    worker.push(1, grant, 7)
    worker.receive(1)
    assert run.numeric.added == [(SIZE, bytes([7]))]
