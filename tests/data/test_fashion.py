"""Fashion-MNIST and its IDX files: sources, checks, the real data set's counts."""

from __future__ import annotations

import gzip
import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evener.data import FASHION_LABELS, DataError, _idx, fashion_mnist
from evener.data._idx import IdxFile, read_all

from .conftest import FolderIndex

ARRAYS = [np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.array([7, 9], np.uint8)]


def _content(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


FILES = [
    IdxFile(f"toy-{place}", hashlib.sha256(_content(array)).hexdigest(), array.shape)
    for place, array in enumerate(ARRAYS)
]


def _fill(folder: Path, wrap: Callable[[bytes], bytes] = gzip.compress, suffix: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in zip(FILES, ARRAYS, strict=True):
        (folder / f"{file.name}{suffix}").write_bytes(wrap(_content(array)))
    return folder


def _check(arrays: list[np.ndarray]) -> None:
    assert all(np.array_equal(found, array) for found, array in zip(arrays, ARRAYS, strict=True))


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.fixture
def nothing_to_fetch(monkeypatch: pytest.MonkeyPatch, empty: Path, index: FolderIndex) -> None:
    """No package, no apt, no mirror; the tests put one of them back."""
    monkeypatch.setattr(_idx, "INSTALLED", empty / "installed")
    monkeypatch.setattr(_idx.shutil, "which", lambda name: None)
    monkeypatch.setattr(_idx, "MIRRORS", ((empty / "mirror").as_uri() + "/",))


def test_a_given_folder_may_hold_the_files_zipped_or_not(tmp_path: Path) -> None:
    _check(read_all(FILES, _fill(tmp_path / "zipped"), fetch=False))
    _check(read_all(FILES, _fill(tmp_path / "plain", bytes, ""), fetch=False))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: gzip.compress(content[:-1]),
        lambda content: gzip.compress(content + b"more"),
        lambda content: gzip.compress(content)[:-9],
        lambda content: b"not gzip",
    ],
)
def test_a_damaged_file_in_a_given_folder_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(DataError, match=r"damaged[\s\S]*Valid are these IDX files"):
        read_all(FILES, _fill(tmp_path, damage), fetch=False)


def test_the_files_of_the_installed_package_are_used(
    empty: Path, tmp_path: Path, nothing_to_fetch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_idx, "INSTALLED", _fill(tmp_path / "installed"))
    _check(read_all(FILES, empty, fetch=True))
    assert sorted(path.name for path in empty.iterdir()) == ["toy-0.gz", "toy-1.gz"]


def test_a_mirror_is_used_where_there_is_no_package(
    empty: Path, tmp_path: Path, nothing_to_fetch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = _fill(tmp_path / "wrong", lambda content: gzip.compress(content + b"more"))
    right = _fill(tmp_path / "right")
    monkeypatch.setattr(_idx, "MIRRORS", (f"{wrong.as_uri()}/", f"{right.as_uri()}/"))
    _check(read_all(FILES, empty, fetch=True))


def test_a_damaged_file_in_the_cache_is_fetched_again(
    tmp_path: Path, nothing_to_fetch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_idx, "MIRRORS", (f"{_fill(tmp_path / 'mirror').as_uri()}/",))
    cache = _fill(tmp_path / "cache", lambda content: gzip.compress(content[:-1]))
    _check(read_all(FILES, cache, fetch=True))
    _check(read_all(FILES, cache, fetch=False))


def test_without_any_source_the_error_says_what_was_tried_and_what_to_bring(
    empty: Path, nothing_to_fetch: None
) -> None:
    with pytest.raises(DataError) as caught:
        read_all(FILES, empty, fetch=True)
    message = str(caught.value)
    for part in ("no apt-get", "mirror", "apt-get update", str(empty), FILES[0].name, FILES[0].sha256):
        assert part in message
    assert list(empty.iterdir()) == []


def test_a_failing_apt_is_told_with_its_own_words(
    empty: Path, nothing_to_fetch: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text("#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", str(apt.parent))
    monkeypatch.setattr(_idx.shutil, "which", lambda name: name)
    with pytest.raises(DataError, match=r"Unable to locate package; `apt-get update`"):
        read_all(FILES, empty, fetch=True)


def test_the_real_data_set() -> None:
    train, test = fashion_mnist()
    assert train.x.shape == (60_000, 1, 28, 28)
    assert test.x.shape == (10_000, 1, 28, 28)
    for part, each in ((train, 6000), (test, 1000)):
        assert (part.x.dtype, part.y.dtype) == (np.float32, np.int64)
        assert part.x.min() == 0
        assert part.x.max() == 1
        assert np.bincount(part.y).tolist() == [each] * 10
    assert len(FASHION_LABELS) == 10
    assert [FASHION_LABELS[label] for label in train.y[:2]] == ["ankle boot", "T-shirt/top"]
