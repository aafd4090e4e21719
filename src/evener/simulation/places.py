"""On which line of a TOML file a key stands; Python's reader does not say."""

from __future__ import annotations

import re

Place = tuple[str | int, ...]
"""Keys and, in arrays of tables, places from 0: ``("hosts", 1, "pace")``."""

_HEADER = re.compile(r"\s*(\[\[?)\s*([\w.\"' -]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*("[^"]*"|'[^']*'|[\w-]+)\s*[=.]""")
_QUOTED = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*"|\'[^\']*\'|#.*')


def key_lines(text: str) -> dict[Place, int]:
    """The line (from 1) of each key and table header of TOML text. Keys of inline tables stand on their table's line.

    >>> key_lines("seed = 1\\n[[hosts]]\\npace = 2\\n[hosts.link]\\nup = 3")[("hosts", 0, "link", "up")]
    5
    """
    lines: dict[Place, int] = {}
    counts: dict[str, int] = {}
    table: Place = ()
    depth, text_end = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if text_end:  # within a string of several lines
            _, found, line = line.partition(text_end)
            if not found:
                continue
            text_end = ""
        elif depth == 0:
            if header := _HEADER.fullmatch(line):
                table = _table(header[1] == "[[", header[2], counts)
                lines.setdefault(table, number)
                continue
            if key := _KEY.match(line):
                lines.setdefault((*table, key[1].strip("\"'")), number)
        for quote in ('"""', "'''"):
            if line.count(quote) % 2:
                text_end = quote
        plain = _QUOTED.sub("", line)
        depth += sum(map(plain.count, "[{")) - sum(map(plain.count, "]}"))
    return lines


def _table(many: bool, name: str, counts: dict[str, int]) -> Place:
    """Where a header's keys belong; ``counts``: tables of each array so far."""
    words = [word.strip().strip("\"'") for word in name.split(".")]
    path: list[str | int] = []
    for at, word in enumerate(words):
        path.append(word)
        whole = ".".join(words[: at + 1])
        if many and at == len(words) - 1:
            counts[whole] = counts.get(whole, -1) + 1
        if whole in counts:
            path.append(counts[whole])
    return tuple(path)
