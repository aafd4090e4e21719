"""A cluster as a file, as :func:`~evener.simulation.files.parse_cluster` reads it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .cluster import Cluster, as_data

UNITS = {"up": "bit/s", "down": "bit/s", "parameters": "B"}
"""Values that have to be written with their unit."""


def to_toml(cluster: Cluster, comments: Sequence[str] = ()) -> str:
    """The file of a cluster, which is read back as an equal one. Values that are the default are left out.

    Args:
        cluster: what to write.
        comments: lines to write above it.

    >>> from evener.simulation.cluster import Host
    >>> from evener.simulation.files import parse_cluster
    >>> from evener.simulation.links import Link
    >>> slow = Host(pace=100.0, link=Link(up=2e7, delay=0.01))
    >>> cluster = Cluster((Host(pace=400.0), slow, slow), parameters=800_000)
    >>> text = to_toml(cluster, ["for an example"])
    >>> print(text, end="")
    # for an example
    <BLANKLINE>
    parameters = "800000 B"
    <BLANKLINE>
    [[hosts]]
    pace = 400.0
    <BLANKLINE>
    [[hosts]]
    count = 2
    pace = 100.0
    link = { up = "20000000.0 bit/s", delay = 0.01 }
    >>> parse_cluster(text) == cluster
    True
    """
    data = as_data(cluster)
    hosts = data.pop("hosts")
    if cluster.faults:
        data["faults"] = [str(fault) for fault in cluster.faults]
    blocks = [[f"# {comment}".rstrip() for comment in comments], list(_lines(data))]
    for host, same in itertools.groupby(hosts):
        count = len(list(same))
        blocks.append(["[[hosts]]", *([f"count = {count}"] if count > 1 else []), *_lines(host)])
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _lines(table: Mapping[str, Any]) -> Iterator[str]:
    return (f"{name} = {_value(name, held)}" for name, held in table.items())


def _value(name: str, held: Any) -> str:
    if isinstance(held, dict):
        return f"{{ {', '.join(_lines(held))} }}"
    if isinstance(held, list):
        return f"[{', '.join(_value('', one) for one in held)}]"
    if isinstance(held, bool):
        return str(held).lower()
    return f'"{held!r} {UNITS[name]}"' if name in UNITS else repr(held)
