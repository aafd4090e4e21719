"""The server's session: parameters and optimizer live here; the inner loop serves instead of yielding."""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.state import Settings
from ..runtime.keeping import Keeper
from ..runtime.keys import ServerKeys
from ..runtime.place import Place, since
from ..runtime.protocol import chunks
from ..runtime.schedule import Schedule
from ..runtime.scribe import Scribe
from ..runtime.server import Server
from ..runtime.transport import QUEUE, Listener
from ..runtime.worker import RunError
from ..trace import HeldError, Writer, set_aside
from .account import Account, EpochEnd, policy_for
from .chance import set_chance_state
from .checkpoint import Checkpoints, Kept
from .checks import OUTSIDE, check_batch, check_device
from .errors import ScriptError
from .fingerprint import server_mark
from .leaving import Leaving
from .loader import SeamLoader
from .master import Master, trained_parameters
from .metrics import Scalar, number
from .optimizer import ServerOptimizer
from .order import SamplerOrder
from .session import Session
from .setup import Setup
from .store import FlatStore, packing_of
from .weights import leave_weights, remove_weights

FAREWELL = 1.0
"""Seconds that workers get for a goodbye when the run is broken off."""

LEAVING = 20.0
"""Seconds that a last checkpoint may take, and the final weights until the user is told what is waited for."""


class ServerSession(Session):
    """Serves tickets in a thread of its own while the script evaluates what it is given."""

    is_server = True

    def __init__(self, place: Place, device: torch.device, plain_outside: bool = False) -> None:
        super().__init__(device)
        self._place = place
        self._plain_outside = plain_outside
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._changed = threading.Condition()
        self._ends: deque[EpochEnd] = deque()
        self._received: EpochEnd | None = None
        self._epoch = 0
        self._over = False
        self._error: BaseException | None = None
        self._leaving = Leaving(self._last_checkpoint)
        self._kept: Kept | None = None
        self._checkpoints: Checkpoints | None = None
        self._closed = False

    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        place = self._place
        self._imports_s = since(place.spawned)
        check_batch(setup.batch, place.workers)
        self._policy = policy_for(place.policy, setup.batch)
        self._setup = setup
        self._view = FlatStore(setup.model, trained_parameters(setup.optimizer))
        check_device(self._view.device, self.device)
        optimizer = ServerOptimizer(setup.optimizer)
        self._master = Master(setup, SamplerOrder(setup.loader, place.seed, bool(place.micro_batch)))
        if place.resume:
            self._kept = Kept.of(place.resume)
            self._kept.check(setup, place, self._master)
            self._master.load(self._kept.state)
            self._view.install(self._master.published)
        self._packing = packing_of(place, self._master.store)
        self._data = server_mark(setup.loader.dataset, place.compare_data) if place.keys else None
        waiting = len(chunks(self._master.store.parameter_bytes)) + len(chunks(len(self._master.constants())))
        self._listener = Listener(
            place.address,
            ServerKeys(Path(place.keys)) if place.keys else place.token,
            queue=QUEUE + 2 * waiting,
            plain_outside=self._plain_outside,
        )
        folder = place.record or tempfile.mkdtemp(prefix="evener-")
        self._writer = Writer(folder, every=0.0, behind=True) if place.prompt else Writer(folder, behind=True)
        self._account = Account(self._writer, place)
        return setup.model, optimizer, SeamLoader(setup.loader, self._no_batches)

    # The run ------------------------------------------------------------------------------------------------

    def _epochs(self, count: int) -> Iterator[int]:
        self._start(count)
        stop = "the script on the server left the loop"
        try:
            for epoch in range(self._epoch, count):
                self._epoch = epoch
                yield epoch
                self.receive()
            stop = ""
        finally:
            self._close(stop)
        finish = self._server.finish if self._server is not None else None
        if self._error is not None:
            raise self._error
        if finish is not None and not finish.ok:
            raise RunError(finish.reason)

    def _start(self, epochs: int) -> None:
        place = self._place
        settings = self._setup.settings(place, epochs)
        self._cpu_before = time.process_time()
        kept, earlier, past = self._kept, 0, None
        if kept is not None:
            try:
                kept.check_settings(settings)
                earlier = set_aside(place.record)
            except (RunError, HeldError) as error:
                self._listener.close()
                raise RunError(str(error)) from None
            past = kept.past(earlier)
            self._epoch = kept.head.epoch
            self._ends.extend(kept.ends())
            self._account.resume(kept.state["metrics"], kept.head.targets)
            set_chance_state(kept.state["chance"], self._setup.loader)
            remove_weights(Path(place.record))  # of a server that was stopped: they are not the final ones
        resumed = kept.resumed(earlier) if kept is not None else None
        self._account.open(settings, self._policy, self._master, self._setup.positions, resumed=resumed)
        self._server = Server(
            self._listener,
            Coordinator(settings, self._policy, past.standing if past is not None else None),
            self._master,
            self._writer,
            place.run,
            self._account.add,
            self._end_epoch,
            memory=not place.tcp,
            past=past,
            data=self._data,
            packing=self._packing,
        )
        if kept is not None:
            for unsound in kept.unsound:
                number = kept.head.number
                self._warn(f"a newer checkpoint was of no use: {unsound}. The run goes on from checkpoint {number}.")
        if place.checkpoint_every > 0 and place.record:
            self._keep(settings, earlier + 1)
        launched_s = since(place.launched)
        self._writer.note(self._server.now(), "start", worker=-1, imports_s=self._imports_s, launched_s=launched_s)
        self._thread = threading.Thread(target=self._serve, name="evener-server", daemon=True)
        atexit.register(self._close, "the script on the server ended")
        self._thread.start()

    def _keep(self, settings: Settings, part: int) -> None:
        """Take checkpoints from now on: every so often, when SIGUSR1 asks for one, and before a signal ends this."""
        assert self._server is not None
        keeper = Keeper(Path(self._place.record), self._place.keep_checkpoints)
        scribe = Scribe(keeper, self._warn, note=self._note_kept)
        went_on_from = self._kept.head.standing.version if self._kept is not None else None
        schedule = Schedule(self._place.checkpoint_every, self._place.checkpoint_share, went_on_from)
        run = self._server, self._master, self._account, self._setup, self._place, settings
        kept = Checkpoints(*run, self._where, scribe, schedule, part, keeper.next_number())
        self._checkpoints = kept
        self._server.between = kept.look
        if threading.current_thread() is threading.main_thread():
            self._leaving.listen()
            if signal.getsignal(signal.SIGUSR1) in (signal.SIG_DFL, signal.SIG_IGN):  # else it is the script's
                signal.signal(signal.SIGUSR1, lambda *_: kept.ask())

    def _last_checkpoint(self) -> int:
        assert self._checkpoints is not None
        if self._thread is not None and self._thread.is_alive():
            self._checkpoints.take_now(LEAVING)
        return self._checkpoints.scribe.written

    def _where(self) -> tuple[int, list[EpochEnd]]:
        # Without the lock: whatever the script is doing, each end is in one place or in both.
        epoch, received = self._epoch, self._received
        ends = {end.snapshot.epoch: end for end in list(self._ends)}
        if received is not None and received.snapshot.epoch >= epoch:
            ends[received.snapshot.epoch] = received  # the script may be busy with it
        return epoch, [end for _, end in sorted(ends.items())]

    def _note_kept(self, number: int, path: Path, seconds: float, cpu_s: float) -> None:
        assert self._server is not None
        with contextlib.suppress(OSError):
            size = path.stat().st_size
            self._writer.note(self._server.now(), "kept", number=number, bytes=size, seconds=seconds, cpu_s=cpu_s)

    def _warn(self, text: str) -> None:
        assert self._server is not None
        self._writer.note(self._server.now(), "warning", text=text)
        if self._writer.failing:  # else it is read there
            print(f"evener: {text}", file=sys.stderr, flush=True)

    def _save(self) -> None:
        """Leave the final weights for programs that do not know evener, if the run came to an end."""
        finish = self._server.finish if self._server is not None else None
        folder = self._place.record
        if not folder or self._error is not None or finish is None or not finish.ok:
            return
        then = f". With --resume {folder} it is tried again" if self._checkpoints is not None else ""
        leave_weights(self._setup.model, Path(folder), LEAVING, then)

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
            self._listener.close()  # who looks for this server sees that it waits for nobody

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
            self._received = self._ends[0]
            self._ends.popleft()
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
        stop = self._leaving.reason or stop
        if stop:
            self._server.farewell = FAREWELL
            self._server.post(e.StopAsked(stop))
        self._thread.join()
        if self._checkpoints is not None and not self._checkpoints.scribe.wait(LEAVING):
            print("evener: the last checkpoint is not written yet: the disk is slow, or hangs.", file=sys.stderr)
        finish = self._server.finish
        if self._error is not None or finish is None:
            ok, reason = False, f"the server failed: {self._error!r}"
        else:
            ok, reason = finish.ok and not stop, finish.reason
        self._writer.end(
            self._server.now(),
            ok=ok,
            reason=reason,
            server_cpu_s=time.process_time() - self._cpu_before,
            workers_cpu_s=self._server.workers_cpu,
            parameters_sha256=self._master.fingerprint(),
        )
        self._writer.close()
        # Here, as a signal's exit may never come back to the generator that the script's loop runs on.
        self._view.install(self._master.published)
        self._save()

    # Metrics ------------------------------------------------------------------------------------------------

    def log(self, **values: Scalar) -> None:
        """Metrics of the parameters received last."""
        if self._received is None or self._server is None:
            return
        numbers = {name: number(value) for name, value in values.items()}
        self._account.note(self._server.now(), self._received, numbers)

    def _end_epoch(self, command: c.EndEpoch, now: float) -> None:
        # In the loop thread.
        assert self._server is not None
        end = self._account.end_epoch(self._master.snapshots.popleft(), self._server.applied, now)
        with self._changed:
            self._ends.append(end)
            self._changed.notify_all()
