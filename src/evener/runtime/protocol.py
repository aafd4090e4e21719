"""The wire protocol, pure: messages to bytes and back. Nothing here touches a socket.

A message is ``[type name, fields]`` in msgpack; bulk follows as a frame of its own. Types outside :data:`MESSAGES`
and wrong field types are refused while decoding. Core events that cross the wire are messages as they are.
"""

from __future__ import annotations

import msgspec

from ..core import events as e
from .versions import Versions

PROTOCOL = 5
"""Raised whenever a message changes its meaning."""

CHUNK = 1 << 20
"""Bytes of bulk in one frame: 1–4 MB is as fast as plain TCP, and no control message waits behind more than that."""

MAX_MESSAGE = CHUNK + (4 << 20)
"""Frames above this many bytes end the connection."""


class ProtocolError(Exception):
    """A peer sent something that is no message of this protocol."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One tensor of the model: what both sides must agree on."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str


class Offer(msgspec.Struct, frozen=True, array_like=True):
    """Memory that a process of the same host may map: descriptor ``fd`` of process ``pid``, ``size`` bytes.

    It begins with ``key``, without which the numbers may mean another process's.
    """

    pid: int
    fd: int
    key: bytes
    size: int


class DataMark(msgspec.Struct, frozen=True, array_like=True):
    """What two copies of a data set must agree on: how many ``samples``, and a ``digest`` of a few (empty: unknown)."""

    samples: int
    digest: str = ""


class Hello(msgspec.Struct, frozen=True):
    """Worker, first of all: who it is and what its model looks like.

    ``run`` is empty where it does not know: who comes from elsewhere is told in the :class:`Welcome`.
    Who can map what is offered can read this worker's memory (``None``: it has none to share).
    """

    protocol: int
    run: str
    index: int
    entries: list[Entry]
    host: str
    pid: int
    device: str
    offer: Offer | None = None
    versions: Versions = Versions()
    data: DataMark | None = None


class Welcome(msgspec.Struct, frozen=True):
    """Server: you are ``worker``. ``constants`` bytes of untrained state follow on request (:class:`Fetch`).

    Who can map what is offered can read the server's memory; the server can read the worker's if it says ``reads``.
    ``life`` is how often the run was resumed: of another life than the one before, nothing that the worker has counts.
    ``compress`` names the codec of what goes in chunks instead, ``none`` if it goes as it is; ``auto``: choose.
    """

    worker: int
    constants: int
    settings: dict[str, int | float | bool]
    offer: Offer | None = None
    reads: bool = False
    run: str = ""
    life: int = 0
    compress: str = "none"


class Refusal(msgspec.Struct, frozen=True):
    """Server: you cannot take part, and why."""

    why: str


class Fetch(msgspec.Struct, frozen=True):
    """Worker: send the untrained state (bulk connection)."""


class Constants(msgspec.Struct, frozen=True):
    """Server: a part of the untrained state, from byte ``offset``."""

    offset: int


class Pull(msgspec.Struct, frozen=True):
    """Worker: send anything newer than ``newer_than``, when there is something; ``reads``: it may lie in memory.

    Where versions come as changes it holds ``base`` of them (-1: none); ``None``: as it is on the server, to the bit.
    """

    newer_than: int
    reads: bool = False
    base: int | None = None


class Version(msgspec.Struct, frozen=True):
    """Server: a part of the parameters of ``version`` in this ``life`` of the run, from byte ``offset``.

    ``exact``: as they are on the server; else as those hold them who get changes.
    """

    version: int
    offset: int
    life: int = 0
    exact: bool = True


class Change(msgspec.Struct, frozen=True):
    """Server: a part, from byte ``offset``, of so many ``changes`` that lead from version ``base`` to ``version``."""

    version: int
    base: int
    changes: int
    offset: int
    life: int = 0


class InMemory(msgspec.Struct, frozen=True):
    """Server: the parameters of ``version`` lie here until you say :class:`Taken`."""

    version: int
    offer: Offer


class Taken(msgspec.Struct, frozen=True):
    """Either side: what you lent in the memory of this key was read."""

    key: bytes


class Push(msgspec.Struct, frozen=True):
    """Worker: the head of a contribution; its bytes follow as :class:`Part` messages, or lie in the memory offered.

    ``present`` flags, per parameter, whether it had a gradient (empty: all had); ``metrics`` are weighted sums
    ``name: (Σ weight · value, Σ weight)`` of what the script logged for these tickets. ``packed``: by the run's codec.
    """

    push: int
    tickets: tuple[int, ...]
    versions: tuple[int, ...]
    weight: float
    present: bytes = b""
    metrics: dict[str, tuple[float, float]] = {}
    offer: Offer | None = None
    packed: bool = False


class Part(msgspec.Struct, frozen=True):
    """Worker: a part of push ``push``, from byte ``offset``."""

    push: int
    offset: int


class Ready(msgspec.Struct, frozen=True):
    """Worker: warmed up, holding ``version``, at ``pace`` samples/s by its own probe.

    ``imports_s`` passed from its process's start until the script called ``prepare``; its probe took ``probe_s``.
    ``reads``: it can read the server's memory. ``channels_last``: its convolutions compute so. ``packed``: what goes in
    chunks is; ``transfer_s``, ``packing_s``: what it chose that by.
    """

    version: int
    pace: float | None
    lookahead: int
    imports_s: float = 0.0
    probe_s: float = 0.0
    reads: bool = False
    channels_last: bool = False
    packed: bool = False
    transfer_s: float = 0.0
    packing_s: float = 0.0


class Alive(msgspec.Struct, frozen=True):
    """Either side: nothing to say, but here."""

    cpu_s: float = 0.0


class Rejoin(msgspec.Struct, frozen=True):
    """Server: you were given up; say :class:`Hello` again."""


class Leave(msgspec.Struct, frozen=True):
    """Worker: going, and why."""

    reason: str
    cpu_s: float = 0.0


class Finished(msgspec.Struct, frozen=True):
    """Server: the run is over; ``version`` is the final one."""

    version: int
    reason: str
    ok: bool


Message = (
    Hello | Welcome | Refusal | Fetch | Constants | Pull | Version | Change | InMemory | Taken | Push | Part | Ready
    | Alive | Rejoin | Leave | Finished | e.Started | e.Computed | e.Declined | e.Released | e.Received | e.Granted
    | e.Revoked | e.Landed
)  # fmt: skip

MESSAGES: dict[str, type[Message]] = {message.__name__: message for message in Message.__args__}

_encoder = msgspec.msgpack.Encoder()
_outer = msgspec.msgpack.Decoder(tuple[str, msgspec.Raw])
_inner = {name: msgspec.msgpack.Decoder(kind) for name, kind in MESSAGES.items()}


def encode(message: Message) -> bytes:
    """The bytes of ``message``.

    >>> decode(encode(Pull(newer_than=3)))
    Pull(newer_than=3, reads=False, base=None)
    """
    return _encoder.encode((type(message).__name__, message))


def decode(data: bytes | memoryview) -> Message:
    """The message in ``data``.

    Raises:
        ProtocolError: it is none.
    """
    try:
        name, body = _outer.decode(data)
        decoder = _inner.get(name)
        if decoder is None:
            raise ProtocolError(f"no message is called {name[:40]!r}")
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"not a message of protocol {PROTOCOL}: {error}") from error


def chunks(total: int) -> list[tuple[int, int]]:
    """``(start, stop)`` of each chunk of ``total`` bytes.

    >>> chunks(CHUNK + 1)
    [(0, 1048576), (1048576, 1048577)]
    """
    return [(start, min(start + CHUNK, total)) for start in range(0, total, CHUNK)] or [(0, 0)]


def mismatch(ours: list[Entry], theirs: list[Entry]) -> str:
    """The first difference between two models, in words; empty if they agree.

    >>> mismatch([Entry("w", (2,), "float32", "trained")], [Entry("w", (3,), "float32", "trained")])
    "'w' is float32 (2,), trained, on the server but float32 (3,), trained here"
    """
    for mine, other in zip(ours, theirs, strict=False):
        if mine.name != other.name:
            return f"the server has {mine.name!r} where {other.name!r} is here"
        if mine != other:

            def words(entry: Entry) -> str:
                return f"{entry.dtype} {entry.shape}, {entry.kind},"

            return f"{mine.name!r} is {words(mine)} on the server but {words(other)[:-1]} here"
    if len(ours) != len(theirs):
        return f"the server's model has {len(ours)} tensors, this one {len(theirs)}"
    return ""
