"""Clusters from files and from a list of paces."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .cluster import Cluster, Host, rotating


class ClusterError(ValueError):
    """A description is no cluster; the message says where, what is valid, and what to do."""


def read_cluster(path: str | os.PathLike[str]) -> Cluster:
    """The cluster that a TOML file describes; see :func:`parse_cluster`.

    Raises:
        ClusterError: there is no such file, or it describes no cluster.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ClusterError(f"the cluster file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ClusterError(f"the cluster file {path} is not text in UTF-8.") from None
    try:
        return parse_cluster(text)
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
    return dataclasses.replace(clusters[0], hosts=tuple(host for cluster in clusters for host in cluster.hosts))


def parse_cluster(text: str) -> Cluster:
    """A cluster from TOML: the values of :class:`Cluster`, and a table ``[[hosts]]`` of :class:`Host`'s for each kind.

    A host's ``count`` says how many there are of the kind. ``rotate`` (s) lets the paces move round among all hosts:
    see :func:`~evener.simulation.cluster.rotating`.

    Raises:
        ClusterError: it describes no cluster.

    >>> cluster = parse_cluster('''
    ... step_seconds = 0.002
    ... [[hosts]]
    ... pace = 400
    ... [[hosts]]
    ... pace = 100
    ... noise = 0.1
    ... count = 2
    ... ''')
    >>> [host.pace for host in cluster.hosts]
    [400.0, 100.0, 100.0]
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClusterError(f"it is not TOML: {error}") from None
    tables = data.pop("hosts", None)
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise ClusterError("it needs a table [[hosts]] for each kind of host, with its pace in samples/s")
    rotate = data.pop("rotate", None)
    hosts = [host for number, table in enumerate(tables, 1) for host in _hosts(table, f"host table {number}")]
    if rotate is not None:
        if not isinstance(rotate, int | float) or isinstance(rotate, bool):
            raise ClusterError(f"rotate is a number of seconds, not {rotate!r}")
        hosts = list(_built(lambda: rotating(hosts, float(rotate)), "rotate"))
    _check_names(data, Cluster, "the cluster", more=("rotate", "[[hosts]]"), but=("hosts",))
    plain = [msgspec.to_builtins(host) for host in hosts]
    cluster: Cluster = _built(lambda: msgspec.convert({**data, "hosts": plain}, Cluster), "the cluster")
    return cluster


def of_paces(paces: Sequence[float]) -> Cluster:
    """Hosts that differ in their pace (samples/s) alone.

    Raises:
        ClusterError: there are none, or one is not positive.

    >>> len(of_paces([400, 100]).hosts)
    2
    """
    cluster: Cluster = _built(lambda: Cluster(tuple(Host(float(pace)) for pace in paces)), "the paces")
    return cluster


def _hosts(table: dict[str, Any], where: str) -> list[Host]:
    table = dict(table)
    count = table.pop("count", 1)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ClusterError(f"{where}: count is a whole number from 1, not {count!r}")
    _check_names(table, Host, where, more=("count",))
    return [_built(lambda: msgspec.convert(table, Host), where)] * count


def _check_names(table: dict[str, Any], kind: type, where: str, more: Sequence[str], but: Sequence[str] = ()) -> None:
    valid = [field.name for field in dataclasses.fields(kind) if field.name not in but]
    for name in table:
        if name not in valid:
            raise ClusterError(f"{where}: there is no {name!r}; valid are {', '.join([*valid, *more])}")


def _built(build: Any, where: str) -> Any:
    try:
        return build()
    except ValueError as error:  # msgspec's is one
        raise ClusterError(f"{where}: {error}") from None
