"""pip's settings, as pip prints them."""

from __future__ import annotations

import pytest

from evener.data import DataError
from evener.data._index import IndexSettings, client, index_settings, parse_pip_config

from .conftest import FolderIndex


def test_the_environment_goes_over_the_command_and_that_over_global() -> None:
    listing = "\n".join(
        [
            ":env:.cert='/environment.pem'",
            "download.timeout='7'",
            "global.cert='/global.pem'",
            "global.extra-index-url='https://one.example/simple\\nhttps://two.example/simple'",
            "global.index-url='https://index.example/simple'",
            "global.timeout='9'",
            "install.timeout='11'",
        ]
    )
    settings = index_settings(parse_pip_config(listing))
    assert settings == IndexSettings(
        index_urls=(
            "https://index.example/simple",
            "https://one.example/simple",
            "https://two.example/simple",
        ),
        certificates="/environment.pem",
        timeout=7.0,
    )


def test_a_default_index_is_there_unless_no_index_is_set() -> None:
    assert len(index_settings({}).index_urls) == 1
    assert len(index_settings({"extra-index-url": "file:///more"}).index_urls) == 2
    assert index_settings({"no-index": "true", "find-links": "/a /b"}) == IndexSettings((), ("/a", "/b"))


def test_this_interpreters_pip_is_asked(index: FolderIndex) -> None:
    assert index_settings().index_urls == (index.url,)


def test_certificates_that_are_not_there_are_told() -> None:
    with pytest.raises(DataError, match="cert or proxy cannot be used"):
        client(IndexSettings((), certificates="/no/such/file.pem"))
