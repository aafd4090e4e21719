"""The limit of a simulated cluster: what its hosts compute per second without each other."""

from __future__ import annotations

import math

from .cluster import Cluster, Host

LARGEST = 128
"""Samples of the largest micro-batch that counts. A host with an overhead is fastest with that."""

MOMENTS = 400
"""At so many moments a pace that changes is looked at."""


def limit(cluster: Cluster, seconds: float) -> float:
    """Samples/s of all hosts together, on the mean over the first ``seconds``, each while it is there.

    It is the limit that real runs are measured against: forward and backward at the best micro-batch of at most
    :data:`LARGEST` samples, no communication. Stalls count: nobody could compute then.

    >>> from evener.simulation.cluster import Host
    >>> limit(Cluster((Host(pace=100, overhead=0.0), Host(pace=50, overhead=0.0, dies=5.0))), seconds=10.0)
    125.0
    """
    return sum(_mean_rate(host, seconds) for host in cluster.hosts)


def _mean_rate(host: Host, seconds: float) -> float:
    end = seconds if host.dies is None else min(host.dies, seconds)
    start = min(host.joins, end)
    if seconds <= 0:
        return _rate(host, 0.0) if host.joins <= 0 else 0.0
    away = sum(max(0.0, min(at + length, end) - max(at, start)) for at, length in host.stalls)
    there = max(0.0, end - start - away)
    if not (host.paces or host.slows):
        return _rate(host, start) * there / seconds
    step = (end - start) / MOMENTS
    return sum(_rate(host, start + (at + 0.5) * step) for at in range(MOMENTS)) / MOMENTS * there / seconds


def _rate(host: Host, at: float) -> float:
    # The mean of a log-normal factor is exp(σ²/2).
    seconds = host.overhead * host.slowness(at) + LARGEST / host.pace_at(at)
    return LARGEST / seconds / math.exp(host.noise**2 / 2)
