"""What a simulated cluster is made of, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """One simulated worker; times in seconds.

    A micro-batch of ``k`` samples takes ``(overhead + k / pace) · exp(ε)``, ``ε`` normal with standard deviation
    ``noise``.

    Attributes:
        pace: samples/s while it computes.
        overhead: seconds each micro-batch costs beyond its samples.
        noise: standard deviation of the logarithm of a micro-batch's duration.
        uplink, downlink: seconds a push, a set of parameters takes.
        latency: seconds a control message takes.
        joins, dies: when it comes and goes (``None``: never goes).
        stalls: ``(from, seconds)``: it does nothing then, not even listen.
        paces: ``(from, samples/s)``, in order of time: its pace from then on, in place of ``pace``.
        period: seconds after which ``paces`` begins anew (``None``: never; the last of them stays).
        declines: it skips each ``n``-th ticket (0: none).
        refused: each ``n``-th push holds something that is not a number (0: none).
        jitter: each of its reports is up to so many seconds late, pushes are not: a push may overtake the reports
            that were sent before it. What is under way when it dies arrives nevertheless.
        repeats: each ``n``-th message to the server arrives twice (0: none).

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> Host(pace=100, overhead=0.0, paces=((2.0, 50),)).duration(200, at=1.0)
        3.0
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
    paces: tuple[tuple[float, float], ...] = ()
    period: float | None = None
    declines: int = 0
    refused: int = 0
    jitter: float = 0.0
    repeats: int = 0

    def __post_init__(self) -> None:
        for pace in (self.pace, *(pace for _, pace in self.paces)):
            if not (pace > 0 and math.isfinite(pace)):
                raise ValueError(f"a pace is a positive number of samples/s, not {pace}")
        for name in ("overhead", "noise", "uplink", "downlink", "latency", "joins", "jitter"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} is not negative, and finite, unlike {value}")
        for name in ("declines", "refused", "repeats"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} counts: 0 is none, 3 each third; not {getattr(self, name)}")
        if self.dies is not None and not self.joins <= self.dies < math.inf:
            raise ValueError(f"it dies at {self.dies} s; that must be a time from its joining at {self.joins} s on")
        for start, seconds in self.stalls:
            if not (0 <= start < math.inf and 0 <= seconds < math.inf):
                raise ValueError(f"a stall is (from, seconds), finite and not negative, not ({start}, {seconds})")
        times = [at for at, _ in self.paces]
        if times != sorted(times) or not all(0 <= at < math.inf for at in times):
            raise ValueError("paces go by time, from 0 on")
        if self.period is not None and not self.period > max(times, default=0.0):
            raise ValueError(f"a period of {self.period} s ends before the last change of pace")

    def pace_at(self, time: float) -> float:
        """Its samples/s at ``time``."""
        return self._phase(time)[0]

    def duration(self, samples: int, at: float, factor: float = 1.0) -> float:
        """Seconds that a micro-batch takes that begins at ``at``, ``factor`` times what it usually would."""
        pace, until = self._phase(at)
        seconds = (self.overhead + samples / pace) * factor
        if at + seconds <= until:
            return seconds
        now, left = at + self.overhead * factor, samples * factor
        pace, until = self._phase(now)
        while left > pace * (until - now):
            left -= pace * (until - now)
            now = until
            pace, until = self._phase(now)
        return now + left / pace - at

    def _phase(self, time: float) -> tuple[float, float]:
        """Its pace at ``time``, and until when."""
        begun = 0.0
        if self.period is not None:
            begun = math.floor(time / self.period) * self.period
            if begun + self.period <= time:  # where the division was rounded down
                begun += self.period
        pace, until = self.pace, math.inf if self.period is None else begun + self.period
        for start, changed in self.paces:
            if begun + start <= time:
                pace = changed
            else:
                return pace, begun + start
        return pace, until


def rotating(hosts: Sequence[Host], every: float) -> tuple[Host, ...]:
    """``hosts`` whose paces move round among them: each ``every`` seconds a host takes on the pace of the next one.

    Raises:
        ValueError: ``every`` is not positive, or a host has changes of pace of its own.

    >>> a, b = rotating([Host(pace=400), Host(pace=100)], every=10.0)
    >>> [host.pace_at(time) for time in (5.0, 15.0, 25.0) for host in (a, b)]
    [400, 100, 100, 400, 400, 100]
    """
    if not 0 < every < math.inf:
        raise ValueError(f"paces that rotate every {every} s: the time must be positive, and finite")
    if any(host.paces for host in hosts):
        raise ValueError("paces that rotate are those of the hosts: leave out their own changes of pace")
    count = len(hosts)
    return tuple(
        dataclasses.replace(
            host,
            paces=tuple((step * every, hosts[(index + step) % count].pace) for step in range(count)),
            period=count * every,
        )
        for index, host in enumerate(hosts)
    )


@dataclass(frozen=True, slots=True)
class Cluster:
    """Hosts and a server.

    Attributes:
        hosts: the workers, by id.
        step_seconds: what an optimizer step takes the server.
        probe: whether workers measure their pace before they join.
        evaluation: seconds until the script on the server has taken an epoch's snapshot.
        seed: of noise and jitter.

    Raises:
        ValueError: a value out of its range.
    """

    hosts: tuple[Host, ...]
    step_seconds: float = 0.001
    probe: bool = True
    evaluation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.hosts:
            raise ValueError("a cluster has at least one host")
        for name in ("step_seconds", "evaluation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is not negative, and finite, unlike {getattr(self, name)}")

    @property
    def at_start(self) -> int:
        """How many hosts are there from the start, at least 1: those a run waits for."""
        return max(1, sum(host.joins <= 0 for host in self.hosts))
