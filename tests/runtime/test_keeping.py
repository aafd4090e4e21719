"""Checkpoint files: whatever happens while one is written, a sound one is there."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from evener.core.standing import EpochStanding, Standing
from evener.core.state import Settings
from evener.runtime import keeping
from evener.runtime.keeping import CheckpointError, Head, Keeper, newest, read_body
from evener.runtime.place import Place
from evener.runtime.sealed import Files

PLACE = Place("server", "tcp://127.0.0.1:4000", "secret", "r1")


def head(number: int, **changes: Any) -> bytes:
    made = Head(
        evener=keeping.metadata.version("evener"),
        number=number,
        created="",
        place=PLACE,
        settings=Settings(batch=32, epochs=1),
        entries=[],
        positions=64,
        data="",
        standing=Standing(number, 0, (EpochStanding(0, 64, applied=((0, 32),)),)),
        ended=[],
        part=1,
        epoch=0,
        targets={},
    )
    return keeping.encode(msgspec.structs.replace(made, **changes))


def body(number: int) -> bytes:
    return bytes([number]) * 10_000


def write(keeper: Keeper, number: int) -> Path:
    return keeper.write(number, head(number), lambda out: out.write(body(number)))


class Killed(BaseException):
    """The process is no more: nothing that it meant to do afterwards is done."""


class Faulty(Files):
    """Does so many things, the last of them by half, and no more.

    Args:
        last: number of calls that are made.
        why: raises.
    """

    def __init__(self, last: int, why: Callable[[], BaseException]) -> None:
        self.calls = 0
        self.last = last
        self._why = why

    def _next(self) -> None:
        self.calls += 1
        if self.calls > self.last:
            raise self._why()


def _faulty(name: str) -> Any:
    real = getattr(Files, name)

    def call(self: Faulty, *arguments: Any) -> Any:
        if name == "write" and self.calls == self.last:
            real(self, arguments[0], arguments[1][: len(arguments[1]) // 2])
        self._next()
        return real(self, *arguments)

    return call


for _name in ("open", "write", "sync", "close", "rename", "sync_folder", "remove"):
    setattr(Faulty, _name, _faulty(_name))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    write(keeper, 1)
    path = write(keeper, 2)
    found = newest(tmp_path)
    assert (found.path, found.head.number, found.unsound) == (path, 2, ())
    assert found.head.place == PLACE
    assert found.head.standing.epochs[0].applied == ((0, 32),)
    assert read_body(path) == body(2)
    assert path.stat().st_mode & 0o077 == 0, "it holds the token"


def test_the_last_few_stay(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, keep=2)
    for number in range(1, 6):
        write(keeper, number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000004.evener", "checkpoint-000005.evener"]
    again = Keeper(tmp_path, keep=2)
    assert again.next_number() == 6
    write(again, 6)
    assert newest(tmp_path).head.number == 6


def test_killed_at_every_call_a_sound_one_is_there(tmp_path: Path) -> None:
    """Also where it may keep one alone: the one before is not let go until the new one is whole."""
    calls = 0
    while True:
        folder = tmp_path / str(calls)
        write(Keeper(folder, keep=1), 1)
        faulty = Faulty(calls, Killed)
        try:
            write(Keeper(folder, keep=1, files=faulty), 2)
        except Killed:
            found = newest(folder)
            assert found.head.number in (1, 2)
            assert read_body(found.path) == body(found.head.number)
            assert not found.unsound, "what has a checkpoint's name is whole"
            # And the next server goes on writing.
            write(Keeper(folder, keep=1), found.head.number + 1)
            assert newest(folder).head.number == found.head.number + 1
        else:
            break
        calls += 1
    assert calls >= 9


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_at_any_call_destroys_nothing(tmp_path: Path, number: int) -> None:
    for calls in range(9):
        folder = tmp_path / str(calls)
        write(Keeper(folder, keep=1), 1)
        faulty = Faulty(calls, lambda: OSError(number, "no"))
        keeper = Keeper(folder, keep=1, files=faulty)
        with pytest.raises(OSError, match="no"):
            write(keeper, 2)
        assert newest(folder).head.number in (1, 2)
        faulty.last = 10**9  # there is room again
        write(keeper, 3)
        assert newest(folder).head.number == 3


REALLY_KILLED = """
import os, signal, sys
from pathlib import Path
from evener.runtime.keeping import Keeper, newest, read_body
from evener.runtime.sealed import Files

folder, head, calls = Path(sys.argv[1]), bytes.fromhex(sys.argv[2]), 0
body = os.urandom(5 << 20)  # more than one write


class Killing(Files):
    def __init__(self, last):
        self.left = last

    def __getattribute__(self, name):
        call = super().__getattribute__(name)
        if name not in {"open", "write", "sync", "close", "rename", "sync_folder", "remove"}:
            return call
        def counted(*arguments):
            if self.left == 0:
                if name == "write":  # the disk has taken some of it
                    call(arguments[0], arguments[1][: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return call(*arguments)
        return counted


def write(number, files=None):
    Keeper(folder, keep=1, files=files).write(number, head, lambda out: out.write(body))


write(1)
number = 1
while True:
    number += 1
    child = os.fork()
    if not child:
        write(number, Killing(calls))
        os._exit(0)
    how = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = newest(folder)
    assert not found.unsound, found
    assert read_body(found.path) == body, found
    if how == 0:
        break
    assert how == -signal.SIGKILL, how
    calls += 1
print(calls, newest(folder).path.name, number)
"""


def test_a_process_that_is_really_killed_at_each_call_leaves_a_sound_one(tmp_path: Path) -> None:
    words = [sys.executable, "-c", REALLY_KILLED, str(tmp_path / "run"), head(1).hex()]
    told = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    calls, newest_name, number = told.stdout.split()
    assert int(calls) >= 10
    assert newest_name == f"checkpoint-{int(number):06}.evener", "the one that nobody killed"


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    write(keeper, 1)
    path = write(keeper, 2)
    whole = bytearray(path.read_bytes())
    for at in (*range(0, 200, 7), *range(200, len(whole), 997), len(whole) - 1):
        whole[at] ^= 1 << at % 8
        path.write_bytes(whole)
        found = newest(tmp_path)
        assert found.head.number == 1
        assert found.unsound[0].startswith("checkpoint-000002.evener: it")
        whole[at] ^= 1 << at % 8


def test_a_file_that_is_cut_short(tmp_path: Path) -> None:
    path = write(Keeper(tmp_path), 1)
    whole = path.read_bytes()
    for length in (0, 5, 40, 300, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="is sound: checkpoint-000001"):
            newest(tmp_path)


def test_damaged_ones_do_not_count_as_kept(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        path = write(Keeper(tmp_path, keep=9), number)
        if number > 1:
            path.write_bytes(path.read_bytes()[:-1])
    write(Keeper(tmp_path, keep=2), 4)
    (tmp_path / "checkpoint-000004.evener").unlink()
    assert newest(tmp_path).head.number == 1


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is no folder of a run"):
        newest(tmp_path / "none")
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        newest(tmp_path)


@pytest.mark.parametrize("changes", [{"evener": "0.0.1"}, {"schema": 99}])
def test_another_version(tmp_path: Path, changes: dict[str, Any]) -> None:
    Keeper(tmp_path).write(1, head(1, **changes), lambda out: None)
    with pytest.raises(CheckpointError, match="a run goes on with the version it began with"):
        newest(tmp_path)
