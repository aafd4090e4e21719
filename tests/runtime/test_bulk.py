"""Bulk in chunks, at either end, without sockets."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evener.runtime import protocol as p
from evener.runtime.bulk.chunks import Assembly, cut
from evener.runtime.bulk.server import LostError, ServerBulk
from evener.runtime.bulk.worker import WorkerBulk

SIZE = 2 * p.CHUNK + 5
FIRST, MIDDLE, LAST = p.chunks(SIZE)


def filled(value: int, span: tuple[int, int] = (0, SIZE)) -> memoryview:
    return memoryview(bytes([value]) * (span[1] - span[0]))


def brief(data: bytes | bytearray | memoryview) -> tuple[int, set[int]]:
    """Length and values: megabytes that differ would take minutes to be shown."""
    return len(data), set(bytes(data))


# Chunks -----------------------------------------------------------------------------------------------------


NUMBERED = memoryview(bytes(range(251)) * (3 * p.CHUNK // 251 + 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 3 * p.CHUNK))
def test_what_was_cut_is_put_together(total: int) -> None:
    data = NUMBERED[:total]
    assembly = Assembly("it", bytearray(total))
    wholes = [assembly.add(head.offset, chunk) for head, chunk in cut(data, p.Constants)]  # type: ignore[union-attr]
    same = assembly.buffer == data
    assert same
    assert wholes == [False] * (len(wholes) - 1) + [True]


@pytest.mark.parametrize("offset", [0, p.CHUNK - 1, p.CHUNK + 1, 2 * p.CHUNK, -1])
def test_a_chunk_that_does_not_follow_is_refused(offset: int) -> None:
    assembly = Assembly("it", bytearray(SIZE))
    assembly.add(0, filled(1, FIRST))
    with pytest.raises(p.ProtocolError, match=f"part {offset} of it is out of order"):
        assembly.add(offset, filled(2, MIDDLE))
    assert not assembly.whole


def test_a_chunk_that_has_no_room_is_refused() -> None:
    assembly = Assembly("it", bytearray(10))
    with pytest.raises(p.ProtocolError, match="it is longer than its 10 bytes"):
        assembly.add(0, memoryview(bytes(11)))
    assert len(assembly.buffer) == 10


def test_a_chunk_is_copied_once() -> None:
    assembly = Assembly("it", bytearray(SIZE))
    chunk = filled(1, FIRST)
    tracemalloc.start()
    try:
        assembly.add(0, chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(chunk) // 10


# The server's end -------------------------------------------------------------------------------------------


class Wire:
    """Keeps what is sent to whom, and may be cut."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, p.Message, bytes]] = []
        self.cut_after: int | None = None
        self.said: list[tuple[bytes, p.Message]] = []
        self.deaf = False

    def send(self, name: bytes, message: p.Message, chunk: memoryview) -> bool:
        if self.cut_after is not None and len(self.sent) >= self.cut_after:
            return False
        self.sent.append((name, message, bytes(chunk)))
        return True

    def say(self, name: bytes, message: p.Message) -> bool:
        self.said.append((name, message))
        return not self.deaf

    def versions(self) -> list[tuple[bytes, int, int]]:
        """What went out since the last call: to whom, which version, from which byte."""
        found = [(name, m.version, m.offset) for name, m, _ in self.sent if isinstance(m, p.Version)]
        self.sent.clear()
        return found


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def bulk(wire: Wire) -> ServerBulk:
    made = ServerBulk(filled(0), filled(9, FIRST), SIZE, wire.send, wire.say)
    made.join(b"a")
    made.join(b"b")
    return made


def whole(name: bytes, version: int) -> list[tuple[bytes, int, int]]:
    return [(name, version, start) for start, _ in (FIRST, MIDDLE, LAST)]


def test_a_pull_is_answered_when_there_is_something_newer(bulk: ServerBulk, wire: Wire) -> None:
    bulk.pull(b"a", -1)
    assert wire.versions() == whole(b"a", 0)
    bulk.pull(b"a", 0)
    assert wire.versions() == []
    bulk.publish(1, filled(1))
    assert brief(b"".join(data for _, _, data in wire.sent)) == (SIZE, {1})
    assert wire.versions() == whole(b"a", 1)
    bulk.publish(2, filled(2))  # nobody has asked
    bulk.publish(3, filled(3))
    assert wire.versions() == []
    bulk.pull(b"b", 1)  # who asks late gets the newest alone
    assert wire.versions() == whole(b"b", 3)


@pytest.mark.parametrize("sent", [0, 1])
def test_an_answer_that_could_not_be_sent_is_still_owed(bulk: ServerBulk, wire: Wire, sent: int) -> None:
    bulk.pull(b"a", 0)
    wire.cut_after = sent
    bulk.publish(1, filled(1))
    assert wire.versions() == whole(b"a", 1)[:sent]
    wire.cut_after = None
    bulk.publish(2, filled(2))
    assert wire.versions() == whole(b"a", 2)


def test_who_is_gone_is_sent_nothing(bulk: ServerBulk, wire: Wire) -> None:
    bulk.pull(b"a", 0)
    bulk.pull(b"b", 0)
    bulk.forget(b"a")
    bulk.publish(1, filled(1))
    assert wire.versions() == whole(b"b", 1)
    bulk.join(b"a")  # nor when it is back, before it asks again
    bulk.publish(2, filled(2))
    assert wire.versions() == []


def test_pushes_of_several_workers_do_not_mix(bulk: ServerBulk) -> None:
    heads = {name: p.Push(0, (number,), (0,), 1.0) for number, name in enumerate((b"a", b"b"))}
    for name, head in heads.items():
        assert bulk.push(name, head, filled(ord(name), FIRST)) is None
    for name in heads:
        assert bulk.push(name, p.Part(0, MIDDLE[0]), filled(ord(name), MIDDLE)) is None
    for name, head in heads.items():
        found = bulk.push(name, p.Part(0, LAST[0]), filled(ord(name), LAST))
        assert found is not None
        assert (found[0], brief(found[1])) == (head, (SIZE, {ord(name)}))


def test_a_push_may_be_kept_while_the_next_one_comes(bulk: ServerBulk) -> None:
    kept = []
    for number in (1, 2):
        assert bulk.push(b"a", p.Push(number, (number,), (0,), 1.0), filled(number, FIRST)) is None
        assert bulk.push(b"a", p.Part(number, MIDDLE[0]), filled(number, MIDDLE)) is None
        kept.append(bulk.push(b"a", p.Part(number, LAST[0]), filled(number, LAST)))
    assert [one and brief(one[1]) for one in kept] == [(SIZE, {1}), (SIZE, {2})]


def test_pushes_go_round_in_few_buffers(bulk: ServerBulk) -> None:
    buffers = []
    for number in range(1, 20):
        assert bulk.push(b"a", p.Push(number, (number,), (0,), 1.0), filled(number, FIRST)) is None
        assert bulk.push(b"a", p.Part(number, MIDDLE[0]), filled(number, MIDDLE)) is None
        found = bulk.push(b"a", p.Part(number, LAST[0]), filled(number, LAST))
        assert found is not None
        assert brief(found[1]) == (SIZE, {number})
        buffers.append(found[1].obj)  # all are kept here, so that none has the identity of one that is no more
        bulk.give_back(found[1])
    assert len({id(buffer) for buffer in buffers}) == 1


def test_a_push_in_one_chunk_is_used_where_it_lies(wire: Wire) -> None:
    bulk = ServerBulk(filled(0), filled(0), 5, wire.send, wire.say)
    bulk.join(b"a")
    payload, head = memoryview(b"bytes"), p.Push(0, (1,), (0,), 1.0)
    found = bulk.push(b"a", head, payload)
    assert found is not None
    assert found[1] is payload


def test_parts_that_fit_nowhere_are_refused(bulk: ServerBulk) -> None:
    bulk.push(b"a", p.Push(0, (1,), (0,), 1.0), filled(1, FIRST))
    for wrong in (p.Part(1, MIDDLE[0]), p.Part(0, LAST[0]), p.Part(0, 0)):
        with pytest.raises(LostError, match=rf"part {wrong.offset} of push {wrong.push} was lost"):
            bulk.push(b"a", wrong, filled(1, MIDDLE))
    with pytest.raises(p.ProtocolError, match="push 0 is longer"):
        bulk.push(b"a", p.Part(0, MIDDLE[0]), filled(1))
    with pytest.raises(p.ProtocolError, match="push 1 is longer"):
        bulk.push(b"a", p.Push(1, (1,), (0,), 1.0), memoryview(bytes(SIZE + 1)))


def test_the_rest_of_a_push_that_an_earlier_membership_began_is_dropped(bulk: ServerBulk) -> None:
    bulk.push(b"a", p.Push(7, (1,), (0,), 1.0), filled(1, FIRST))
    bulk.forget(b"a")
    bulk.join(b"a")
    assert bulk.push(b"a", p.Part(7, MIDDLE[0]), filled(1, MIDDLE)) is None
    assert bulk.push(b"a", p.Part(7, LAST[0]), filled(1, LAST)) is None
    # The next one is heard, and from then on the order counts again.
    head = p.Push(8, (2,), (0,), 1.0)
    assert bulk.push(b"a", head, filled(2, FIRST)) is None
    assert bulk.push(b"a", p.Part(8, MIDDLE[0]), filled(2, MIDDLE)) is None
    found = bulk.push(b"a", p.Part(8, LAST[0]), filled(2, LAST))
    assert found is not None
    assert (found[0], brief(found[1])) == (head, (SIZE, {2}))
    with pytest.raises(LostError, match="part 0 of push 9 was lost"):
        bulk.push(b"a", p.Part(9, 0), filled(2, FIRST))


# A worker's end ---------------------------------------------------------------------------------------------


class Line:
    """Keeps what a worker says on its bulk connection."""

    def __init__(self) -> None:
        self.asked: list[p.Message] = []
        self.sent: list[tuple[p.Message, bytes]] = []
        self.said: list[p.Message] = []

    def say(self, message: p.Message) -> None:
        self.said.append(message)

    def ask(self, message: p.Message) -> None:
        self.asked.append(message)

    def send(self, chunks: Iterable[tuple[p.Message, memoryview]], copied: Callable[[], None]) -> None:
        self.sent += [(message, bytes(chunk)) for message, chunk in chunks]
        copied()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def end(line: Line) -> WorkerBulk:
    made = WorkerBulk(SIZE)
    made.line = line  # type: ignore[assignment]
    return made


def taken(end: WorkerBulk) -> tuple[int, tuple[int, set[int]]]:
    version, data = end.take()
    return version, brief(data)


def arrive(end: WorkerBulk, version: int, *spans: tuple[int, int]) -> list[bool]:
    return [end.hear(p.Version(version, span[0]), filled(version, span)) for span in spans or (FIRST, MIDDLE, LAST)]


def test_the_newest_whole_version_is_at_hand(end: WorkerBulk) -> None:
    assert arrive(end, 1) == [False, False, True]
    assert arrive(end, 2, FIRST, MIDDLE) == [False, False]
    assert [end.coming(version) for version in (1, 2, 3)] == [True, True, False]
    assert end.at_hand is not None
    assert (end.at_hand[0], brief(end.at_hand[1])) == (1, (SIZE, {1}))
    assert arrive(end, 2, LAST) == [True]
    assert taken(end) == (2, (SIZE, {2}))
    assert end.at_hand is None
    assert not end.coming(2)


def test_bytes_that_were_taken_stay_as_they_are_until_they_are_given_back(end: WorkerBulk) -> None:
    arrive(end, 1)
    _, kept = end.take()
    arrive(end, 2)
    arrive(end, 3)
    assert brief(kept) == (SIZE, {1})
    end.give_back(kept)
    arrive(end, 4)
    assert taken(end) == (4, (SIZE, {4}))


def test_versions_go_round_in_few_buffers(end: WorkerBulk) -> None:
    buffers = []
    for version in range(1, 40, 2):
        arrive(end, version)  # replaced before anybody takes it
        arrive(end, version + 1, FIRST)  # cut short by the next one
        arrive(end, version + 1)
        buffers.append(end.take()[1])  # all are kept here, so that none has the identity of one that is no more
        end.give_back(buffers[-1])
    assert len({id(buffer) for buffer in buffers}) <= 3


def test_a_version_with_a_hole_is_asked_for_again(end: WorkerBulk, line: Line) -> None:
    end.pull(4)
    assert arrive(end, 5, FIRST, LAST) == [False, False]
    assert arrive(end, 6, MIDDLE, LAST) == [False, False]
    assert end.at_hand is None
    assert line.asked == [p.Pull(4), p.Pull(4)]
    assert arrive(end, 6) == [False, False, True]
    assert taken(end) == (6, (SIZE, {6}))


def test_untrained_state_is_put_together(end: WorkerBulk, line: Line) -> None:
    assert end.constants.whole
    end.fetch(SIZE)
    assert line.asked == [p.Fetch()]
    found = [end.hear(p.Constants(start), filled(3, (start, stop))) for start, stop in p.chunks(SIZE)]
    assert found == [False, False, True]
    assert brief(end.constants.buffer) == (SIZE, {3})


def test_contributions_are_numbered_and_cut(end: WorkerBulk, line: Line) -> None:
    done = []
    for number in (0, 1):
        line.sent.clear()
        end.push((number,), (4,), 2.0, b"", {}, filled(number), lambda: done.append(True))
        heads = [p.Push(number, (number,), (4,), 2.0), p.Part(number, MIDDLE[0]), p.Part(number, LAST[0])]
        assert [message for message, _ in line.sent] == heads
        assert brief(b"".join(data for _, data in line.sent)) == (SIZE, {number})
    assert done == [True, True]
