"""Every example in a docstring gives what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import evener

MODULES = [
    info.name
    for info in pkgutil.walk_packages(evener.__path__, "evener.")
    if not info.name.startswith("evener._examples") and not info.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENER_PLACE", raising=False)
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert not failed


def test_there_are_some() -> None:
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {name for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples}
    assert {"evener.training.session", "evener.core.coordinator", "evener.simulation.drive"} <= found
