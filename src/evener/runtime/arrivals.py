"""Contributions that are here, until the coordinator has said what becomes of them."""

from __future__ import annotations

from . import protocol as p
from .bulk.server import ServerBulk
from .numeric import Buffer
from .peers import Peers

METRICS = 1000
"""Different metrics of a run; workers may not log more."""


class Arrivals:
    """Numbers contributions, and keeps each until it is added up or not needed.

    Args:
        bulk: whose bytes they are.
        peers: are told when memory of theirs is not read any more.
    """

    def __init__(self, bulk: ServerBulk, peers: Peers) -> None:
        self._bulk = bulk
        self._peers = peers
        self._kept: dict[tuple[int, int], tuple[p.Push, Buffer]] = {}
        self._count = 0
        self._names: set[str] = set()

    def keep(self, worker: int, head: p.Push, payload: Buffer) -> int:
        """Take a contribution in; returns its number."""
        # The server's own number: a worker's would begin anew when its process does.
        number = self._count
        self._count += 1
        self._kept[worker, number] = head, payload
        return number

    def get(self, worker: int, number: int) -> tuple[p.Push, Buffer]:
        """One that is kept: its head and its bytes."""
        return self._kept[worker, number]

    def let_go(self, worker: int, number: int) -> None:
        """The contribution is not needed any more, nor the worker's memory that it may lie in."""
        head, payload = self._kept.pop((worker, number), (None, None))
        if head is None or payload is None:
            return
        self._bulk.give_back(payload)
        peer = self._peers.numbered(worker)
        if head.offer is not None and peer is not None:
            self._peers.say(peer.name, p.Taken(head.offer.key))

    def metrics(self, head: p.Push) -> dict[str, tuple[float, float]]:
        """Those that came with it and that there is room for: what workers make up is not to fill the memory."""
        if len(self._names) < METRICS:
            self._names.update(list(head.metrics)[: METRICS - len(self._names)])
        return {name: sums for name, sums in head.metrics.items() if name in self._names}
