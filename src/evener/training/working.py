"""A worker's session: computes the gradients that its tickets ask for."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..core.plan import ladder
from ..runtime.place import Place
from ..runtime.worker import Compute, Install, Link, Push
from .checks import OUTSIDE, check_device
from .loader import SeamLoader, TicketLoader, lookahead
from .master import trained_parameters
from .optimizer import ScriptError, WorkerOptimizer
from .session import Scalar, Session, number
from .setup import Setup
from .store import FlatStore
from .warmup import Throttle, probe, synchronize

SKIPS = 8
"""After so many skipped batches, if they are nearly half of all: the script accumulates gradients by hand."""


class WorkerSession(Session):
    """Drives the user's loop with tickets; contributes on ``optimizer.step()``."""

    def __init__(self, place: Place, device: torch.device) -> None:
        super().__init__(device)
        self._place = place
        self._throttle: Throttle | None = None
        self._next: Compute | None = None
        self._current: Compute | None = None
        self._epoch = -1
        self._size = 0
        self._stepped = True
        self._generation = 0
        self._sending: list[memoryview] = []
        self._metrics: dict[str, tuple[float, float]] = {}
        self._logged: dict[str, Scalar] = {}
        self._weight = 0.0
        self._steps = self._skips = 0

    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        place = self._place
        model, optimizer, loader = setup.model, setup.optimizer, setup.loader
        self._store = FlatStore(model, trained_parameters(optimizer))
        store = self._store
        check_device(store.device, self.device)
        self._link = Link(
            place.address, place.token, place.run, place.index, store.entries, store.parameter_bytes, str(self.device)
        )
        atexit.register(self._leave)
        self._terms, constants, install = self._link.open()
        store.install_constants(constants)
        self._version = install.version
        self._install(install)
        store.statistics.observe()
        sizes = likely_sizes(int(self._terms.settings["batch"]), int(self._terms.settings["workers"]))
        pace, self._throttle = probe(model, loader, store.statistics, place.slowness, sizes)
        # The probe's forward passes overwrote the running statistics, which layers in eval mode still use.
        self._install(install)
        self._link.give_back(install)
        self._optimizer = WorkerOptimizer(optimizer, store, self._step)
        self._tickets = TicketLoader(loader, lambda: [(t, indices) for t, _, indices in self._link.queued()])
        self._link.ready(self._version, pace, lookahead(loader))
        self._loader = SeamLoader(loader, self.batches)
        return model, self._optimizer, self._loader

    # Epochs and batches -------------------------------------------------------------------------------------

    def _epochs(self, count: int) -> Iterator[int]:
        expected = self._terms.settings.get("epochs")
        if expected != count:
            raise ScriptError(
                f"epochs({count}) here, but the server's script asked for {expected}: use the same number"
            )
        finished = False
        try:
            while (work := self._advance()) is not None:
                # Numbers only rise, also after a break in the inner loop; a ticket of an earlier epoch that came
                # back is computed in the loop under way.
                self._epoch = max(work.epoch, self._epoch + 1)
                if self._epoch >= count:
                    return
                yield self._epoch
            finished = True
            if (final := self._link.final()) is not None:
                self._install(final)
            # Forward passes since the last version leave their own moments in the running statistics.
            self._store.statistics.install(self._running)
        finally:
            self._store.statistics.release()
            self._tickets.close()
            self._leave("finished" if finished else "its script left the loop")

    def batches(self) -> Iterator[Any]:
        """Batches of this epoch's tickets; the user's inner loop."""
        if self._epoch < 0:
            raise ScriptError(OUTSIDE)
        while (work := self._advance()) is not None and work.epoch <= self._epoch:
            self._next = None
            self._current, self._stepped = work, False
            self._size = len(work.indices) // 8
            if self._throttle is not None:
                self._throttle.begin()
            yield self._tickets.load(work.ticket, work.indices)

    def _advance(self) -> Compute | None:
        """The next ticket to compute, everything before it having been done; ``None`` at the end of the run."""
        self._finish_batch()
        while self._next is None:
            work = self._link.work()
            self._check_membership()
            match work:
                case None:
                    return None
                case Install():
                    self._install(work)
                    self._link.give_back(work)
                case Push():
                    self._push(work)
                case Compute(generation=generation) if generation == self._generation:
                    self._next = work
        return self._next

    def _install(self, work: Install) -> None:
        self._store.install(work.data)
        self._running = work.data[: self._store.statistics.state_bytes]

    def _check_membership(self) -> None:
        """After the server gave this worker up and took it back: what was summed for it no longer counts."""
        if self._generation != self._link.generation:
            self._generation = self._link.generation
            self._optimizer.sum.drop()
            self._metrics.clear()
            self._next = None

    def _finish_batch(self) -> None:
        """Settle the batch that the script has just left: contributed, or skipped."""
        if self._current is None:
            return
        self._current = None
        if self._stepped:
            return
        self._store.statistics.forget()
        self._logged.clear()
        self._skips += 1
        if self._skips >= SKIPS and self._skips > 0.4 * (self._steps + self._skips):
            raise ScriptError(
                f"{self._skips} of {self._steps + self._skips} batches were left without optimizer.step(). Each "
                "batch is a part of a global batch already, so accumulating gradients by hand loses samples: raise "
                "batch_size instead."
            )
        self._link.done(True, self._generation)

    # Contributions ------------------------------------------------------------------------------------------

    def _step(self, weight: float | None) -> None:
        if self._current is None or self._stepped:
            raise ScriptError(
                "optimizer.step() without a new batch: each batch is contributed once, in the loop over the loader"
            )
        weight = float(self._size) if weight is None else float(weight)
        if not weight > 0:
            raise ScriptError(f"optimizer.step(weight={weight}): a weight is positive (what the loss is a mean over)")
        self._stepped = True
        self._steps += 1
        self._weight = weight
        if self._generation != self._link.generation:
            self._store.statistics.forget()
            return
        self._optimizer.sum.add(weight)
        synchronize(self.device)  # or the time of a micro-batch would be that of launching it
        for name, value in self._logged.items():
            self._add_metric(name, value)
        self._logged.clear()
        if self._throttle is not None:
            self._throttle.pause()
        self._link.done(False, self._generation)

    def _push(self, work: Push) -> None:
        while self._sending and self._link.sent():
            self._optimizer.sum.give_back(self._sending.pop())
        if len(self._sending) > 1:
            self._link.wait_sent()
        payload, weight, present = self._optimizer.sum.take()
        self._link.push(work, payload, weight, present, self._metrics)
        self._metrics = {}
        self._sending.append(payload)

    def log(self, **values: Scalar) -> None:
        """Metrics of the batch at hand, weighted like its gradient."""
        for name, value in values.items():
            if self._current is not None and not self._stepped:
                self._logged[name] = value
            elif self._current is not None:
                self._add_metric(name, value)

    def _add_metric(self, name: str, value: Scalar) -> None:
        total, weight = self._metrics.get(name, (0.0, 0.0))
        self._metrics[name] = total + number(value) * self._weight, weight + self._weight

    def _leave(self, reason: str = "its script ended") -> None:
        self._link.close(reason)


def likely_sizes(batch: int, workers: int) -> tuple[int, ...]:
    """Micro-batches that a worker will probably be asked for, in samples."""
    return tuple(sorted({*ladder(batch, workers), max(1, batch // workers)}))
