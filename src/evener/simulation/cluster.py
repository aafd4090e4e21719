"""What a simulated cluster is made of, as data: hosts and a server.

``links`` has what they are connected by, ``paces`` and ``pauses`` what changes over time, ``faults`` what is scripted;
``files`` reads all this from a file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .faults import Fault, check_worker
from .links import Link
from .paces import phase, rotated
from .pauses import Pareto


@dataclass(frozen=True, slots=True)
class Host:
    """One simulated worker; times in seconds.

    A micro-batch of ``k`` samples takes ``(overhead + k / pace) · exp(ε)``, ``ε`` normal with standard deviation
    ``noise``. What changes its pace changes its processor: ``overhead``, ``push_work``, ``pull_work``, ``burst`` and
    ``scatter`` are what they are at ``pace``, and grow as samples do where it is slower.

    A CPU quota lets a host run at full speed until the quota of a period is used up. So who has idled has some in hand
    (``burst``), and when the last sample of a micro-batch is through depends on where in the period that falls
    (``scatter``): what one micro-batch takes longer, the next one takes less.

    Attributes:
        pace: samples/s while it computes.
        overhead: seconds each micro-batch costs beyond its samples.
        noise: standard deviation of the logarithm of a micro-batch's duration.
        uplink, downlink: seconds a push, a set of parameters takes.
        latency: seconds a control message takes.
        push_work, pull_work: seconds by which a push that begins, a set of parameters that comes, holds up the
            micro-batch under way: its processor's work, as computing is.
        burst: seconds: a micro-batch that begins after an idle time takes that much less, at most by this, and no
            less than half.
        scatter: standard deviation, in seconds, of how far it is ahead of its pace, or behind it, when a micro-batch
            ends.
        joins, dies: when it comes and goes (``None``: never goes).
        stalls: ``(from, seconds)``: it does nothing then, not even listen.
        paces: ``(from, samples/s)``, in order of time: its pace from then on, in place of ``pace``.
        period: seconds after which ``paces`` begins anew (``None``: never; the last of them stays).
        declines: it skips each ``n``-th ticket (0: none).
        refused: each ``n``-th push holds something that is not a number (0: none).
        jitter: each of its reports is up to so many seconds late, pushes are not: a push may overtake the reports
            that were sent before it. What is under way when it dies arrives nevertheless.
        repeats: each ``n``-th message to the server arrives twice (0: none).
        link: its connection to the network: what it takes comes on top of ``uplink``, ``downlink`` and ``latency``.
        pareto: stalls that come by chance, beside ``stalls``.
        cuts: ``(from, seconds)``: nothing gets to it or from it then; it gets there afterwards.
        silence: cut off for longer than this it is taken for gone: what was under way is lost, and it joins anew when
            the cut is over (``None``: it is waited for).
        slows: ``(from, seconds, factor)``: its pace is multiplied by the factor then.

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> host = Host(pace=100, overhead=0.5, paces=((2.0, 50),))
        >>> host.duration(100, at=0.0), host.duration(100, at=1.0), host.duration(100, at=2.0)
        (1.5, 2.0, 3.0)
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
    link: Link | None = None
    pareto: Pareto | None = None
    cuts: tuple[tuple[float, float], ...] = ()
    slows: tuple[tuple[float, float, float], ...] = ()
    silence: float | None = None
    push_work: float = 0.0
    pull_work: float = 0.0
    burst: float = 0.0
    scatter: float = 0.0

    def __post_init__(self) -> None:
        for pace in (self.pace, *(pace for _, pace in self.paces)):
            if not (pace > 0 and math.isfinite(pace)):
                raise ValueError(f"a pace is a positive number of samples/s, not {pace}")
        for name in (
            *("overhead", "noise", "uplink", "downlink", "latency", "joins", "jitter"),
            *("push_work", "pull_work", "burst", "scatter"),
        ):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} is not negative, and finite, unlike {value}")
        for name in ("declines", "refused", "repeats"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} counts: 0 is none, 3 each third; not {getattr(self, name)}")
        if self.dies is not None and not self.joins <= self.dies < math.inf:
            raise ValueError(f"it dies at {self.dies} s; that must be a time from its joining at {self.joins} s on")
        for name, spans in (("a stall", self.stalls), ("a cut", self.cuts)):
            for start, seconds in spans:
                if not (0 <= start < math.inf and 0 <= seconds < math.inf):
                    raise ValueError(f"{name} is (from, seconds), finite and not negative, not ({start}, {seconds})")
        if self.silence is not None and not 0 < self.silence < math.inf:
            raise ValueError(f"silence is a positive number of seconds, not {self.silence}")
        for start, seconds, factor in self.slows:
            if not (0 <= start < math.inf and 0 <= seconds < math.inf and 0 < factor < math.inf):
                what = f"({start}, {seconds}, {factor})"
                raise ValueError(f"slows are (from, seconds, factor), finite, the factor positive, not {what}")
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
        seconds = (self.overhead * (self.pace / pace) + samples / pace) * factor
        if at + seconds <= until:
            return seconds
        now, left = at, (self.overhead * self.pace + samples) * factor
        while left > pace * (until - now):
            left -= pace * (until - now)
            now = until
            pace, until = self._phase(now)
        return now + left / pace - at

    def slowness(self, time: float) -> float:
        """How many times as long as at ``pace`` its work takes at ``time``."""
        return self.pace / self._phase(time)[0]

    def work(self, seconds: float, time: float) -> float:
        """Seconds that takes at ``time`` what takes so many at ``pace``."""
        return seconds * self.slowness(time) if seconds else 0.0

    def _phase(self, time: float) -> tuple[float, float]:
        """Its pace at ``time``, and until when."""
        if not (self.paces or self.slows or self.period is not None):
            return self.pace, math.inf
        return phase(self.pace, self.paces, self.period, self.slows, time)


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
    turns = rotated([host.pace for host in hosts], every)
    period = len(hosts) * every
    return tuple(dataclasses.replace(host, paces=turn, period=period) for host, turn in zip(hosts, turns, strict=True))


@dataclass(frozen=True, slots=True)
class Cluster:
    """Hosts and a server.

    Attributes:
        hosts: the workers, by id.
        step_seconds: what an optimizer step takes the server.
        probe: whether workers measure their pace before they join.
        evaluation: seconds until the script on the server has taken an epoch's snapshot.
        seed: of all chance.
        parameters: bytes of a set of parameters, and of a push, on links that have a rate.
        contribution_seconds: what a contribution takes the server, which then does one thing at a time. 0: it takes
            contributions even while it steps.
        server: the server's own link, which all transfers share.
        faults: what happens to hosts at a step or a moment; what happens at a known time is theirs.

    Raises:
        ValueError: a value out of its range, or a link has a rate and ``parameters`` has no bytes.
    """

    hosts: tuple[Host, ...]
    step_seconds: float = 0.001
    probe: bool = True
    evaluation: float = 0.0
    seed: int = 0
    parameters: int = 0
    contribution_seconds: float = 0.0
    server: Link | None = None
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if not self.hosts:
            raise ValueError("a cluster has at least one host")
        if any(fault.timed for fault in self.faults):
            raise ValueError(
                "what happens to a host at a known time is the host's own: evener.simulation.striking.script"
            )
        for fault in self.faults:
            check_worker(fault, len(self.hosts))
        if self.parameters < 0:
            raise ValueError(f"parameters have 0 bytes or more, not {self.parameters}")
        links = {self.server, *(host.link for host in self.hosts)} - {None}
        if not self.parameters and any(link and (link.up or link.down or link.loss) for link in links):
            raise ValueError(
                'links have a rate or a loss, so it must be known how large a transfer is: parameters = "0.8 MB" '
                "(a model of 200,000 numbers of 4 bytes each)"
            )
        for name in ("step_seconds", "contribution_seconds", "evaluation"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is not negative, and finite, unlike {getattr(self, name)}")

    @property
    def at_start(self) -> int:
        """How many hosts are there from the start, at least 1: those a run waits for."""
        return max(1, sum(host.joins <= 0 for host in self.hosts))


def as_data(value: Any) -> Any:
    """A cluster, or a part of one, as plain data without what is as it is by default.

    >>> as_data(Cluster((Host(pace=400.0, link=Link(delay=0.01)),), seed=3))
    {'hosts': [{'pace': 400.0, 'link': {'delay': 0.01}}], 'seed': 3}
    """
    if isinstance(value, tuple):
        return [as_data(one) for one in value]
    if not dataclasses.is_dataclass(value):
        return value
    return {
        field.name: as_data(held)
        for field in dataclasses.fields(value)
        if (held := getattr(value, field.name)) != field.default
    }
