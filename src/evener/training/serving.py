"""The server's session: parameters and optimizer live here; the inner loop serves instead of yielding."""

from __future__ import annotations

import atexit
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.policies import POLICIES, Policy
from ..core.state import Settings
from ..runtime.place import Place, PolicyChoice
from ..runtime.server import Server, process_cpu
from ..runtime.transport import Listener
from ..runtime.worker import RunError
from ..trace import Writer
from .checks import OUTSIDE, check_batch, check_device
from .loader import SeamLoader
from .master import Master, Snapshot, trained_parameters
from .optimizer import IdleOptimizer, ScriptError
from .order import SamplerOrder
from .session import Scalar, Session, number
from .setup import Setup
from .store import FlatStore

FAREWELL = 1.0
"""Seconds that workers get for a goodbye when the run is broken off."""


@dataclass(frozen=True, slots=True)
class _EpochEnd:
    snapshot: Snapshot
    samples: int
    at: float


class ServerSession(Session):
    """Serves tickets in a thread of its own while the script evaluates what it is given."""

    is_server = True

    def __init__(self, place: Place, device: torch.device) -> None:
        super().__init__(device)
        self._place = place
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._ends: deque[_EpochEnd] = deque()
        self._received: _EpochEnd | None = None
        self._epoch = 0
        self._over = False
        self._error: BaseException | None = None
        self._reason = ""
        self._sums: dict[str, tuple[float, float]] = {}
        self._targets = dict(place.targets)
        self._closed = False

    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        place = self._place
        check_batch(setup.batch, place.workers)
        self._policy = build_policy(place.policy)
        self._batch = setup.batch
        self._drop_last = setup.loader.drop_last
        self._positions = len(setup.loader.sampler)  # type: ignore[arg-type]
        self._view = FlatStore(setup.model, trained_parameters(setup.optimizer))
        check_device(self._view.device, self.device)
        self._master = Master(setup, SamplerOrder(setup.loader, place.seed))
        self._listener = Listener(place.address, place.token)
        self._writer = Writer(place.record or tempfile.mkdtemp(prefix="evener-"))
        return setup.model, IdleOptimizer(setup.optimizer), SeamLoader(setup.loader, self._no_batches)

    # The run ------------------------------------------------------------------------------------------------

    def _epochs(self, count: int) -> Iterator[int]:
        self._start(count)
        stop = "the script on the server left the loop"
        try:
            for epoch in range(count):
                self._epoch = epoch
                yield epoch
                self.receive()
            stop = ""
        finally:
            self._close(stop)
            self._view.install(self._master.published)
        finish = self._server.finish if self._server is not None else None
        if self._error is not None:
            raise self._error
        if finish is not None and not finish.ok:
            raise RunError(finish.reason)

    def _start(self, epochs: int) -> None:
        place = self._place
        settings = Settings(
            batch=self._batch,
            epochs=epochs,
            workers=place.workers,
            patience=place.patience,
            drop_last=self._drop_last,
            seed=place.seed,
        )
        import __main__

        self._cpu_before = process_cpu()
        self._writer.header(
            run=place.run,
            settings=settings,
            policy=self._policy,
            parameters=self._master.store.size,
            script=getattr(__main__, "__file__", ""),
            positions=self._positions,
            notes={**place.notes, **({"targets": place.targets} if place.targets else {})},
        )
        self._server = Server(
            self._listener,
            Coordinator(settings, self._policy),
            self._master,
            self._writer,
            place.run,
            self._add_metrics,
            self._end_epoch,
        )
        self._thread = threading.Thread(target=self._serve, name="evener-server", daemon=True)
        atexit.register(self._close, "the script on the server ended")
        self._thread.start()

    def _serve(self) -> None:
        assert self._server is not None
        try:
            self._server.run()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def receive(self) -> None:
        """Wait for the end of the epoch under way and take its parameters into the model.

        Raises:
            RunError: the run ended before.
        """
        if self._server is None:
            raise ScriptError(OUTSIDE)
        if self._received is not None and self._received.snapshot.epoch >= self._epoch:
            return
        with self._changed:
            while not self._ends:
                if self._error is not None:
                    raise self._error
                if self._over:
                    finish = self._server.finish
                    raise RunError(finish.reason if finish else "the server ended")
                # Bounded, so that Ctrl-C is heard on every platform.
                self._changed.wait(0.5)
            self._received = self._ends.popleft()
        self._view.install(self._received.snapshot.data)
        self._server.post(e.SnapshotTaken(self._received.snapshot.epoch))

    def _no_batches(self) -> Iterator[Any]:
        """The user's inner loop: it lasts until the epoch is done."""
        self.receive()
        return iter(())

    def _close(self, stop: str) -> None:
        """End the run if it goes on (``stop`` says why), then the record."""
        if self._closed or self._server is None or self._thread is None:
            return
        self._closed = True
        if stop:
            self._server.farewell = FAREWELL
            self._server.post(e.StopAsked(stop))
        self._thread.join()
        self._listener.close()
        finish = self._server.finish
        if self._error is not None or finish is None:
            ok, reason = False, f"the server failed: {self._error!r}"
        else:
            ok, reason = finish.ok and not stop, finish.reason
        self._writer.end(
            self._server.now(),
            ok=ok,
            reason=reason,
            server_cpu_s=process_cpu() - self._cpu_before,
            workers_cpu_s=self._server.workers_cpu,
        )
        self._writer.close()

    # Metrics ------------------------------------------------------------------------------------------------

    def log(self, **values: Scalar) -> None:
        """Metrics of the parameters received last."""
        end = self._received
        if end is None:
            return
        numbers = {name: number(value) for name, value in values.items()}
        self._note(end, numbers, "server")

    def _note(self, end: _EpochEnd, values: dict[str, float], source: str) -> None:
        assert self._server is not None
        self._writer.note(
            self._server.now(),
            "log",
            epoch=end.snapshot.epoch,
            version=end.snapshot.version,
            samples=end.samples,
            at=end.at,
            values=values,
            source=source,
        )
        for name, value in values.items():
            wanted = self._targets.get(name)
            if wanted is not None and reached(name, value, wanted):
                del self._targets[name]
                self._writer.note(self._server.now(), "target", name=name, value=wanted, reached=value, at=end.at)

    def _add_metrics(self, metrics: dict[str, tuple[float, float]]) -> None:
        for name, (total, weight) in metrics.items():
            before = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = before[0] + total, before[1] + weight

    def _end_epoch(self, command: c.EndEpoch, now: float) -> None:
        # In the loop thread.
        assert self._server is not None
        end = _EpochEnd(self._master.snapshots.popleft(), self._server.applied, now)
        means = {name: total / weight for name, (total, weight) in self._sums.items() if weight}
        self._sums.clear()
        if means:
            self._note(end, means, "workers")
        with self._changed:
            self._ends.append(end)
            self._changed.notify_all()


def build_policy(choice: PolicyChoice) -> Policy:
    """The policy that a launcher chose.

    Raises:
        ValueError: no policy has this name, or it does not have these options.
    """
    kind = POLICIES.get(choice.name)
    if kind is None:
        raise ValueError(f"no policy is called {choice.name!r}; valid are {', '.join(sorted(POLICIES))}")
    try:
        return kind(**choice.options)
    except TypeError as error:
        raise ValueError(f"policy {choice.name!r} does not take {sorted(choice.options)}: {error}") from error


def reached(name: str, value: float, wanted: float) -> bool:
    """Whether a metric is as good as wanted: at least, or at most for what is called a loss or an error."""
    lower_is_better = "loss" in name or "error" in name
    return value <= wanted if lower_is_better else value >= wanted
