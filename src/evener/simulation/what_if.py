"""What if: a cluster made of another one. Hosts are named by their number, from 0, as the record and the tables do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from . import units
from .cluster import Cluster
from .faults import renumbered
from .files import ClusterError
from .links import Link


def without(cluster: Cluster, hosts: Sequence[int]) -> Cluster:
    """The cluster without some of its hosts.

    Raises:
        ClusterError: there is no such host, or none would be left.

    >>> from evener.simulation.files import of_paces
    >>> [host.pace for host in without(of_paces([400, 200, 100]), [1]).hosts]
    [400.0, 100.0]
    """
    for host in hosts:
        _check(cluster, host, "to leave out")
    numbers = [number for number in range(len(cluster.hosts)) if number not in hosts]
    left = tuple(cluster.hosts[number] for number in numbers)
    if not left:
        raise ClusterError("without these hosts nobody is left to compute. Leave out fewer")
    faults = renumbered(cluster.faults, {number: at for at, number in enumerate(numbers)})
    return dataclasses.replace(cluster, hosts=left, faults=faults)


def more(cluster: Cluster, count: int, like: int) -> Cluster:
    """The cluster with ``count`` more hosts like host ``like``, numbered after all others.

    Raises:
        ClusterError: there is no such host, or ``count`` is not positive.

    >>> from evener.simulation.files import of_paces
    >>> [host.pace for host in more(of_paces([400, 100]), 2, like=1).hosts]
    [400.0, 100.0, 100.0, 100.0]
    """
    _check(cluster, like, "to have more of")
    if count < 1:
        raise ClusterError(f"{count} more hosts like {like}: the number is a whole one from 1")
    first = len(cluster.hosts)
    alike = [f for at in range(count) for f in renumbered(cluster.faults, {like: first + at})]
    hosts = cluster.hosts + (cluster.hosts[like],) * count
    return dataclasses.replace(cluster, hosts=hosts, faults=(*cluster.faults, *alike))


def with_link(cluster: Cluster, rate: float) -> Cluster:
    """The cluster whose hosts each have a link of ``rate`` bits/s in either direction, in place of what transfers took.

    A push and a set of parameters then take the latency and what their bytes take on the link, one after the other.

    Raises:
        ClusterError: the rate is not positive, or the size of a transfer is not known.

    >>> from evener.simulation.cluster import Host
    >>> host = with_link(Cluster((Host(pace=100, uplink=0.3),), parameters=500_000), 20e6).hosts[0]
    >>> host.link.up, host.uplink == host.latency
    (20000000.0, True)
    """
    if not cluster.parameters:
        raise ClusterError("what a transfer takes over a link depends on the model's size, which is not known")
    try:
        hosts = tuple(
            dataclasses.replace(
                host,
                link=dataclasses.replace(host.link or Link(), up=rate, down=rate),
                uplink=host.latency,
                downlink=host.latency,
            )
            for host in cluster.hosts
        )
    except ValueError as error:
        raise ClusterError(str(error)) from None
    return dataclasses.replace(cluster, hosts=hosts)


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What is to be changed, in one go. Numbers of hosts are those of the cluster before.

    Attributes:
        more: ``(count, like)``, each.
        without: hosts to leave out.
        link: bits per second; 0: as it is.
    """

    more: tuple[tuple[int, int], ...] = ()
    without: tuple[int, ...] = ()
    link: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.more or self.without or self.link)

    @property
    def words(self) -> str:
        """The change.

        >>> WhatIf(more=((3, 1),), without=(2,), link=20e6).words
        'without host 2, 3 more like host 1, links of 20 Mbit/s'
        """
        parts = []
        if self.without:
            numbers = ", ".join(map(str, self.without))
            parts.append(f"without host{'s' if len(self.without) > 1 else ''} {numbers}")
        parts += [f"{count} more like host {like}" for count, like in self.more]
        if self.link:
            fitting = (unit for unit in ("Gbit/s", "Mbit/s", "kbit/s", "bit/s") if units.RATES[unit] <= self.link)
            unit = next(fitting, "bit/s")
            parts.append(f"links of {self.link / units.RATES[unit]:g} {unit}")
        return ", ".join(parts)

    def apply(self, cluster: Cluster) -> Cluster:
        """The changed cluster.

        Raises:
            ClusterError: it cannot be changed so.
        """
        changed = cluster
        for count, like in self.more:
            _check(cluster, like, "to have more of")
            changed = more(changed, count, like)
        for host in self.without:
            _check(cluster, host, "to leave out")
        if self.without:
            changed = without(changed, self.without)
        return with_link(changed, self.link) if self.link else changed


def _check(cluster: Cluster, host: int, what: str) -> None:
    count = len(cluster.hosts)
    if not 0 <= host < count:
        valid = f"they are 0 to {count - 1}" if count > 1 else "there is only host 0"
        raise ClusterError(f"there is no host {host} {what}: {valid}")
