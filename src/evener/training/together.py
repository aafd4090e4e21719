"""A link for several: the processes of a node that are one worker to the server.

The first one has the link. What it is told to do it hands on; of a ticket's samples each takes a part. They agree after
each micro-batch, so that its time is the slowest one's, and who skips it skips it for all.
"""

from __future__ import annotations

import dataclasses

import msgspec

from ..runtime import protocol as p
from ..runtime.numeric import Buffer
from ..runtime.work import Compute, Install, Push, Work
from ..runtime.worker import Link, RunError
from .group import Group, part_of


class _Opened(msgspec.Struct, frozen=True):
    """The server's terms, and what it has; or why it does not want this worker."""

    why: str = ""
    terms: p.Welcome | None = None
    constants: bytes = b""
    version: int = -1
    data: bytes = b""


class _Told(msgspec.Struct, frozen=True):
    """One thing to do; nothing: the run is over. ``ahead`` are the tickets in the queue, for who loads ahead."""

    generation: int
    compute: Compute | None = None
    push: Push | None = None
    version: int = -1
    data: bytes | None = None
    ahead: list[Compute] = []
    why: str = ""


class _Ours:
    """What both kinds do alike."""

    def __init__(self, group: Group) -> None:
        self.generation = 0
        self._group = group

    def _part(self, work: Compute) -> Compute:
        mine = part_of(len(work.indices) // 8, self._group.rank, self._group.size)
        return dataclasses.replace(work, indices=work.indices[mine.start * 8 : mine.stop * 8])

    def _parts(self, queue: list[Compute]) -> list[Compute]:
        return [part for work in queue if (part := self._part(work)).indices]


class FirstLink(_Ours):
    """The first one's; see :class:`~evener.runtime.worker.Link` for what it does.

    Args:
        link: to the server.
        group: who hears what it says.
        mark: what all must have in common, as bytes.
    """

    def __init__(self, link: Link, group: Group, mark: bytes) -> None:
        super().__init__(group)
        self._link = link
        self._mark = mark

    def open(self) -> tuple[p.Welcome, bytearray, Install]:
        """Join, all together.

        Raises:
            RunError: refused, or nobody answers, or the processes of this node have different models or data.
        """
        try:
            differing = [rank for rank, mark in enumerate(self._group.gather(self._mark)) if mark != self._mark]
            if differing:
                raise RunError(
                    f"the processes {differing} of this node have another model or data set than the first: all must "
                    "run the same script with the same arguments"
                )
            terms, constants, install = self._link.open()
            if terms.settings.get("micro_batch"):
                raise RunError("a reproducible run cannot have group='node': leave one of them out")
        except RunError as error:
            self._say(_Opened(str(error)))
            raise
        self._say(_Opened("", terms, bytes(constants), install.version, bytes(install.data)))
        return terms, constants, install

    def ready(
        self,
        version: int,
        pace: float | None,
        lookahead: int,
        imports_s: float = 0.0,
        probe_s: float = 0.0,
        channels_last: bool = False,
    ) -> None:
        """All are warmed up; together they are as many times as fast as the slowest."""
        paces: list[float | None] = [msgspec.msgpack.decode(one) for one in self._group.gather(_encode(pace))]
        known = [one for one in paces if one is not None]
        together = min(known) * len(paces) if len(known) == len(paces) else None
        self._link.ready(version, together, lookahead, imports_s, probe_s, channels_last)

    def work(self) -> Work | None:
        """The next thing to do, for all."""
        try:
            work = self._link.work()
        except RunError as error:
            self._say(_Told(self.generation, why=str(error)))
            raise
        self.generation = self._link.generation
        match work:
            case Compute():
                self._say(_Told(self.generation, compute=work, ahead=self._link.queued()))
                return self._part(work)
            case Push():
                self._say(_Told(self.generation, push=work))
            case Install():
                self._say(_Told(self.generation, version=work.version, data=bytes(work.data)))
            case None:
                self._say(_Told(self.generation))
        return work

    def queued(self) -> list[Compute]:
        """This one's parts of what is to come."""
        return self._parts(self._link.queued())

    def counts(self, generation: int) -> bool:
        """Whether all have their part of the micro-batch, and the server still waits for it."""
        if self._group.agree(self._link.counts(generation)):
            return True
        self._link.done(True, generation)
        return False

    def done(self, declined: bool, generation: int) -> bool:
        """The micro-batch is computed, or skipped by this one and therefore by all."""
        if declined:
            self._group.agree(False)
        return self._link.done(declined, generation)

    def push(
        self, work: Push, payload: Buffer, weight: float, present: bytes, metrics: dict[str, tuple[float, float]]
    ) -> None:
        """Hand over everybody's sum."""
        self._link.push(work, payload, weight, present, metrics)

    def sent(self) -> bool:
        """As the link's."""
        return self._link.sent()

    def wait_sent(self) -> None:
        """As the link's."""
        self._link.wait_sent()

    def give_back(self, install: Install) -> None:
        """As the link's."""
        self._link.give_back(install)

    def final(self) -> Install | None:
        """The final parameters, for all."""
        try:
            final = self._link.final()
        except RunError as error:
            self._say(_Told(self.generation, why=str(error)))
            raise
        told = (
            _Told(self.generation, version=final.version, data=bytes(final.data)) if final else _Told(self.generation)
        )
        self._say(told)
        return final

    def close(self, reason: str) -> None:
        """As the link's."""
        self._link.close(reason)

    def _say(self, told: _Opened | _Told) -> None:
        self._group.broadcast(_encode(told))


class MemberLink(_Ours):
    """Another one's: it hears from the first what to do.

    Args:
        group: of which this is one.
        mark: what all must have in common, as bytes.
    """

    def __init__(self, group: Group, mark: bytes) -> None:
        super().__init__(group)
        self._mark = mark
        self._ahead: list[Compute] = []

    def open(self) -> tuple[p.Welcome, bytearray, Install]:
        """Join with the first.

        Raises:
            RunError: it was refused.
        """
        self._group.gather(self._mark)
        opened = msgspec.msgpack.decode(self._group.broadcast(), type=_Opened)
        if opened.terms is None:
            raise RunError(opened.why)
        return opened.terms, bytearray(opened.constants), Install(opened.version, bytearray(opened.data))

    def ready(
        self,
        version: int,
        pace: float | None,
        lookahead: int,
        imports_s: float = 0.0,
        probe_s: float = 0.0,
        channels_last: bool = False,
    ) -> None:
        """Tell the first."""
        self._group.gather(_encode(pace))

    def work(self) -> Work | None:
        """This one's part of the next thing to do."""
        while True:
            told = self._hear()
            self._ahead = told.ahead
            if told.compute is not None:
                part = self._part(told.compute)
                if part.indices:
                    return part
                self._group.agree(True)  # a ticket of fewer samples than there are processes
            else:
                return told.push or self._install(told)

    def queued(self) -> list[Compute]:
        """This one's parts of what is to come."""
        return self._parts(self._ahead)

    def counts(self, generation: int) -> bool:
        """Whether all have their part of the micro-batch."""
        return self._group.agree(True)

    def done(self, declined: bool, generation: int) -> bool:
        """The micro-batch is computed, or skipped by this one and therefore by all."""
        if declined:
            self._group.agree(False)
        return True

    def push(
        self, work: Push, payload: Buffer, weight: float, present: bytes, metrics: dict[str, tuple[float, float]]
    ) -> None:
        """The first one does."""

    def sent(self) -> bool:
        """Nothing is under way."""
        return True

    def wait_sent(self) -> None:
        """Nothing is under way."""

    def give_back(self, install: Install) -> None:
        """It is this process's own."""

    def final(self) -> Install | None:
        """The final parameters, if newer than those installed last."""
        return self._install(self._hear())

    def close(self, reason: str) -> None:
        """The first one says goodbye."""

    def _hear(self) -> _Told:
        told = msgspec.msgpack.decode(self._group.broadcast(), type=_Told)
        if told.why:
            raise RunError(told.why)
        self.generation = told.generation
        return told

    @staticmethod
    def _install(told: _Told) -> Install | None:
        return Install(told.version, bytearray(told.data)) if told.data is not None else None


def _encode(what: object) -> bytes:
    return msgspec.msgpack.encode(what)
