"""Clusters from files and from a list of paces. ``docs/how-to/simulate-a-cluster.md`` has every key."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from . import units
from .cluster import Cluster, Host, rotating
from .faults import Fault, renumbered
from .places import Place, key_lines
from .sentences import parse_fault
from .striking import script
from .tables import CLUSTER, FAULT, HOST, WrongError, built, read_at, tables_of, values_of, words_of

MOST_HOSTS = 100_000
"""Hosts of one cluster: with more, a simulation would run for days."""


class ClusterError(ValueError):
    """A description is no cluster; the message says where, what is valid, and what to do."""


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
    except WrongError as wrong:
        lines, place = key_lines(text), wrong.place
        while place and place not in lines:
            place = place[:-1]
        line = f"line {lines[place]}: " if place else ""
        raise ClusterError(f"{line}{words_of(wrong.place)}: {wrong}") from None


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
    tables = tables_of(data, "hosts")
    if tables is None:
        raise WrongError((), "it needs a table [[hosts]] for each kind of host, with its pace in samples/s")
    hosts: list[Host] = []
    counts = [read_at(("hosts", at, "count"), HOST["count"], table.get("count", 1)) for at, table in enumerate(tables)]
    if sum(counts) > MOST_HOSTS:
        place = ("hosts", counts.index(max(counts)), "count")
        raise WrongError(place, f"that makes {sum(counts)} hosts; at most {MOST_HOSTS} can be simulated")
    for at, (table, count) in enumerate(zip(tables, counts, strict=True)):
        hosts += [_host(table, ("hosts", at), folder)] * count
    values = values_of(data, (), CLUSTER)
    if (rotate := values.pop("rotate", None)) is not None:
        hosts = list(read_at(("rotate",), lambda every: rotating(hosts, every), rotate))
    cluster: Cluster = built(Cluster, {**values, "hosts": tuple(hosts)}, ())
    for here, fault in _faults(data):
        cluster = read_at(here, partial(script, cluster), [fault])
    return cluster


def _faults(data: dict[str, Any]) -> Iterator[tuple[Place, Fault]]:
    """Tables, or sentences."""
    given = data.get("faults")
    if isinstance(given, list) and given and all(isinstance(one, str) for one in given):
        for at, sentence in enumerate(given):
            yield ("faults", at), read_at(("faults", at), parse_fault, sentence)
        return
    for at, table in enumerate(tables_of(data, "faults") or ()):
        here: Place = ("faults", at)
        yield here, built(Fault, {"at": None, **values_of(table, here, FAULT)}, here)


def _host(table: dict[str, Any], place: Place, folder: Path) -> Host:
    values = values_of(table, place, {**HOST, "paces": lambda given: _paces(given, folder)})
    values.pop("count", None)
    if "pace" not in values:
        paces = values.get("paces", ())
        if not paces or paces[0][0] > 0:
            raise WrongError(place, "a host needs its pace, such as: pace = 400")
        values["pace"] = paces[0][1]
    host: Host = built(Host, values, place)
    return host


def _paces(given: Any, folder: Path) -> Any:
    """A list of (from, pace), or the name of a file with such rows."""
    return _trace(folder / given) if isinstance(given, str) else HOST["paces"](given)


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
