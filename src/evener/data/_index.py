"""The package index that pip is configured for: find a project's sdists there and download, never build.

``pip download`` would run an sdist's own code to learn its metadata, so only pip's settings are used, not
pip.
"""

from __future__ import annotations

import ast
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from unearth import Link, PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.fetchers import Fetcher, PyPIClient

from evener.data._errors import DataError

Check = Callable[[Path], str | None]
"""Says what is wrong with a file, if anything is."""

_ATTEMPTS = 2  # A damaged transfer is tried once more; the same damage twice is not the line's fault.


@dataclass(frozen=True)
class IndexSettings:
    """Where packages come from, in pip's words.

    Attributes:
        index_urls: ``index-url`` and ``extra-index-url``; pip's default where none is set, none under
            ``no-index``.
        find_links: ``find-links``, URLs or local paths.
        trusted_hosts: ``trusted-host``, whose certificates are not checked.
        certificates: ``cert``, a file of certificate authorities.
        proxy: ``proxy``.
        timeout: ``timeout``, seconds.
    """

    index_urls: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    certificates: str | None = None
    proxy: str | None = None
    timeout: float = 15.0


def index_settings(settings: Mapping[str, str] | None = None) -> IndexSettings:
    """Settings of this interpreter's pip: its files, and over them the ``PIP_…`` environment variables.

    Args:
        settings: option names and values, instead of asking pip.
    """
    options = _ask_pip() if settings is None else dict(settings)
    # Without sources of its own the finder knows the default that pip has too.
    default = [source["url"] for source in PackageFinder().sources]
    indexes = options["index-url"].split() if "index-url" in options else default
    indexes += options.get("extra-index-url", "").split()
    if options.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        indexes = []
    return IndexSettings(
        index_urls=tuple(indexes),
        find_links=tuple(os.path.expanduser(link) for link in options.get("find-links", "").split()),
        trusted_hosts=tuple(options.get("trusted-host", "").split()),
        certificates=options.get("cert"),
        proxy=options.get("proxy"),
        timeout=float(options.get("timeout", options.get("default-timeout", 15.0))),
    )


def _ask_pip() -> dict[str, str]:
    """``pip config list``, or the ``PIP_…`` environment variables alone where there is no pip."""
    commands = [[sys.executable, "-m", "pip"]] + ([[pip]] if (pip := shutil.which("pip")) else [])
    for command in commands:
        done = subprocess.run([*command, "config", "list"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return parse_pip_config(done.stdout)
    variables = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and value}
    return {name[4:].lower().replace("_", "-"): value for name, value in variables.items()}


def parse_pip_config(listing: str) -> dict[str, str]:
    """Options out of ``pip config list``: lines ``section.option='value'``.

    As in pip, a section named after the command (here ``download``) goes over ``global``, the environment
    over both.
    """
    by_section: dict[str, dict[str, str]] = {}
    for line in listing.splitlines():
        key, equals, value = line.partition("=")
        section, dot, option = key.rpartition(".")
        if equals and dot and value[:1] in "'\"":
            by_section.setdefault(section, {})[option] = str(ast.literal_eval(value))
    return {
        option: value
        for section in ("global", "download", ":env:")
        for option, value in by_section.get(section, {}).items()
    }


def client(settings: IndexSettings) -> PyPIClient:
    """An HTTP client (``file:`` URLs too) with pip's certificates, proxy and trusted hosts."""
    try:
        http = PyPIClient(
            trusted_hosts=settings.trusted_hosts,
            verify=ssl.create_default_context(cafile=settings.certificates) if settings.certificates else True,
            timeout=settings.timeout,
            follow_redirects=True,
            proxy=settings.proxy,
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"pip's setting cert or proxy cannot be used: {error}. Valid are a file of certificates (PEM) "
            "and the URL of a proxy; `pip config list` shows both, `pip config set` changes them."
        ) from error
    # Training scripts run unattended: never ask for a password.
    http.auth = MultiDomainBasicAuth(prompting=False, index_urls=settings.index_urls)
    return http


def find_sdists(
    http: PyPIClient, settings: IndexSettings, project: str, version: str
) -> Generator[Link | str, None, None]:
    """Links to the sdists of one version, or a sentence why a source has none; source by source."""
    sources = [("links", link) for link in settings.find_links]
    sources += [("index", url) for url in settings.index_urls]
    for kind, url in sources:
        finder = PackageFinder(
            cast("Fetcher", http),  # Its own annotations disagree about optional arguments.
            index_urls=[url] if kind == "index" else [],
            find_links=[url] if kind == "links" else [],
            trusted_hosts=settings.trusted_hosts,
            no_binary=[project],
            ignore_compatibility=True,  # It is never installed: any Python will do.
        )
        place = Link(url).redacted if "://" in url else url
        try:
            matches = list(finder.find_matches(f"{project}=={version}", allow_yanked=True))
        except Exception as error:  # The HTTP library, and so its exceptions, are the finder's choice.
            yield f"{place}: {_reason(error)}"
            continue
        if not matches:
            yield f"{place}: no sdist of {project}=={version}"
        yield from (match.link for match in matches)


def download(http: PyPIClient, url: str, path: Path, limit: int, wrong: Check) -> str | None:
    """Download to ``path``, in a folder of the caller's own; return the reason why not, if so.

    Args:
        http: the client.
        url: what to download.
        path: where to; nothing is left there unless the file is right.
        limit: bytes; a longer answer is cut off and refused.
        wrong: says what is wrong with the file, if anything is.
    """
    reason: str | None = None
    for _ in range(_ATTEMPTS):
        try:
            _stream(http, url, path, limit)
            reason = wrong(path)
        except Exception as error:  # As above.
            reason = _reason(error)
        if reason is None:
            return None
        path.unlink(missing_ok=True)
    return reason


def _stream(http: PyPIClient, url: str, path: Path, limit: int) -> None:
    # A gzip file is wanted as it is, not unpacked on the way.
    as_it_is = {"Accept-Encoding": "identity"}
    with http.stream("GET", url, headers=as_it_is) as response, open(path, "wb") as file:
        if not response.is_success:
            raise OSError(f"HTTP status {response.status_code}")
        for chunk in response.iter_raw(1 << 20):
            if file.tell() + len(chunk) > limit:
                raise OSError(f"longer than {limit} bytes")
            file.write(chunk)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
