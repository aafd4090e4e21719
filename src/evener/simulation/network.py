"""The ways between the workers and the server of a cluster."""

from __future__ import annotations

import random
from collections.abc import Callable

from .clock import Clock
from .cluster import Cluster, Host
from .links import RETRY, Lane, Link, Shared, goodput
from .pauses import Pauses

Then = Callable[[float], None]
"""Told when something will have arrived."""

OPEN = Link()


class Network:
    """What all ways of a cluster have in common: the server's link.

    Args:
        cluster: whose.
        clock: the run's.
    """

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._server = cluster.server or OPEN
        self._up, self._down = (
            None if rate is None or not cluster.parameters else Shared(goodput(rate, 0.0, self._server.loss), clock)
            for rate in (self._server.up, self._server.down)
        )

    def ways(self, worker: int) -> Ways:
        """Those of one worker, from now on."""
        cluster, host = self._cluster, self._cluster.hosts[worker]
        link, server, bits = host.link or OPEN, self._server, 8.0 * cluster.parameters
        delay = link.delay + server.delay
        loss = 1.0 - (1.0 - link.loss) * (1.0 - server.loss)
        trip = delay + host.latency
        cuts = Pauses(host.cuts)
        up = Lane(bits, goodput(link.up, trip, loss), self._clock, self._down, worker, cuts)
        down = Lane(bits, goodput(link.down, trip, loss), self._clock, self._up, worker, cuts)
        chance = random.Random(f"{cluster.seed} {worker} messages") if loss else None
        return Ways(host, self._clock, up, down, cuts, delay, loss, chance)


class Ways:
    """To and from one worker.

    Args:
        host: what ``uplink``, ``downlink`` and ``latency`` are of.
        clock: the run's.
        up, down: what its transfers queue on.
        cuts: when they are cut.
        delay: seconds that anything takes beside.
        loss: part of the control messages that are lost, and sent again.
        chance: which.
    """

    def __init__(
        self,
        host: Host,
        clock: Clock,
        up: Lane,
        down: Lane,
        cuts: Pauses,
        delay: float,
        loss: float,
        chance: random.Random | None,
    ) -> None:
        self._host = host
        self._clock = clock
        self._up = up
        self._down = down
        self._delay = delay
        self._loss = loss
        self._chance = chance
        self._cuts = cuts
        self._latency = host.latency + delay
        self._plain = not (host.cuts or loss)
        self._last_to = self._last_back = 0.0

    def to(self, now: float) -> float:
        """When a message to the worker that is sent now is there; none overtakes another."""
        if self._plain:
            return now + self._latency
        self._last_to = max(self._last_to, self._message(now))
        return self._last_to

    def back(self, now: float) -> float:
        """When a message from the worker that is sent now is at the server."""
        if self._plain:
            return now + self._latency
        self._last_back = max(self._last_back, self._message(now))
        return self._last_back

    def push(self, then: Then) -> None:
        """The worker pushes now."""
        self._transfer(self._up, self._host.uplink + self._delay, then)

    def pull(self, then: Then) -> None:
        """The server sends parameters now."""
        self._transfer(self._down, self._host.downlink + self._delay, then)

    def cut(self, now: float, seconds: float) -> None:
        """Nothing that is sent from now on gets through for so long."""
        self._cuts.add(now, seconds)
        self._up.cut(now, seconds)
        self._down.cut(now, seconds)
        self._plain = False

    def close(self) -> None:
        """The worker is gone, and what is under way is lost."""
        self._up.close()
        self._down.close()

    def _message(self, now: float) -> float:
        while self._chance is not None and self._chance.random() < self._loss:
            now += RETRY
        return self._through(now, self._latency)

    def _transfer(self, lane: Lane, seconds: float, then: Then) -> None:
        if lane.instant:
            then(self._through(self._clock.now, seconds))
        else:
            lane.send(lambda: then(self._through(self._clock.now, seconds)))

    def _through(self, now: float, seconds: float) -> float:
        if self._plain or not self._cuts:
            return now + seconds
        begun = self._cuts.after(now)
        return self._cuts.end(begun, begun + seconds)
