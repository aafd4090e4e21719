"""The server's end of bulk: versions that workers pull, contributions that they push."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .. import protocol as p
from ..numeric import Buffer
from .chunks import Assembly, cut

Send = Callable[[bytes, p.Message, Buffer], bool]
"""Queues a message and its chunk for a worker, without copying the chunk; whether the worker is still connected."""


@dataclass(slots=True)
class _Worker:
    """One worker's bulk: it wants anything newer than version ``pull``, and has begun to send the push ``coming``."""

    pull: int | None = None
    coming: tuple[p.Push, Assembly] | None = None
    pushed: bool = False


class ServerBulk:
    """Answers pulls and receives pushes. Workers are known by the name their connections carry.

    Args:
        parameters: version 0, as bytes that never change.
        constants: state that is not trained.
        push_bytes: of one contribution.
        send: to a worker's bulk connection.

    Attributes:
        version: the newest published.
    """

    def __init__(self, parameters: Buffer, constants: Buffer, push_bytes: int, send: Send) -> None:
        self.version = 0
        self.constants = constants
        self._parameters = parameters
        self._push_bytes = push_bytes
        self._send = send
        self._workers: dict[bytes, _Worker] = {}

    def join(self, name: bytes) -> None:
        """From now on this worker is served; whatever was under way under its name no longer counts."""
        self._workers[name] = _Worker()

    def forget(self, name: bytes) -> None:
        """The worker is gone."""
        self._workers.pop(name, None)

    # Down: versions and untrained state -----------------------------------------------------------------------

    def publish(self, version: int, parameters: Buffer) -> None:
        """These parameters (bytes that never change) are the newest: send them to all who wait."""
        self.version, self._parameters = version, parameters
        for name in self._workers:
            self._answer(name)

    def pull(self, name: bytes, newer_than: int) -> None:
        """The worker wants anything newer than this, now or when there is something."""
        self._workers[name].pull = newer_than
        self._answer(name)

    def fetch(self, name: bytes) -> None:
        """The worker wants the untrained state."""
        self._send_all(name, self.constants, p.Constants)

    def _answer(self, name: bytes) -> None:
        worker, version = self._workers[name], self.version
        # Who could not be sent it all still waits: its connection may come back before the next version.
        if (
            worker.pull is not None
            and version > worker.pull
            and self._send_all(name, self._parameters, lambda offset: p.Version(version, offset))
        ):
            worker.pull = None

    def _send_all(self, name: bytes, data: Buffer, head: Callable[[int], p.Message]) -> bool:
        return all(self._send(name, message, chunk) for message, chunk in cut(data, head))

    # Up: contributions ----------------------------------------------------------------------------------------

    def push(self, name: bytes, message: p.Push | p.Part, chunk: Buffer) -> tuple[p.Push, Buffer] | None:
        """Take a chunk of a contribution. Returns head and bytes of what is whole now; the bytes may be kept.

        Raises:
            ProtocolError: chunks that are out of order, or too many.
        """
        worker = self._workers[name]
        if isinstance(message, p.Push):
            worker.coming = None
            worker.pushed = True
            if len(chunk) == self._push_bytes:
                return message, chunk  # all in one: it is used where it lies
            worker.coming = message, Assembly(f"push {message.push}", bytearray(self._push_bytes))
            offset = 0
        else:
            if not worker.pushed:
                # Its beginning came before the worker was given up and welcomed back. Its tickets are others' now.
                return None
            offset = message.offset
            if worker.coming is None or worker.coming[0].push != message.push:
                raise p.ProtocolError(f"part {offset} of push {message.push} is out of order")
        head, assembly = worker.coming
        if not assembly.add(offset, chunk):
            return None
        worker.coming = None
        return head, memoryview(assembly.buffer)
