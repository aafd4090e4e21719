"""A worker's session: computes the gradients that its tickets ask for."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ..core.plan import ladder
from ..runtime.keys import WorkerKeys
from ..runtime.line import PATIENCE
from ..runtime.place import Place, since
from ..runtime.protocol import DataMark
from ..runtime.work import Compute, Install, Push
from ..runtime.worker import Link
from .batch import BatchInHand
from .chance import Seeds, put_back, set_seed
from .checks import OUTSIDE, check_device
from .contribution import GradientSum
from .errors import ScriptError
from .fingerprint import mark_of
from .group import Group
from .guard import Guard
from .layout import Layout
from .loader import SeamLoader, TicketLoader, lookahead
from .look_ahead import LookAhead, Trail
from .master import trained_parameters
from .metrics import Metrics, Scalar
from .optimizer import WorkerOptimizer
from .reproducible import Slate, begin, cut, seeds_of
from .session import Session
from .setup import Setup
from .store import FlatStore
from .together import FirstLink, MemberLink
from .warmup import Throttle, probe, synchronize

MEMBERS_APART = 1 << 20
"""Between the seeds of a group's processes: more than there are workers."""


class WorkerSession(Session):
    """Drives the user's loop with tickets; contributes on ``optimizer.step()``."""

    def __init__(
        self,
        place: Place,
        device: torch.device,
        plain_outside: bool = False,
        group: Group | None = None,
        over: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(device)
        self._seen_over = over
        self._group = group
        self._place = place
        self._plain_outside = plain_outside
        self._throttle: Throttle | None = None
        self._next: Compute | None = None
        self._batch = BatchInHand()
        self._metrics = Metrics()
        self._epoch = -1
        self._generation = 0
        self._seeds: Seeds | None = None
        self._slate: Slate | None = None
        self._look_ahead: LookAhead | None = None
        self._trail = Trail()
        self._sending: list[memoryview] = []

    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        place = self._place
        imports_s = since(place.spawned)
        model, optimizer, loader = setup.model, setup.optimizer, setup.loader
        self._layout = Layout(model, setup.channels_last)
        self._store = FlatStore(model, trained_parameters(optimizer))
        store = self._store
        check_device(store.device, self.device)
        self._link = self._linked(mark_of(loader.dataset) if place.keys else None)
        atexit.register(self._leave)
        self._terms, constants, install = self._link.open()
        if self._terms.settings.get("look_ahead"):
            self._look_ahead = LookAhead(store, optimizer)
        store.install_constants(constants)
        self._version = install.version
        self._install(install)
        self._seeds = seeds_of(self._terms.settings)
        if self._seeds is not None:
            begin()
            self._slate = Slate(self._seeds, store, model)
        store.statistics.observe()
        self._guard = Guard(model, optimizer, store)
        known = self._terms.settings
        sizes = likely_sizes(int(known["batch"]), int(known["workers"]), int(known.get("micro_batch", 0)))
        if self._group is not None:
            sizes = tuple(sorted({max(1, size // self._group.size) for size in sizes}))
        began = time.monotonic()
        with put_back():
            pace, self._throttle = probe(
                model,
                loader,
                store.statistics,
                place.slowness,
                sizes,
                self._guard.check_state,
                partial(self._layout.choose, measured=self._seeds is None),
            )
        probe_s = time.monotonic() - began
        self._guard.watch()
        # The probe's forward passes overwrote the running statistics, which layers in eval mode still use.
        self._install(install)
        self._link.give_back(install)
        self._sum = GradientSum(store)
        self._optimizer = WorkerOptimizer(optimizer, self._step)
        self._tickets = TicketLoader(loader, self._link.queued, self._seeds)
        self._link.ready(self._version, pace, lookahead(loader), imports_s, probe_s, self._layout.last)
        if self._seeds is None:
            self._seed_apart(loader)
        self._loader = SeamLoader(loader, self.batches)
        return model, self._optimizer, self._loader

    def _linked(self, data: DataMark | None) -> Link | FirstLink | MemberLink:
        """The way to the server: this process's own, or that of the first process of its group."""
        place, store, group = self._place, self._store, self._group
        mark = msgspec.msgpack.encode((store.entries, data))
        if group is not None and not group.first:
            return MemberLink(group, mark)
        link = Link(
            place.address,
            WorkerKeys.read(Path(place.keys)) if place.keys else place.token,
            place.run,
            place.index,
            store.entries,
            store.parameter_bytes,
            str(self.device) if group is None else f"{group.size} x {self.device.type}",
            memory=not place.tcp,
            data=data,
            plain_outside=self._plain_outside,
            extent=store.extent,
            wait=place.wait or PATIENCE,
            over=self._over,
            tell=lambda text: print(f"evener: {text}", file=sys.stderr, flush=True),
        )
        return link if group is None else FirstLink(link, group, mark)

    def _over(self) -> str:
        """Which run it is, in words, if it is seen to be complete: in its folder, or otherwise."""
        from ..trace import complete, record_path  # of use to few workers

        folder = self._place.record
        if folder and complete(record_path(folder)):
            return f"in {folder}"
        return "of this job" if self._seen_over() else ""

    def _seed_apart(self, loader: DataLoader[Any]) -> None:
        """Let this worker draw other numbers than the others, the same ones in each run with the same seed."""
        member = self._group.rank if self._group is not None else 0
        seed = Seeds(int(self._terms.settings["seed"])).worker(self._terms.worker + MEMBERS_APART * member)
        set_seed(seed, devices=True)
        if loader.generator is not None:
            # It seeds the loader's own processes. The sampler may share it, but only the server draws that.
            loader.generator.manual_seed(seed)

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
                if self._seeds is not None:
                    # What the last batch left depends on which one it was.
                    set_seed(self._seeds.epoch(self._epoch), devices=True)
                yield self._epoch
            finished = True
            if (final := self._link.final()) is not None:
                self._install(final)
            # Forward passes since the last version leave their own moments in the running statistics.
            self._store.statistics.install(self._running)
        finally:
            self._store.statistics.release()
            self._layout.release()
            self._guard.release()
            self._tickets.close()
            self._leave("finished" if finished else "its script left the loop")

    def batches(self) -> Iterator[Any]:
        """Batches of this epoch's tickets; the user's inner loop."""
        if self._epoch < 0:
            raise ScriptError(OUTSIDE)
        while (work := self._advance()) is not None and work.epoch <= self._epoch:
            self._next = None
            self._batch.begin(len(work.indices) // 8, self._metrics)
            self._guard.begin_batch()
            if self._throttle is not None:
                self._throttle.begin()
            batch = self._tickets.load(work)
            if self._slate is not None:
                self._slate.wipe(work.epoch, work.ranges[0][0], self._running, self._guard.skipped())
            if self._look_ahead is not None:
                self._look_ahead.shift(self._trail, work.early)
            yield batch

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
        if self._look_ahead is not None:
            self._trail.move(work.version, self._store.flat.clone())
        self._running = work.data[: self._store.statistics.state_bytes]

    def _check_membership(self) -> None:
        """After the server gave this worker up and took it back: what was summed for it no longer counts."""
        if self._generation != self._link.generation:
            self._generation = self._link.generation
            self._sum.drop()
            self._metrics.take()
            self._next = None

    def _finish_batch(self) -> None:
        """Settle the batch that the script has just left: contributed, or skipped."""
        if self._look_ahead is not None:
            self._look_ahead.restore(self._trail)
        skipped = self._batch.leave()
        # What was not contributed, and forward passes since then (to measure the training accuracy, for one).
        self._store.statistics.forget()
        if skipped:
            self._link.done(True, self._generation)

    # Contributions ------------------------------------------------------------------------------------------

    def _step(self, weight: float | None) -> None:
        weight = self._batch.contribute(weight)
        self._guard.check_state()
        self._guard.check_gradients()
        synchronize(self.device)  # or the time of a micro-batch would be that of launching it
        if not self._link.counts(self._generation):
            self._store.statistics.forget()
            return
        self._sum.add(weight)
        synchronize(self.device)
        if self._throttle is not None:
            self._throttle.pause()
        self._link.done(False, self._generation)

    def _push(self, work: Push) -> None:
        while self._sending and self._link.sent():
            self._sum.give_back(self._sending.pop())
        if len(self._sending) > 1:
            self._link.wait_sent()
        metrics = self._metrics.take()
        if self._group is not None:
            metrics = self._sum.gather(self._group, metrics)
        payload, weight, present = self._sum.take()
        self._link.push(work, payload, weight, present, metrics)
        self._sending.append(payload)

    def log(self, **values: Scalar) -> None:
        """Metrics of the batch at hand, weighted like its gradient."""
        self._batch.log(values)

    def _leave(self, reason: str = "its script ended") -> None:
        self._link.close(reason)


def likely_sizes(batch: int, workers: int, micro_batch: int = 0) -> tuple[int, ...]:
    """Micro-batches that a worker will probably be asked for, in samples; ``micro_batch`` is a reproducible run's."""
    if micro_batch:
        return tuple(sorted(set(cut(batch, micro_batch))))
    return tuple(sorted({*ladder(batch, workers), max(1, batch // workers)}))
