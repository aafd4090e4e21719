"""The numeric side of a simulated run: each worker's sum of gradients, and the server's parameters and optimizer."""

from __future__ import annotations

import dataclasses
from collections import deque

from ..core import commands as c
from ..core import events as e
from ..runtime.numeric import Buffer, loss_of
from ..runtime.protocol import Push
from ..simulation.numeric import Task
from .account import Account, EpochEnd
from .contribution import GradientSum
from .master import Master
from .metrics import Metrics
from .store import FlatStore


class VirtualWorkers:
    """A :class:`~evener.simulation.numeric.Numeric`: does for all workers what each does in a process of its own.

    Args:
        master: the server's numeric layer.
        store: the layout of the model that all workers share.
        account: is told what they log.

    Attributes:
        ends: ends of epochs that the script has not taken yet.
    """

    def __init__(self, master: Master, store: FlatStore, account: Account) -> None:
        self.ends: deque[EpochEnd] = deque()
        self._master = master
        self._store = store
        self._account = account
        self._sums: dict[int, GradientSum] = {}
        self._metrics: dict[int, Metrics] = {}
        self._orders: dict[int, Buffer] = {}
        self._indices: dict[int, tuple[int, bytes]] = {}
        self._sent: dict[tuple[int, int], tuple[Push, memoryview]] = {}
        self._pushes: dict[tuple[int, int], tuple[Push, memoryview]] = {}
        self._applied = 0

    # For the session ----------------------------------------------------------------------------------------

    def parameters(self, task: Task) -> Buffer:
        """What the task is computed on."""
        assert isinstance(task.parameters, memoryview)
        return task.parameters

    def begin(self, task: Task) -> tuple[bytes, Metrics]:
        """The task's data set indices (int64), and where its metrics go."""
        _, indices = self._indices.pop(task.ticket)
        return indices, self._metrics.setdefault(task.worker, Metrics())

    def add(self, worker: int, weight: float) -> None:
        """Add the gradients that the model's parameters hold to the worker's sum."""
        if worker not in self._sums:
            self._sums[worker] = GradientSum(self._store)
        self._sums[worker].add(weight)

    def heard(self, event: e.Event) -> None:
        """The server heard of this: keep no longer what nobody will ask for."""
        match event:
            case e.Arrived(worker, push) if (worker, push) in self._sent:
                self._pushes[worker, push] = self._sent.pop((worker, push))
            case e.Released(_, ticket):
                self._indices.pop(ticket, None)
            case e.Left(gone):
                # What it sent and the server has may still count; what was under way is lost.
                self._indices = {ticket: kept for ticket, kept in self._indices.items() if kept[0] != gone}
                self._sent = {key: push for key, push in self._sent.items() if key[0] != gone}

    @property
    def kept(self) -> int:
        """Tickets not begun and pushes not settled that are kept."""
        return len(self._indices) + len(self._sent) + len(self._pushes)

    # For the simulation -------------------------------------------------------------------------------------

    def draw(self, epoch: int) -> int:
        """Draw an epoch's order."""
        self._orders[epoch] = self._master.draw(epoch)
        return len(self._orders[epoch]) // 8

    def grant(self, grant: c.Grant) -> None:
        """Keep the ticket's indices, as its worker would."""
        order = self._orders[grant.epoch]
        indices = b"".join(order[start * 8 : stop * 8] for start, stop in grant.ranges)
        self._indices[grant.ticket] = grant.worker, indices

    def push(self, push: e.Arrived) -> e.Arrived:
        """Take the worker's sum, and judge it."""
        payload, weight, present = self._sums[push.worker].take()
        metrics = self._metrics[push.worker].take()
        head = Push(push.push, push.tickets, push.versions, weight, present, metrics)
        self._sent[push.worker, push.push] = head, payload
        word, norm = self._master.verdict(head, payload)
        return dataclasses.replace(push, weight=weight, verdict=word, norm=norm, loss=loss_of(metrics))

    def accumulate(self, add: c.Accumulate) -> None:
        """Add a contribution to its step's batch gradient."""
        head, payload = self._pushes.pop((add.worker, add.push))
        self._master.accumulate(add.step, head, payload, add.factor)
        self._account.add(head.metrics)
        self._applied += add.samples
        self._sums[add.worker].give_back(payload)

    def discard(self, worker: int, push: int) -> None:
        """Drop a contribution."""
        _, payload = self._pushes.pop((worker, push))
        self._sums[worker].give_back(payload)

    def step(self, step: c.Step) -> None:
        """One optimizer step."""
        self._master.step(step)

    def publish(self, version: int) -> object:
        """The parameters as bytes that never change."""
        return self._master.publish()

    def end_epoch(self, ended: c.EndEpoch, now: float) -> None:
        """Step the epoch scheduler, keep a snapshot, and note what the workers logged."""
        self._master.end_epoch(ended.epoch, ended.version)
        self._orders.pop(ended.epoch, None)
        self.ends.append(self._account.end_epoch(self._master.snapshots.popleft(), self._applied, now))
