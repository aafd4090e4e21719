"""Who is allowed: read from a disk that may hang, or fail, while training goes on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evener.runtime import allowed, keys
from evener.runtime.allowed import Allowed

from .test_hostile import begin, finish, key, run  # noqa: F401  fixtures
from .test_server import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of keys for a server, and for ``one`` and ``two``."""
    made = tmp_path / "keys"
    keys.make(made, ["one", "two"])
    return made


@pytest.fixture
def looking(folder: Path) -> Iterator[Callable[..., Allowed]]:
    made: list[Allowed] = []

    def make(clock: Callable[[], float] = lambda: 0.0) -> Allowed:
        made.append(Allowed(keys.ServerKeys(folder), clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


Mend = Callable[[], None]


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Mend]]:
    """Make a folder of keys one whose reading does not come back: opening a pipe waits for who writes to it."""
    pipes: list[Path] = []

    def mend() -> None:
        while pipes:
            fd = os.open(pipes[-1], os.O_RDWR)
            pipes.pop().unlink()
            os.close(fd)

    def make(folder: Path) -> Mend:
        pipes.append(folder / "allowed" / "hung.pub")
        os.mkfifo(pipes[-1])
        monkeypatch.setattr(allowed, "PATIENCE", 0.2)
        return mend

    yield make
    mend()


def test_a_disk_that_hangs_stops_neither_training_nor_who_comes(
    run: Run,  # noqa: F811
    hang: Callable[[Path], Mend],
) -> None:
    worker, grant = begin(run)
    hang(run.writer.path.parent / "keys")
    run.worker("two", key(run, "two")).hello(1)  # so a look was tried
    finish(run, worker, grant)


def test_what_hangs_is_said_and_that_it_is_over(
    looking: Callable[..., Allowed], hang: Callable[[Path], Mend], folder: Path
) -> None:
    now = 0.0
    look = looking(lambda: now)
    assert look.trouble() == ""
    mend = hang(folder)
    (folder / "allowed" / "two.pub").unlink()
    assert sorted(look.look().values()) == ["one", "two"]  # as far as is known
    assert look.trouble() == ""  # it may be slow
    now += allowed.HANGS
    assert "hangs. Who was allowed still is" in look.trouble()
    assert look.trouble() == ""
    now += allowed.QUIET
    assert "hangs" in look.trouble()
    mend()
    while look.look() != keys.ServerKeys(folder).allowed():
        pass
    assert list(look.known.values()) == ["one"]
    assert look.trouble() == ""  # it may come and go
    now += allowed.SETTLED
    assert "is read again" in look.trouble()
    assert look.trouble() == ""


def fail(monkeypatch: pytest.MonkeyPatch, what: str, why: int) -> None:
    def failing(*_: object) -> None:
        raise OSError(why, os.strerror(why))

    monkeypatch.setattr(*{"folder": (os, "scandir"), "file": (keys, "_read")}[what], failing)


@pytest.mark.parametrize("what", ["folder", "file"])
@pytest.mark.parametrize("why", [errno.EMFILE, errno.EIO])
def test_a_disk_that_fails_takes_no_key_back(
    looking: Callable[..., Allowed], monkeypatch: pytest.MonkeyPatch, what: str, why: int
) -> None:
    now = 0.0
    look = looking(lambda: now)
    fail(monkeypatch, what, why)
    assert sorted(look.look().values()) == ["one", "two"]
    assert f"cannot be read: {os.strerror(why)}. Who was allowed" in look.trouble()
    monkeypatch.undo()
    assert sorted(look.look().values()) == ["one", "two"]
    assert look.trouble() == ""
    now += allowed.SETTLED
    assert "is read again" in look.trouble()


@pytest.mark.parametrize("what", ["folder", "file"])
@pytest.mark.parametrize("why", [errno.ENOENT, errno.EACCES])
def test_what_is_not_there_to_be_read_allows_nobody(
    looking: Callable[..., Allowed], monkeypatch: pytest.MonkeyPatch, what: str, why: int
) -> None:
    look = looking()
    fail(monkeypatch, what, why)
    assert look.look() == {}
    assert look.trouble() == ""


def test_who_is_let_in_or_taken_back_is_known_at_once(looking: Callable[..., Allowed], folder: Path) -> None:
    look = looking()
    keys.make(folder, ["three"])
    (folder / "allowed" / "one.pub").unlink()
    assert sorted(look.look().values()) == ["three", "two"]
