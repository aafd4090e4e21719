"""Lines of a record as bytes, and back.

Events and commands are the core's own dataclasses; on disk they are JSON objects with their class's name
under ``type``. To decode them fast, each has a tagged twin here, generated from its fields, so that the two
cannot drift apart.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import msgspec

from ..core import commands as c
from ..core import events as e
from .schema import BrokenLine, End, EndLine, EventLine, Header, HeaderLine, Line, Note, NoteLine, Whole

_EVENTS: tuple[type, ...] = get_args(e.Event)
_COMMANDS: tuple[type, ...] = get_args(c.Command)
_OPENINGS = {cls: b'{"type":"%s"' % cls.__name__.encode() for cls in (*_EVENTS, *_COMMANDS)}
_ENCODER = msgspec.json.Encoder()


def encode_tagged(value: e.Event | c.Command) -> bytes:
    """An event or a command as JSON, its class's name under ``type``."""
    body = _ENCODER.encode(value)
    opening = _OPENINGS[type(value)]
    return opening + b"," + body[1:] if len(body) > 2 else opening + b"}"


def _bounded(hint: Any) -> Any:
    """A type with :data:`Whole` in place of each ``int``."""
    if hint is int:
        return Whole
    inner = tuple(_bounded(one) for one in get_args(hint))
    if not inner or get_origin(hint) is Literal:
        return hint
    return functools.reduce(operator.or_, inner) if isinstance(hint, types.UnionType) else get_origin(hint)[inner]


def _twin(cls: type) -> type[msgspec.Struct]:
    hints = {name: _bounded(hint) for name, hint in get_type_hints(cls).items()}
    fields: list[Any] = []
    for field in dataclasses.fields(cls):
        if field.default is dataclasses.MISSING:
            fields.append((field.name, hints[field.name]))
        else:
            fields.append((field.name, hints[field.name], field.default))
    return msgspec.defstruct(cls.__name__, fields, tag_field="type", tag=cls.__name__, frozen=True, gc=False)


_TWINS = {_twin(cls): cls for cls in (*_EVENTS, *_COMMANDS)}
_TWIN_OF = {cls: twin for twin, cls in _TWINS.items()}


def _union(classes: tuple[type, ...]) -> types.UnionType:
    return cast(types.UnionType, functools.reduce(operator.or_, (_TWIN_OF[cls] for cls in classes)))


_OnDisk: Any = msgspec.defstruct(
    "_OnDisk",
    [
        ("t", float),
        ("event", _union(_EVENTS) | None, None),
        ("commands", list[_union(_COMMANDS)], msgspec.field(default_factory=list)),  # type: ignore[misc]
        ("note", Note | None, None),
        ("header", Header | None, None),
        ("end", End | None, None),
    ],
)
_DECODER = msgspec.json.Decoder(_OnDisk)


def decode_line(raw: bytes, number: int) -> Line:
    """One line of a record; ``number`` (from 1) is for messages. Never raises: see :class:`BrokenLine`."""
    try:
        line = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return BrokenLine(number, str(error), truncated=not raw.endswith(b"\n"))
    if line.event is not None:
        return EventLine(line.t, _restore(line.event), [_restore(command) for command in line.commands])
    if line.note is not None:
        return NoteLine(line.t, line.note)
    if line.header is not None:
        return HeaderLine(line.t, line.header)
    if line.end is not None:
        return EndLine(line.t, line.end)
    return BrokenLine(number, "it is neither header, event, note nor end", truncated=False)


def _restore(twin: msgspec.Struct) -> Any:
    return _TWINS[type(twin)](*msgspec.structs.astuple(twin))
