"""The emulated clusters. Their numbers were measured in this project's real runs; the page of the results says how.

The hosts of a cluster differ in pace alone. A slow host's overhead is the same number of samples' worth of its time,
as it is CPU time, too. Transfers cost all hosts the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from evener.simulation.cluster import Cluster, Host, rotating

OVERHEAD_SAMPLES = 2.5
"""What a micro-batch costs beyond its samples, in samples: 5 ms where the pace is 500 samples/s."""

NOISE = 0.10
"""Standard deviation of the logarithm of a micro-batch's duration: 0.05 to 0.16 under CPU quotas."""

UPLINK, DOWNLINK, LATENCY = 0.005, 0.015, 0.001
"""Seconds that a push, a set of parameters (0.7 MB) and a control message take on one machine."""

STEP_SECONDS = 0.003
"""Seconds that the server needs for an optimizer step."""

FASTEST = {"har": 500.0, "fashion": 1000.0}
"""Samples/s of the fastest host: 0.4 of a core of the machine that it was measured on."""

SPEEDS: dict[str, tuple[float, ...]] = {
    "10:4:2:1": (10, 4, 2, 1),
    "10:10:10:1": (10, 10, 10, 1),
    "10:4:2:1, rotating": (10, 4, 2, 1),
}

ROTATION = 10.0
"""Virtual seconds after which rotating speeds move on by one host."""


def cluster(name: str, data: str) -> Cluster:
    """The cluster ``name`` with the paces of ``data``.

    >>> [host.pace for host in cluster("10:4:2:1", "har").hosts]
    [500.0, 200.0, 100.0, 50.0]
    """
    speeds = SPEEDS[name]
    hosts = tuple(host(FASTEST[data] * speed / max(speeds)) for speed in speeds)
    return Cluster(rotating(hosts, ROTATION) if "rotating" in name else hosts, step_seconds=STEP_SECONDS)


def host(pace: float) -> Host:
    """A host of ``pace`` samples/s."""
    return Host(pace, overhead=OVERHEAD_SAMPLES / pace, noise=NOISE, uplink=UPLINK, downlink=DOWNLINK, latency=LATENCY)


def described(cluster: Cluster) -> dict[str, Any]:
    """The cluster as plain values, without what is at its default: a new kind of trouble changes no old description.

    >>> described(Cluster((Host(pace=5.0, noise=0.1),)))
    {'hosts': [{'pace': 5.0, 'noise': 0.1}]}
    """
    return {**_changed(cluster, leave="hosts"), "hosts": [_changed(one) for one in cluster.hosts]}


def _changed(value: Cluster | Host, leave: str = "") -> dict[str, Any]:
    names = [field for field in dataclasses.fields(value) if field.name != leave]
    return {one.name: getattr(value, one.name) for one in names if getattr(value, one.name) != one.default}


def limit(hosts: Sequence[Host]) -> float:
    """What the hosts compute together without communication, samples/s, each at its own best size from 8 to 128.

    >>> round(limit([Host(pace=128, overhead=1.0)]))
    64
    """
    sizes = (8, 16, 32, 64, 128)
    return sum(max(size / (one.overhead + size / one.pace) for size in sizes) for one in hosts)
