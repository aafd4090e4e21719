"""Clusters from files and from a list of paces. ``docs/how-to/simulate-a-cluster.md`` has every key."""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import units
from .cluster import Cluster, Host, rotating
from .faults import Fault, renumbered, script
from .links import Link
from .pauses import Pareto
from .places import Place, key_lines
from .sentences import parse_fault

MOST_HOSTS = 100_000
"""Hosts of one cluster: with more, a simulation would run for days."""

Read = Callable[[Any], Any]
"""Makes of a key's value what it means; raises ValueError if that is nothing."""


class ClusterError(ValueError):
    """A description is no cluster; the message says where, what is valid, and what to do."""


class _WrongError(ValueError):
    """What is wrong, and at which key."""

    def __init__(self, place: Place, what: object) -> None:
        super().__init__(str(what))
        self.place = place


def read_cluster(path: str | os.PathLike[str]) -> Cluster:
    """The cluster that a TOML file describes; see :func:`parse_cluster`.

    Raises:
        ClusterError: there is no such file, or it describes no cluster.
    """
    text = _text(Path(path), "the cluster file")
    try:
        return parse_cluster(text, Path(path).parent)
    except ClusterError as error:
        raise ClusterError(f"{path}: {error}") from None


def read_clusters(paths: Sequence[str | os.PathLike[str]]) -> Cluster:
    """One cluster of the hosts of all these files; everything else is as the first says.

    Raises:
        ClusterError: there are no files, or one cannot be read or describes no cluster.
    """
    clusters = [read_cluster(path) for path in paths]
    if not clusters:
        raise ClusterError("no cluster file was given")
    hosts: tuple[Host, ...] = ()
    faults: tuple[Fault, ...] = ()
    for cluster in clusters:
        numbers = {number: len(hosts) + number for number in range(len(cluster.hosts))}
        hosts, faults = hosts + cluster.hosts, faults + renumbered(cluster.faults, numbers)
    try:
        return dataclasses.replace(clusters[0], hosts=hosts, faults=faults)
    except ValueError as error:
        raise ClusterError(f"{paths[0]} with the hosts of the others: {error}") from None


def parse_cluster(text: str, folder: Path | None = None) -> Cluster:
    """A cluster from TOML: the values of :class:`Cluster`, and a table ``[[hosts]]`` of :class:`Host`'s for each kind.

    A host's ``count`` says how many there are of the kind. ``rotate`` (s) lets the paces move round among all hosts:
    see :func:`~evener.simulation.cluster.rotating`. Tables ``[[faults]]`` are :class:`~evener.simulation.faults.Fault`.

    Args:
        text: of the file.
        folder: that files named in it are relative to; the current one by default.

    Raises:
        ClusterError: it describes no cluster.

    >>> cluster = parse_cluster('''
    ... parameters = "0.8 MB"
    ... [[hosts]]
    ... pace = 400
    ... [[hosts]]
    ... pace = 100
    ... link = { rate = "100 Mbit/s", delay = "10 ms" }
    ... count = 2
    ... ''')
    >>> [host.pace for host in cluster.hosts], cluster.hosts[1].link.up
    ([400.0, 100.0, 100.0], 100000000.0)
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClusterError(f"it is not TOML: {error}") from None
    try:
        return _cluster(data, folder or Path())
    except _WrongError as wrong:
        lines, place = key_lines(text), wrong.place
        while place and place not in lines:
            place = place[:-1]
        line = f"line {lines[place]}: " if place else ""
        raise ClusterError(f"{line}{_words(wrong.place)}: {wrong}") from None


def of_paces(paces: Sequence[float]) -> Cluster:
    """Hosts that differ in their pace (samples/s) alone.

    Raises:
        ClusterError: there are none, or one is not positive.

    >>> len(of_paces([400, 100]).hosts)
    2
    """
    try:
        return Cluster(tuple(Host(float(pace)) for pace in paces))
    except ValueError as error:
        raise ClusterError(f"the paces: {error}") from None


# The tables -------------------------------------------------------------------------------------------------


def _cluster(data: dict[str, Any], folder: Path) -> Cluster:
    tables = _tables(data, "hosts")
    if tables is None:
        raise _WrongError((), "it needs a table [[hosts]] for each kind of host, with its pace in samples/s")
    hosts: list[Host] = []
    counts = [_at(("hosts", at, "count"), _count, table.get("count", 1)) for at, table in enumerate(tables)]
    if sum(counts) > MOST_HOSTS:
        place = ("hosts", counts.index(max(counts)), "count")
        raise _WrongError(place, f"that makes {sum(counts)} hosts; at most {MOST_HOSTS} can be simulated")
    for at, (table, count) in enumerate(zip(tables, counts, strict=True)):
        hosts += [_host(table, ("hosts", at), folder)] * count
    values = _values(data, (), CLUSTER)
    if (rotate := values.pop("rotate", None)) is not None:
        hosts = list(_at(("rotate",), lambda every: rotating(hosts, every), rotate))
    cluster: Cluster = _built(Cluster, {**values, "hosts": tuple(hosts)}, ())
    for here, fault in _faults(data):
        cluster = _at(here, partial(script, cluster), [fault])
    return cluster


def _faults(data: dict[str, Any]) -> Iterator[tuple[Place, Fault]]:
    """Tables, or sentences."""
    given = data.get("faults")
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        for at, sentence in enumerate(given):
            yield ("faults", at), _at(("faults", at), parse_fault, sentence)
        return
    for at, table in enumerate(_tables(data, "faults") or ()):
        here: Place = ("faults", at)
        yield here, _built(Fault, {"at": None, **_values(table, here, FAULT)}, here)


def _host(table: dict[str, Any], place: Place, folder: Path) -> Host:
    values = _values(table, place, {**HOST, "paces": lambda given: _paces(given, folder)})
    values.pop("count", None)
    if "pace" not in values:
        paces = values.get("paces", ())
        if not paces or paces[0][0] > 0:
            raise _WrongError(place, "a host needs its pace, such as: pace = 400")
        values["pace"] = paces[0][1]
    host: Host = _built(Host, values, place)
    return host


def _link(given: Any) -> Link:
    """``rate`` is that of both directions."""
    values = _values(_table(given), (), LINK)
    if (rate := values.pop("rate", None)) is not None:
        if "up" in values or "down" in values:
            raise _WrongError(("rate",), "it is that of both directions: write rate, or up and down")
        values["up"] = values["down"] = rate
    return Link(**values)


def _values(table: dict[str, Any], place: Place, keys: Mapping[str, Read]) -> dict[str, Any]:
    """What the keys of a table mean."""
    for name in table:
        if name not in keys:
            near = difflib.get_close_matches(name, keys, 1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            if keys is not CLUSTER and name in CLUSTER:
                meant = " here (it is the cluster's: write it above all tables)"
            raise _WrongError((*place, name), f"there is no {name!r}{meant}; valid are {', '.join(keys)}")
    given = {name: held for name, held in table.items() if name not in TABLES}
    return {NAMES.get(name, name): _at((*place, name), keys[name], held) for name, held in given.items()}


def _at(place: Place, read: Read, given: Any) -> Any:
    try:
        return read(given)
    except _WrongError as wrong:
        raise _WrongError((*place, *wrong.place), wrong) from None
    except ValueError as error:
        raise _WrongError(place, error) from None


def _built(kind: Any, values: dict[str, Any], place: Place) -> Any:
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is dataclasses.MISSING:
            raise _WrongError(place, f"{field.name!r} is missing")
    return _at(place, lambda given: kind(**given), values)


def _tables(data: dict[str, Any], name: str) -> list[dict[str, Any]] | None:
    tables = data.get(name)
    if tables is None:
        return None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise _WrongError((name,), f"it is a table [[{name}]] for each of them")
    return tables


def _words(place: Place) -> str:
    """A place in words.

    >>> _words(("hosts", 1, "link", "rate")), _words(("rotate",)), _words(())
    ("host table 2, 'link.rate'", "'rotate'", 'the cluster')
    """
    words = []
    if len(place) > 1 and isinstance(place[1], int):
        words = [f"{str(place[0]).removesuffix('s')} table {place[1] + 1}"]
        place = place[2:]
    key = ".".join(str(part) for part in place)
    return ", ".join(words + ([repr(key)] if key else [])) or "the cluster"


# The values -------------------------------------------------------------------------------------------------


def _whole(given: Any, least: int = 0) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise ValueError(f"it is a whole number from {least}, not {given!r}")
    return given


def _count(given: Any) -> int:
    return _whole(given, 1)


def _truth(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError(f"it is true or false, not {given!r}")
    return given


def _number(given: Any) -> float:
    if not isinstance(given, int | float) or isinstance(given, bool):
        raise ValueError(f"it is a number, not {given!r}")
    return float(given)


def _word(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f"it is text in quotes, not {given!r}")
    return given


def _table(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f'it is a table, such as {{ rate = "100 Mbit/s", delay = "10 ms" }}, not {given!r}')
    return given


def _rows(*reads: Read) -> Read:
    """A list of rows with a value for each of ``reads``."""

    def read(given: Any) -> tuple[tuple[Any, ...], ...]:
        if not isinstance(given, list) or not all(isinstance(row, list) and len(row) == len(reads) for row in given):
            row = ", ".join(("1.0", "2.0", "0.5")[: len(reads)])
            raise ValueError(f"it is a list of rows of {len(reads)} values, such as [[{row}]], not {given!r}")
        return tuple(tuple(one(value) for one, value in zip(reads, row, strict=True)) for row in given)

    return read


def _paces(given: Any, folder: Path) -> Any:
    """A list of (from, pace), or the name of a file with such rows."""
    return _trace(folder / given) if isinstance(given, str) else _rows(units.seconds, units.pace)(given)


def _trace(path: Path) -> tuple[tuple[float, float], ...]:
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(_text(path, "the trace").splitlines(), 1):
        cells = [cell.strip() for cell in line.split("#")[0].split(",")]
        if cells == [""] or (not rows and cells[0][:1].isalpha()):
            continue  # nothing, or the names of the columns
        try:
            time, pace = map(float, cells)
            row = units.seconds(time), units.pace(pace)
            if rows and time < rows[-1][0]:
                raise ValueError(f"{time:g} s is before {rows[-1][0]:g} s")
        except ValueError as error:
            what = f"{path}, line {number}: {error}. A line is a time in s and the samples/s from then on: 12.5,400"
            raise ValueError(what) from None
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} has no rows: a line is a time in s and the samples/s from then on: 12.5,400")
    return tuple(rows)


def _text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ClusterError(f"{what} {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ClusterError(f"{what} {path} is not text in UTF-8.") from None


LINK: Mapping[str, Read] = {
    "rate": units.rate,
    "up": units.rate,
    "down": units.rate,
    "delay": units.seconds,
    "loss": units.share,
}

PARETO: Mapping[str, Read] = {"every": units.seconds, "least": units.seconds, "shape": _number}

HOST: Mapping[str, Read] = {
    "pace": units.pace,
    "count": _count,
    "overhead": units.seconds,
    "noise": units.share,
    "uplink": units.seconds,
    "push_work": units.seconds,
    "pull_work": units.seconds,
    "burst": units.seconds,
    "scatter": units.seconds,
    "downlink": units.seconds,
    "latency": units.seconds,
    "link": _link,
    "paces": list,
    "period": units.seconds,
    "stalls": _rows(units.seconds, units.seconds),
    "pareto": lambda given: _built(Pareto, _values(_table(given), (), PARETO), ()),
    "cuts": _rows(units.seconds, units.seconds),
    "silence": units.seconds,
    "slows": _rows(units.seconds, units.seconds, _number),
    "joins": units.seconds,
    "dies": units.seconds,
    "declines": _whole,
    "refused": _whole,
    "jitter": units.seconds,
    "repeats": _whole,
}

FAULT: Mapping[str, Read] = {
    "worker": _whole,
    "at": units.seconds,
    "what": _word,
    "for": units.seconds,
    "factor": _number,
    "step": _whole,
    "during": _word,
}

TABLES = ("hosts", "faults")

CLUSTER: Mapping[str, Read] = {
    "parameters": units.size,
    "step_seconds": units.seconds,
    "contribution_seconds": units.seconds,
    "server": _link,
    "rotate": units.seconds,
    "probe": _truth,
    "evaluation": units.seconds,
    "seed": _whole,
    **dict.fromkeys(TABLES, list),
}

NAMES = {"for": "seconds"}
"""Where the file's word is not the attribute's."""
