"""What scripted faults do to simulated hosts: at known times they are the host's own, all others the cluster's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from .cluster import Cluster, Host
from .faults import CUT_OFF, HANGS, SLOWS, Fault, check_worker


def strike(hosts: Sequence[Host], faults: Iterable[Fault]) -> tuple[Host, ...]:
    """``hosts`` to which all that happens, at known times.

    Raises:
        ValueError: there is no such host, it dies before it is there, or twice.

    >>> one, other = strike([Host(100.0)] * 2, [Fault(1, 30.0, "hangs", seconds=5.0)])
    >>> one.stalls, other.stalls
    ((), ((30.0, 5.0),))
    """
    struck = list(hosts)
    for fault in faults:
        check_worker(fault, len(struck))
        struck[fault.worker] = _strike(struck[fault.worker], fault)
    return tuple(struck)


def script(cluster: Cluster, faults: Iterable[Fault]) -> Cluster:
    """``cluster`` to which all that happens.

    Raises:
        ValueError: as :func:`strike`.
    """
    faults = tuple(faults)
    for fault in faults:
        check_worker(fault, len(cluster.hosts))
    hosts = strike(cluster.hosts, [fault for fault in faults if fault.timed])
    later = tuple(fault for fault in faults if not fault.timed)
    return dataclasses.replace(cluster, hosts=hosts, faults=(*cluster.faults, *later))


def _strike(host: Host, fault: Fault) -> Host:
    assert fault.at is not None, "its time is not known beforehand"
    span = fault.at, fault.seconds or 0.0
    if fault.what == HANGS:
        return dataclasses.replace(host, stalls=tuple(sorted((*host.stalls, span))))
    if fault.what == CUT_OFF:
        return dataclasses.replace(host, cuts=tuple(sorted((*host.cuts, span))))
    if fault.what == SLOWS:
        return dataclasses.replace(host, slows=tuple(sorted((*host.slows, (*span, fault.factor or 1.0)))))
    if host.dies is not None:
        raise ValueError(f"worker {fault.worker} dies at {host.dies} s already")
    return dataclasses.replace(host, dies=fault.at)
