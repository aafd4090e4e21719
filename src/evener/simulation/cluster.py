"""What a simulated cluster is made of, as data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """One simulated worker; times in seconds.

    Attributes:
        pace: samples/s while it computes.
        overhead: seconds each micro-batch costs beyond its samples.
        noise: standard deviation of the logarithm of a micro-batch's duration.
        uplink, downlink: seconds a push, a set of parameters takes.
        latency: seconds a control message takes.
        joins, dies: when it comes and goes (``None``: never goes).
        stalls: ``(from, seconds)``: it does nothing then, not even listen.
        declines: it skips each ``n``-th ticket (0: none).
        refused: each ``n``-th push holds something that is not a number (0: none).
        jitter: each of its reports is up to so many seconds late, pushes are not: a push may overtake the reports
            that were sent before it. What is under way when it dies arrives nevertheless.
        repeats: each ``n``-th message to the server arrives twice (0: none).
    """

    pace: float
    overhead: float = 0.0005
    noise: float = 0.0
    uplink: float = 0.003
    downlink: float = 0.003
    latency: float = 0.0003
    joins: float = 0.0
    dies: float | None = None
    stalls: tuple[tuple[float, float], ...] = ()
    declines: int = 0
    refused: int = 0
    jitter: float = 0.0
    repeats: int = 0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Hosts and a server.

    Attributes:
        hosts: the workers, by id.
        step_seconds: what an optimizer step takes the server.
        probe: whether workers measure their pace before they join.
        evaluation: seconds until the script on the server has taken an epoch's snapshot.
        seed: of noise and jitter.
    """

    hosts: tuple[Host, ...]
    step_seconds: float = 0.001
    probe: bool = True
    evaluation: float = 0.0
    seed: int = 0
