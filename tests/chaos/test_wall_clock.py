"""A wall clock may jump by years: nothing that decides reads one. ``make chaos`` lets it jump in real runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import evener

SOURCES = Path(evener.__file__).parent

MAY = {
    "cli/profile.py": "the date in a cluster file",
    "launch/_places.py": "when the launcher began, for the record",
    "launch/folders.py": "the name of a run",
    "launch/hosts.py": "when the process began, for the record",
    "runtime/place.py": "how long imports took, for the record",
    "trace/writer.py": "the date in the record",
    "training/checkpoint.py": "the date in a checkpoint",
    "training/joining.py": "when the process began, for the record",
}

WALL = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "datetime.now", "datetime.utcnow", "date.today"}


def readings(source: str) -> Iterator[str]:
    """What in this source could read the wall clock."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            if f"{owner}.{node.attr}" in WALL:
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{alias.name}" for alias in node.names if f"time.{alias.name}" in WALL)


def test_what_may_read_the_wall_clock() -> None:
    found = {
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if list(readings(path.read_text(encoding="utf-8")))
    }
    assert found == MAY.keys()


def test_each_way_to_read_it_is_found() -> None:
    for source in ("import time\ntime.time()", "from time import time", "import datetime\ndatetime.datetime.now()"):
        assert list(readings(source)), source
    assert not list(readings("import time\ntime.monotonic()\nself.time.time_left"))
