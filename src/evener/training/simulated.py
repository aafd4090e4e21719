"""A simulated run's session: all workers and the server in one process, on a virtual clock, with real gradients.

The user's loop gets the micro-batches of all workers in the order of virtual time, each on the parameters that its
worker would have. Everything that decides is what decides in a real run; so is everything that adds, steps and
pools. Only durations are made up.
"""

from __future__ import annotations

import atexit
import gc
import math
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any

import msgspec
import torch
from torch import nn
from torch.optim import Optimizer

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..runtime.place import Place
from ..runtime.worker import RunError
from ..simulation.cluster import Cluster, as_data
from ..simulation.drive import Simulation, Stuck
from ..simulation.numeric import Task
from ..trace import Writer
from .account import Account, EpochEnd, policy_for
from .batch import BatchInHand
from .chance import Seeds, put_back, set_seed
from .checks import OUTSIDE, check_batch, check_device
from .errors import ScriptError
from .guard import Guard
from .layout import Layout
from .loader import SeamLoader, fetch
from .look_ahead import LookAhead, Trail
from .master import Master, trained_parameters
from .metrics import Scalar, number
from .optimizer import SimulatedOptimizer
from .order import SamplerOrder
from .reproducible import Slate
from .session import Session
from .setup import Setup
from .store import FlatStore
from .virtual import VirtualWorkers
from .warmup import try_out

LEFT_EARLY = (
    "the loop over the loader was left before the end of epoch {epoch}, or never begun. In a simulated run it computes "
    "for all workers: let it end by itself, in every epoch; to end the run early, break out of session.epochs(...)"
)


class SimulatedSession(Session):
    """Server and workers at once: a worker's in the loop over the loader, the server's outside."""

    is_server = True

    def __init__(self, place: Place, device: torch.device) -> None:
        super().__init__(device)
        self._seeds = Seeds(place.seed)
        set_seed(self._seeds.script())
        self._place = place
        self._cluster = msgspec.convert(place.cluster, Cluster)
        self._batch = BatchInHand()
        self._epoch = -1
        self._installed = -1
        self._look_ahead: LookAhead | None = None
        self._slate: Slate | None = None
        self._trails: dict[int, Trail] = {}
        self._end: EpochEnd | None = None
        self._modes: list[tuple[nn.Module, bool]] = []
        self._task: Task | None = None
        self._simulation: Simulation | None = None
        self._closed = False

    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        place = self._place
        check_batch(setup.batch, place.workers)
        self._policy = policy_for(place.policy, setup.batch)
        self._model = setup.model
        self._layout = Layout(setup.model, setup.channels_last)
        self._layout.choose(None)  # by its speed, it would differ from one simulation to the next
        self._store = FlatStore(setup.model, trained_parameters(setup.optimizer))
        check_device(self._store.device, self.device)
        if place.micro_batch:
            with put_back():
                try_out(setup.model, setup.loader, self._store.statistics)
            self._slate = Slate(self._seeds, self._store, setup.model)
        self._setup = setup
        if self._policy.collects and self._policy.look_ahead:
            self._look_ahead = LookAhead(self._store, setup.optimizer)
        self._guard = Guard(setup.model, setup.optimizer, self._store)
        self._guard.watch()
        self._optimizer = SimulatedOptimizer(setup.optimizer, self._step)
        self._master = Master(setup, SamplerOrder(setup.loader, place.seed, reproducible=True))
        self._writer = Writer(place.record or tempfile.mkdtemp(prefix="evener-"))
        self._account = Account(self._writer, place)
        self._workers = VirtualWorkers(self._master, self._store, self._account)
        return setup.model, self._optimizer, SeamLoader(setup.loader, self.batches)

    # The run ------------------------------------------------------------------------------------------------

    def _epochs(self, count: int) -> Iterator[int]:
        simulation = self._start(count)
        stop = "the script left the loop"
        try:
            for epoch in range(count):
                self._epoch = epoch
                # What the script set to evaluate, it did as the server: workers do not see it.
                for module, training in self._modes:
                    module.training = training
                if self._slate is not None:
                    set_seed(self._seeds.epoch(epoch), devices=True)
                yield epoch
                if self._end is None or self._end.snapshot.epoch < epoch:
                    raise ScriptError(LEFT_EARLY.format(epoch=epoch))
            stop = ""
        finally:
            self._close(stop)
            self._store.install(self._master.published)
        finish = simulation.outcome.finish
        if finish is not None and not finish.ok:
            raise RunError(finish.reason)

    def _start(self, epochs: int) -> Simulation:
        positions = self._setup.positions
        settings = self._setup.settings(self._place, epochs)
        self._account.open(
            settings,
            self._policy,
            self._master,
            positions,
            kind="simulation",
            created="",  # the same run gives the same bytes
            notes={"cluster": as_data(self._cluster)},
        )
        self._simulation = Simulation(
            self._cluster,
            settings,
            self._policy,
            positions,
            observer=self._observe,
            keep_log=False,
            numeric=self._workers,
        )
        self._course = self._simulation.work(limit=math.inf)
        # A simulation makes many small objects, so the collector runs often, each time through all that was imported:
        # about 5% of a small model's run.
        gc.freeze()
        atexit.register(self._close, "the script ended")
        return self._simulation

    def _observe(self, coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        if isinstance(event, e.Joined):
            who = {"worker": event.worker, "name": f"worker {event.worker}", "device": str(self.device)}
            self._writer.note(now, "worker", **who)
        self._workers.heard(event)
        self._writer.event(now, event, commands)

    def _close(self, stop: str) -> None:
        """End the run if it goes on (``stop`` says why), then the record."""
        simulation = self._simulation
        if self._closed or simulation is None:
            return
        self._closed = True
        if stop:
            simulation.stop(stop)
        self._guard.release()
        self._store.statistics.release()
        self._layout.release()
        finish = simulation.outcome.finish
        ok, reason = (finish.ok and not stop, finish.reason) if finish is not None else (False, "it did not finish")
        fingerprint = self._master.fingerprint()
        for text in simulation.missed:
            self._writer.note(simulation.now, "warning", text=text)
        self._writer.end(simulation.now, ok=ok, reason=reason, parameters_sha256=fingerprint)
        self._writer.close()

    # Batches ------------------------------------------------------------------------------------------------

    def batches(self) -> Iterator[Any]:
        """The micro-batches of all workers, until the epoch ends; the user's inner loop."""
        if self._epoch < 0 or self._closed:
            raise ScriptError(OUTSIDE)
        if self._end is not None and self._end.snapshot.epoch >= self._epoch:
            return  # a second pass
        self._store.statistics.observe()
        # What the script did to the model since it evaluated it is no worker's.
        self._store.install_constants(bytearray(self._master.constants()))
        self._optimizer.on_worker = True
        self._guard.refresh()
        try:
            while (task := self._next_task()) is not None:
                yield self._begin(task)
                self._settle(task)
        finally:
            self._optimizer.on_worker = False
            self._store.statistics.release()
        self._modes = [(module, module.training) for module in self._model.modules()]
        self._receive()

    def _next_task(self) -> Task | None:
        """The next micro-batch, or ``None``: an epoch has ended."""
        try:
            match next(self._course, None):
                case Task() as task:
                    return task
                case c.EndEpoch():
                    return None
        except Stuck as stuck:
            raise RunError(f"the simulated run cannot go on: {stuck}. Does any host live long enough?") from None
        finish = self._simulation.outcome.finish if self._simulation is not None else None
        raise RunError(finish.reason if finish is not None else "the run has ended")

    def _begin(self, task: Task) -> Any:
        """Install what the worker has, and load its samples."""
        if self._installed != task.version:
            self._store.install(self._workers.parameters(task))
            self._installed = task.version
        if self._look_ahead is not None:
            self._shift(self._look_ahead, task)
        indices, metrics = self._workers.begin(task)
        self._task = task
        self._batch.begin(len(indices) // 8, metrics)
        self._guard.begin_batch()
        begins = task.ranges[0][0]
        if self._slate is not None:
            batch = fetch(self._setup.loader, indices, partial(self._seeds.keyed, epoch=task.epoch, ranges=task.ranges))
            statistics = self._workers.parameters(task)[: self._store.statistics.state_bytes]
            self._slate.wipe(task.epoch, begins, statistics, self._guard.skipped())
            return batch
        set_seed(self._seeds.batch(task.epoch, begins), devices=self.device.type != "cpu")
        return fetch(self._setup.loader, indices)

    def _shift(self, look_ahead: LookAhead, task: Task) -> None:
        trail = self._trails.setdefault(task.worker, Trail())
        data = self._workers.parameters(task)
        trail.move(task.version, self._store.values(data, self._store.statistics.state_bytes))
        look_ahead.shift(trail, task.step - task.version)

    def _settle(self, task: Task) -> None:
        """The script is through with the batch: contributed, or skipped."""
        self._task = None
        if self._look_ahead is not None:
            self._look_ahead.restore(self._trails[task.worker])
        if self._batch.leave():
            task.declined = True
        self._store.statistics.forget()  # also of forward passes since the step

    def _step(self, weight: float | None) -> None:
        if self._task is not None and self._task.declined:
            return  # the cluster says that this one is skipped
        weight = self._batch.contribute(weight)
        self._guard.check_state()
        self._guard.check_gradients()
        assert self._task is not None
        self._workers.add(self._task.worker, weight)

    def _receive(self) -> None:
        """Take an epoch's parameters into the model, for the script to evaluate."""
        self._end = self._workers.ends.popleft()
        self._store.install(self._end.snapshot.data)
        self._installed = -1

    def log(self, **values: Scalar) -> None:
        """In the loop over the loader, metrics of the batch at hand; after it, of the parameters received last."""
        if self._batch.open:
            self._batch.log(values)
        elif self._end is not None and self._simulation is not None:
            numbers = {name: number(value) for name, value in values.items()}
            self._account.note(self._simulation.now, self._end, numbers)
