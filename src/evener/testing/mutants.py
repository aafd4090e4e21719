"""Mutated messages, by number.

Each is a function of its number, so one that is found can be made again.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from ..core import events as e
from ..runtime import protocol as p

ENTRY = p.Entry("weight", (4, 2), "float32", "trained")
OFFER = p.Offer(1, 5, b"0123456789abcdef", 32)
HELLO = p.Hello(p.PROTOCOL, "run", 0, [ENTRY], "host", 7, "cpu")

SEEDS: tuple[p.Message, ...] = (
    HELLO,
    p.Hello(p.PROTOCOL, "", -1, [ENTRY] * 3, "host", 7, "cuda:0", OFFER, data=p.DataMark(100, "abc")),
    p.Welcome(0, 9, {"batch": 32, "look_ahead": True, "rate": 0.5}, OFFER),
    p.Refusal("why"), p.Fetch(), p.Constants(0), p.Pull(-1), p.Pull(3, True), p.Pull(3, base=2), p.Version(3, 0),
    p.Change(3, 2, 1, 0), p.InMemory(3, OFFER), p.Push(3, (7,), (0,), 32.0, packed=True),
    p.Taken(b"0123456789abcdef"), p.Push(1, (4, 5), (0, 0), 64.0, b"\1\0", {"loss": (1.5, 64.0)}),
    p.Push(2, (6,), (0,), 32.0, offer=OFFER), p.Part(1, 1 << 20), p.Ready(0, 120.0, 2, 1.0, 0.5), p.Alive(2.5),
    p.Rejoin(), p.Leave("done", 2.5), p.Finished(9, "complete", True), e.Started(0, 4, 0), e.Computed(0, 4, 0.25),
    e.Declined(0, 4), e.Released(0, 4), e.Received(0, 3), e.Granted(4, 0, 0, 4, ((0, 32), (64, 96)), 0), e.Revoked(4),
    e.Landed(),
)  # fmt: skip
"""One message of each kind at least."""

ENCODED = [p.encode(message) for message in SEEDS]

NASTY = (
    b"", b"\x00", b"\xc1", b"\xff" * 8, b"\xdb\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8, b"\xd3\x80" + b"\0" * 7, b"\xcb\x7f\xf8" + b"\0" * 6,
    b"\xcb\x7f\xf0" + b"\0" * 6, b"\x91" * 64, b"\x81\xa1x" * 32, b"\xa2\xff\xfe", b"\x92", b"\xa5Hello", b"\xa4Push",
)  # fmt: skip
"""Lengths that lie, numbers at the edges, NaN and infinity, nesting, text that is none."""


VALUES: dict[type, tuple[Any, ...]] = {
    bool: (True, False, 1, None),
    int: (0, 1, -1, 3, 4, 5, 2**31, 2**53, 2**63 - 1, 2**64 - 1, -(2**63), 1.0, None),
    float: (0.0, -1.0, 0.25, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"), 3, None),
    str: ("", "loss", "x" * 1000, "\x1b[2J", "\0", "../../etc", "\u202e", b"bytes"),
    bytes: (b"", b"\0", b"0123456789abcdef", bytes(1000), "text"),
}
"""What a field may be replaced by: of its type mostly, and at the edges."""


def mutant(number: int, seed: int = 0) -> bytes:
    """The message of this number: half of them with other values in their fields, half with other bytes.

    >>> mutant(7) == mutant(7), len({mutant(number) for number in range(1000)}) > 800
    (True, True)
    """
    chance = random.Random(seed << 40 | number)
    if chance.random() < 0.5:
        return msgspec.msgpack.encode(_other_values(msgspec.msgpack.decode(chance.choice(ENCODED)), chance))
    return _other_bytes(bytearray(chance.choice(ENCODED)), chance)


def _other_values(message: Any, chance: random.Random) -> Any:
    name, fields = message
    for _ in range(1 + int(chance.expovariate(1.0))):
        if fields:
            key = chance.choice(list(fields))
            fields[key] = _other(fields[key], chance)
    if chance.random() < 0.05:
        name = chance.choice([*p.MESSAGES, "", "Grab"])
    return [name, fields]


def _other(value: Any, chance: random.Random) -> Any:
    if isinstance(value, list):
        if value and chance.random() < 0.6:
            at = chance.randrange(len(value))
            return [*value[:at], _other(value[at], chance), *value[at + 1 :]]
        return chance.choice(([], value * 2, value * 100, None))
    if isinstance(value, dict):
        if value and chance.random() < 0.6:
            key = chance.choice(list(value))
            return {**value, key: _other(value[key], chance)}
        return chance.choice(({}, {str(number): value for number in range(200)}, None))
    return chance.choice(VALUES.get(type(value), (None, 0, "")))


def _other_bytes(data: bytearray, chance: random.Random) -> bytes:
    for _ in range(1 + int(chance.expovariate(0.7))):
        at, stop = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
        match chance.randrange(7):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 2:
                del data[at:stop]
            case 3:
                data[at:at] = chance.choice(NASTY)
            case 4:
                data[at:stop] = data[at:stop] * chance.randrange(2, 6)
            case 5:
                data[at:] = chance.choice(ENCODED)[chance.randrange(20) :]
            case _:
                data[at : at + len(data) // 4] = chance.choice(NASTY)
    return bytes(data[: 1 << 16])
