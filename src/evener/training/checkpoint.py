"""Checkpoints of the server: all that it knows, taken between two steps, written beside training, and taken back."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..core.standing import Standing
from ..core.state import Settings
from ..runtime import keeping
from ..runtime.keeping import CheckpointError, Head
from ..runtime.numeric import Buffer
from ..runtime.past import Past
from ..runtime.place import Place
from ..runtime.protocol import mismatch
from ..runtime.schedule import Schedule
from ..runtime.scribe import Scribe
from ..runtime.sealed import Body, Out
from ..runtime.server import Server
from ..runtime.worker import RunError
from ..trace import Resumed, Writer
from .account import Account, EpochEnd
from .chance import chance_state
from .fingerprint import server_mark
from .master import Master, Snapshot
from .setup import Setup

POLL = 0.01
"""Seconds between two looks whether a checkpoint that somebody waits for is there."""

OTHER_DATA = "a run goes on with the data that it began with. Give the script those, or begin another run."
"""What is valid, and what to do."""

Script = Callable[[], tuple[int, list[EpochEnd]]]
"""Says which epoch the script is in, and the ends of epochs that it has not done with."""


class Checkpoints:
    """Takes checkpoints of a server, when they are due and when they are asked for.

    Args:
        server, master, account, setup, place: of the run.
        settings: the coordinator's.
        script: where the script on the server is.
        scribe: writes them.
        schedule: says when one is due.
        part: number of the record's part that is being written.
        number: of the first checkpoint.
    """

    def __init__(
        self,
        server: Server,
        master: Master,
        account: Account,
        setup: Setup,
        place: Place,
        settings: Settings,
        script: Script,
        scribe: Scribe,
        schedule: Schedule,
        part: int,
        number: int,
    ) -> None:
        self.scribe = scribe
        self._server = server
        self._master = master
        self._account = account
        self._setup = setup
        self._place = place
        self._settings = settings
        self._script = script
        self._part = part
        self._number = number
        self._data = _digest_of(setup)
        self._schedule = schedule
        self._copy_s = 0.0
        self._first = True
        self._asked = False

    def ask(self) -> None:
        """One is wanted as soon as can be; from any thread, and from a signal's handler."""
        self._asked = True
        # A handler may have stopped the main thread while it rings itself, and would wait for it for ever.
        threading.Thread(target=self._server.listener.wake.ring, daemon=True).start()

    def take_now(self, seconds: float) -> None:
        """Have one taken and written, from another thread; gives up after so many seconds."""
        until = time.monotonic() + seconds
        self.ask()
        run = self._server.coordinator
        while (self._asked or self.scribe.busy) and not run.finished and time.monotonic() < until:
            self.scribe.wait(POLL)
            time.sleep(POLL)

    def look(self) -> None:
        """In the loop thread, between two steps: take one if it is due."""
        now, schedule = self._server.now(), self._schedule
        if self.scribe.busy:
            if schedule.overdue(now):
                schedule.taken(now)
                self.scribe.late()
            return
        # As if there were one core for everything: where there are more, they cost less.
        cost = self._copy_s + self.scribe.cpu_s
        if not (self._asked or schedule.due(now, self._server.coordinator.state.version, cost)):
            return
        standing = self._server.coordinator.standing()
        if standing is None:
            return
        schedule.taken(now)
        try:
            self._take(standing, now)
        except Exception as error:  # of a scheduler of the user's, for one: training goes on
            self.scribe.complain(f"a checkpoint could not be taken ({error!r}): training goes on without it.")
        self._asked = False  # not before it is being written: who waits for it must not miss it

    def _take(self, standing: Standing, now: float) -> None:
        began = time.monotonic()
        epoch, ends = self._script()
        head = Head(
            evener=metadata.version("evener"),
            number=self._number,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            place=self._place,
            settings=self._settings,
            entries=self._master.entries,
            positions=self._setup.positions,
            data=self._data,
            standing=standing,
            ended=list(self._server.ended),
            part=self._part,
            epoch=epoch,
            targets=self._account.targets,
        )
        state = {
            **self._master.state(),
            "orders": self._server.orders,
            "ends": [(end.snapshot.epoch, end.snapshot.version, end.samples, end.snapshot.data) for end in ends],
            "metrics": self._account.sums,
            "chance": chance_state(self._setup.loader),
        }
        self._copy_s = time.monotonic() - began
        writer = self._server.writer
        writer.note(now, "checkpoint", number=self._number, version=standing.version, copy_s=self._copy_s)
        first, self._first = self._first, False
        self.scribe.write(self._number, partial(_made, writer, head, state, first))
        self._number += 1


def _made(writer: Writer, head: Head, state: dict[str, Any], first: bool) -> tuple[bytes, Body]:
    writer.sync()  # the record is to have the note of a checkpoint that there is
    # In the writer's thread: these bytes never change.
    state["orders"] = {index: _tensor(data) for index, data in state["orders"].items()}
    state["ends"] = [(*end[:3], _tensor(end[3])) for end in state["ends"]]
    if first:  # better known now than when it is needed
        buffer = io.BytesIO()
        torch.save(state, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)

    def body(out: Out) -> None:
        torch.save(state, out)  # type: ignore[arg-type]  # it writes and flushes, and does nothing else

    return keeping.encode(head), body


def _tensor(data: Buffer) -> torch.Tensor:
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def _bytes(tensor: torch.Tensor) -> Buffer:
    return memoryview(tensor.numpy().tobytes())


def _digest_of(setup: Setup) -> str:
    mark = server_mark(setup.loader.dataset)
    return mark.digest if mark is not None else ""


# Going on ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint that a server goes on from.

    Attributes:
        head: what it is of.
        unsound: newer ones that were no use, and why.
    """

    head: Head
    state: dict[str, Any]
    unsound: tuple[str, ...]

    @classmethod
    def of(cls, folder: str) -> Kept:
        """The newest sound checkpoint in a run's folder.

        Raises:
            RunError: there is none, or it is of another version.
        """
        try:
            found = keeping.newest(Path(folder))
            body = keeping.read_body(found.path)
        except CheckpointError as error:
            raise RunError(str(error)) from None
        try:
            state = torch.load(io.BytesIO(body), weights_only=True)
        except Exception as error:
            raise RunError(
                f"{found.path} holds something that is no tensor and no plain value, and is not loaded: {error}"
            ) from None
        return cls(found.head, state, found.unsound)

    def check(self, setup: Setup, place: Place, master: Master) -> None:
        """Whether it is of this run.

        Raises:
            RunError: of another model, data set or loader.
        """
        head = self.head
        if head.place.run != place.run:
            raise RunError(f"the checkpoint is of the run {head.place.run}, not {place.run}")
        if difference := mismatch(head.entries, master.entries):
            words = difference.replace("on the server", "in the checkpoint").replace("the server", "the checkpoint")
            raise RunError(f"the checkpoint is of another model: {words}. Resume with the script that began the run.")
        if head.positions != setup.positions:
            raise RunError(
                f"the checkpoint is of a data set with {head.positions} samples an epoch, here are {setup.positions}: "
                f"{OTHER_DATA}"
            )
        if head.data != _digest_of(setup):
            raise RunError(f"the checkpoint is of another data set of the same size (its samples differ): {OTHER_DATA}")

    def check_settings(self, settings: Settings) -> None:
        """Whether the script asks for the same.

        Raises:
            RunError: for something else.
        """
        for name in ("batch", "epochs", "drop_last", "seed", "micro_batch"):
            before, now = getattr(self.head.settings, name), getattr(settings, name)
            if before != now:
                raise RunError(
                    f"the run began with {name} {before}, but here it is {now}: a run goes on as it began. "
                    "Set it back, or begin another run."
                )

    def past(self, earlier: int) -> Past:
        """What the server starts from, the ``earlier``-th after the first."""
        orders = {index: _bytes(tensor) for index, tensor in self.state["orders"].items()}
        standing = replace(self.head.standing, resumed=earlier)
        return Past(standing, orders, tuple(self.head.ended))

    def resumed(self, earlier: int) -> Resumed:
        """What its part of the record begins with; there are ``earlier`` ones."""
        head = self.head
        standing = replace(head.standing, resumed=earlier)
        return Resumed(part=head.part, checkpoint=head.number, standing=standing, ended=head.ended)

    def ends(self) -> list[EpochEnd]:
        """The ends of epochs that the script had not done with; their times are lost."""
        return [
            EpochEnd(Snapshot(epoch, version, _bytes(data)), samples, 0.0)
            for epoch, version, samples, data in self.state["ends"]
        ]
