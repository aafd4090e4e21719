"""Files appear whole or not at all; prepared arrays are kept, and made anew when they are damaged."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest

from evener.data import DataError
from evener.data._files import Arrays, cache_folder, kept_arrays, new_file

SHAPES = {"a": (2, 3), "b": (4,)}


def make() -> Arrays:
    return {"a": np.arange(6.0).reshape(2, 3), "b": np.arange(4)}


def never() -> Arrays:
    raise AssertionError("made again")


def test_a_new_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with new_file(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with contextlib.suppress(KeyboardInterrupt), new_file(path) as file:
        file.write(b"hal")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DataError, match="EVENER_CACHE"), new_file(tmp_path / "file" / "below"):
        pass
    monkeypatch.setenv("EVENER_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="EVENER_CACHE"):
        cache_folder("toy")


def test_arrays_are_made_once(tmp_path: Path) -> None:
    first = kept_arrays(tmp_path, "toy-1.npz", SHAPES, make)
    again = kept_arrays(tmp_path, "toy-1.npz", SHAPES, never)
    assert all(np.array_equal(first[key], again[key]) for key in SHAPES)


def test_damaged_arrays_are_made_anew_whichever_byte_is_damaged(tmp_path: Path) -> None:
    kept_arrays(tmp_path, "toy-1.npz", SHAPES, make)
    path = tmp_path / "toy-1.npz"
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        arrays = kept_arrays(tmp_path, "toy-1.npz", SHAPES, make)
        assert all(np.array_equal(arrays[key], value) for key, value in make().items()), place
    path.write_bytes(whole[: len(whole) // 2])
    assert kept_arrays(tmp_path, "toy-1.npz", SHAPES, make).keys() == SHAPES.keys()


def test_kept_arrays_of_other_shapes_are_made_anew_and_made_ones_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "toy-1.npz", a=np.zeros(1), b=np.zeros(4))
    assert kept_arrays(tmp_path, "toy-1.npz", SHAPES, make)["a"].shape == (2, 3)
    with pytest.raises(DataError, match="reading it went wrong"):
        kept_arrays(tmp_path, "toy-2.npz", SHAPES, lambda: {"a": np.zeros(1), "b": np.zeros(4)})
    assert not (tmp_path / "toy-2.npz").exists()


def _make_and_note(folder: Path) -> Arrays:
    (folder / f"made-by-{os.getpid()}").touch()
    return make()


def _use(folder: Path, barrier: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    arrays = kept_arrays(folder, "toy-1.npz", SHAPES, lambda: _make_and_note(folder))
    assert np.array_equal(arrays["b"], np.arange(4))


@pytest.mark.skipif(os.name != "posix", reason="elsewhere processes may do the same work twice")
def test_of_processes_that_start_together_one_makes_the_arrays(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else None)
    barrier = context.Barrier(4)
    processes = [context.Process(target=_use, args=(tmp_path, barrier)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(tmp_path.glob("made-by-*"))) == 1
