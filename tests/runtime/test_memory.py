"""Segments: who may map them, when they are free again, and what is left of them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from evener.runtime import protocol as p
from evener.runtime.bulk import memory
from evener.runtime.bulk.memory import Attachments, Pool, Segment, attach, fill, probe

pytestmark = pytest.mark.skipif(probe() is None, reason="no anonymous shared memory here")

CHILD = """
import sys
import msgspec
from evener.runtime import protocol as p
from evener.runtime.bulk.memory import Pool, attach

"""
"""How a script of these tests begins that is another process."""


def child(body: str, argument: object = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", CHILD + body, msgspec.json.encode(argument).decode()]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def segments(pid: int) -> int:
    """How many segments the process maps."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return sum("/memfd:evener" in line for line in lines)


def altered(offer: p.Offer, **changes: object) -> p.Offer:
    return msgspec.structs.replace(offer, **changes)


def test_another_process_reads_what_is_written_here() -> None:
    pool = Pool(10_000)
    room = pool.take()
    assert room is not None
    fill(room, memoryview(bytes(range(250)) * 40))
    body = """
offer = msgspec.json.decode(sys.argv[1], type=p.Offer)
body = attach(offer)
assert body.readonly
sys.stdout.buffer.write(body)
"""
    found, _ = child(body, pool.offer(room)).communicate(timeout=60)
    assert found == bytes(range(250)) * 40


def test_bytes_outlive_their_writer() -> None:
    body = """
pool = Pool(5)
room = pool.take()
room[:] = b"bytes"
print(msgspec.json.encode(pool.offer(room)).decode(), flush=True)
sys.stdin.read()
"""
    writer = child(body)
    assert writer.stdout is not None
    before = segments(os.getpid())
    offer = msgspec.json.decode(writer.stdout.readline(), type=p.Offer)
    attached = Attachments()
    found = attached.get(offer)
    assert found is not None
    writer.kill()
    writer.communicate()
    assert bytes(found) == b"bytes"
    assert attach(offer) is None
    assert segments(os.getpid()) == before + 1
    del found, attached
    assert segments(os.getpid()) == before  # and with the last reader it is gone


def test_what_is_not_as_offered_is_not_attached() -> None:
    offer = Segment(100).offer
    assert attach(offer) is None  # it is no more
    kept = Segment(100)
    offer = kept.offer
    assert attach(offer) is not None
    for wrong in (
        altered(offer, key=bytes(16)),
        altered(offer, key=b""),
        altered(offer, key=offer.key[:8]),
        altered(offer, pid=1),
        altered(offer, pid=2**40),
        altered(offer, pid=-1),
        altered(offer, fd=-1),
        altered(offer, fd=2**62),
        altered(offer, size=99),
        altered(offer, size=101),
        altered(offer, size=-64),
        altered(offer, size=2**62),
    ):
        assert attach(wrong) is None, wrong
    assert attach(None) is None


def test_other_things_than_segments_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(bytes(64))
    pipe, file = os.open(tmp_path / "pipe", os.O_RDWR), os.open(tmp_path / "file", os.O_RDWR)
    strange = os.memfd_create("strange", os.MFD_ALLOW_SEALING)
    os.ftruncate(strange, 64)
    fcntl.fcntl(strange, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    for fd in (pipe, file, strange):
        assert attach(p.Offer(os.getpid(), fd, bytes(16), 0)) is None
        os.close(fd)


def test_a_segment_that_could_be_cut_short_is_not_attached() -> None:
    fd = os.memfd_create(memory.NAME, os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 64 + 100)
    offer = p.Offer(os.getpid(), fd, bytes(16), 100)
    assert attach(offer) is None
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    assert attach(offer) is None
    os.close(fd)
    sealed = Segment(100)
    for size in (0, 100, 1000):
        with pytest.raises(PermissionError):
            os.ftruncate(sealed.offer.fd, size)


@pytest.mark.parametrize("lacking", ["memfd", "memory", "descriptors"])
def test_where_there_is_no_such_memory_there_is_none_to_take(monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    def fails(*args: object, **kwargs: object) -> int:
        raise OSError("there is none")

    if lacking == "memfd":
        monkeypatch.setattr(memory, "_SUPPORTED", False)
    else:
        monkeypatch.setattr(os, "posix_fallocate" if lacking == "memory" else "memfd_create", fails)
    before = len(os.listdir("/proc/self/fd"))
    assert probe() is None
    assert Pool(10).take() is None
    assert len(os.listdir("/proc/self/fd")) == before


# The pool ---------------------------------------------------------------------------------------------------


def key(pool: Pool, buffer: memoryview) -> bytes:
    offer = pool.offer(buffer)
    assert offer is not None
    return offer.key


def test_a_buffer_is_free_when_nothing_refers_to_it() -> None:
    pool = Pool(100, most=2)
    first, second = pool.take(), pool.take()
    assert first is not None
    assert second is not None
    assert pool.take() is None
    one, two = key(pool, first), key(pool, second)
    assert one != two
    part = first.toreadonly()[10:20]
    assert key(pool, part) == one
    del first
    assert pool.take() is None
    del part
    again = pool.take()
    assert again is not None
    assert key(pool, again) == one
    assert key(pool, second) == two
    assert pool.offer(memoryview(bytearray(100))) is None


def test_it_is_free_whichever_thread_drops_it() -> None:
    pool = Pool(100, most=1)
    held = [pool.take()]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert pool.take() is not None


def test_what_is_retired_is_replaced() -> None:
    pool = Pool(100, most=1)
    before = segments(os.getpid())
    seen = set()
    for _ in range(20):
        buffer = pool.take()
        assert buffer is not None
        seen.add(key(pool, buffer))
        pool.retire(buffer)
        pool.retire(buffer)
        del buffer
    assert len(seen) == 20
    assert segments(os.getpid()) == before
    kept = [pool.take(), pool.take()]
    assert [one is None for one in kept] == [False, True]


def test_a_reader_keeps_few_mappings() -> None:
    writer = [Segment(8) for _ in range(10)]
    before, reader = segments(os.getpid()), Attachments(most=3)
    for segment in [*writer, *writer]:
        assert reader.get(segment.offer) is not None
        assert len(reader) <= 3
        assert segments(os.getpid()) <= before + 3
    assert reader.get(altered(writer[-1].offer, size=7)) is None
    assert reader.get(writer[0].offer) is not None
