"""IDX files: read, checked, from a folder, a Debian package or a mirror.

What is pinned is the SHA-256 of the file's content, not of its gzip wrapping: that differs from source to
source (and the Debian package may be rebuilt), the content does not.
"""

from __future__ import annotations

import gzip
import logging
import math
import shutil
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evener.data._errors import DataError
from evener.data._files import new_file, sha256_of, work_folder
from evener.data._index import client, download, index_settings

_log = logging.getLogger(__name__)

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package puts its files; below the unpacking folder when it is not installed."""

MIRRORS = (
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
)
"""The authors' own and the frameworks'. Plain HTTP is no risk: what comes is checked by its SHA-256."""


@dataclass(frozen=True)
class IdxFile:
    """An IDX file of unsigned bytes.

    Attributes:
        name: its name, without ``.gz``.
        sha256: of its content, not zipped.
        shape: of its array.
    """

    name: str
    sha256: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of the content: a magic number, one length an axis, the array."""
        return 4 + 4 * len(self.shape) + math.prod(self.shape)

    def content(self, folder: Path) -> bytes:
        """The content, from ``name.gz`` or ``name`` in the folder.

        Raises:
            FileNotFoundError: the folder has neither.
            ValueError: it is damaged or another file.
        """
        path = folder / f"{self.name}.gz"
        # One byte more than there should be tells a longer file, without unpacking all of it.
        try:
            with gzip.open(path) if path.exists() else open(folder / self.name, "rb") as file:
                data = file.read(self.size + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        if (found := sha256_of(data)) != self.sha256:
            raise ValueError(
                f"{self.name} in {folder} is damaged or another file: the SHA-256 of its content is {found}, "
                f"expected {self.sha256}"
            )
        return data

    def wrong(self, path: Path) -> str | None:
        """What is wrong with the file, if anything is."""
        try:
            self.content(path.parent)
        except (OSError, ValueError) as error:
            return str(error)
        return None

    def array(self, content: bytes) -> NDArray[np.uint8]:
        """The array in a checked content."""
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(self.shape)).reshape(self.shape)


def read_all(files: Sequence[IdxFile], folder: Path, *, fetch: bool) -> list[NDArray[np.uint8]]:
    """Arrays of the files, from ``folder`` or else from the Debian package or a mirror.

    Args:
        files: the files wanted.
        folder: may hold them.
        fetch: whether the folder is the cache: then what is missing or damaged in it is fetched, and kept
            there.

    Raises:
        DataError: no source had the right files; the message says what to put where.
    """
    try:
        return [file.array(file.content(folder)) for file in files]
    except FileNotFoundError as error:
        failure: Exception = error
    except (OSError, ValueError) as error:
        failure = error
        _log.warning("%s", error)
    if not fetch:
        raise DataError(f"{failure}. {_what_to_do(files, folder)}") from failure
    tried = []
    for source in (_from_package, _from_mirrors):
        with work_folder(folder) as temporary:
            try:
                found = source(files, temporary)
                contents = [file.content(found) for file in files]
            except (OSError, ValueError) as error:
                tried.append(str(error))
                continue
            for file in files:
                with new_file(folder / f"{file.name}.gz") as raw:
                    raw.write((found / f"{file.name}.gz").read_bytes())
            return [file.array(content) for file, content in zip(files, contents, strict=True)]
    lines = "\n".join(f"  {line}" for line in tried)
    raise DataError(f"Could not fetch Fashion-MNIST:\n{lines}\n{_what_to_do(files, folder)}")


def _from_package(files: Sequence[IdxFile], temporary: Path) -> Path:
    """The folder of the Debian package's files, as installed, or downloaded and unpacked (needs no root)."""
    if all((INSTALLED / f"{file.name}.gz").exists() for file in files):
        return INSTALLED
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise OSError(f"Debian package {PACKAGE}: there is no apt-get here")
    _run(["apt-get", "download", PACKAGE], temporary, "; `apt-get update` brings the list of packages")
    (package,) = temporary.glob("*.deb")  # apt has checked its digest against the archive's signed list.
    _run(["dpkg-deb", "-x", str(package), "unpacked"], temporary, "")
    return temporary / "unpacked" / INSTALLED.relative_to("/")


def _run(command: Sequence[str], folder: Path, advice: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise OSError(f"`{' '.join(command)}` failed: {last}{advice}")


def _from_mirrors(files: Sequence[IdxFile], temporary: Path) -> Path:
    """The folder of files downloaded from the first mirror that has them all right."""
    failures = []
    with client(index_settings()) as http:
        for mirror in MIRRORS:
            for file in files:
                path = temporary / f"{file.name}.gz"
                if reason := download(http, mirror + path.name, path, file.size + 1024, file.wrong):
                    failures.append(f"{mirror}{path.name}: {reason}")
                    break
            else:
                return temporary
    raise OSError("\n  ".join(failures))


def _what_to_do(files: Sequence[IdxFile], folder: Path) -> str:
    names = ", ".join(f"{file.name} ({file.sha256})" for file in files)
    return (
        "Valid are these IDX files, gzipped (name.gz) or not; in brackets the SHA-256 of the content, not "
        f"zipped: {names}. Where there is apt, run `apt-get update` and try again. Without a network, "
        f"bring the files (Debian's {PACKAGE}, or the authors' repository zalandoresearch/fashion-mnist) "
        f"from another machine and put them into {folder}, or pass folder= naming the folder with them."
    )
