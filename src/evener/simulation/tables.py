"""The tables of a cluster file: which keys each has, and what their values mean."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from typing import Any

from . import units
from .links import Link
from .pauses import Pareto
from .places import Place

Read = Callable[[Any], Any]
"""Makes of a key's value what it means; raises ValueError if that is nothing."""


class WrongError(ValueError):
    """What is wrong, and at which key."""

    def __init__(self, place: Place, what: object) -> None:
        super().__init__(str(what))
        self.place = place


def values_of(table: dict[str, Any], place: Place, keys: Mapping[str, Read]) -> dict[str, Any]:
    """What the keys of a table mean.

    Raises:
        WrongError: there is no such key, or its value means nothing.
    """
    for name in table:
        if name not in keys:
            near = difflib.get_close_matches(name, keys, 1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            if keys is not CLUSTER and name in CLUSTER:
                meant = " here (it is the cluster's: write it above all tables)"
            raise WrongError((*place, name), f"there is no {name!r}{meant}; valid are {', '.join(keys)}")
    given = {name: held for name, held in table.items() if name not in TABLES}
    return {NAMES.get(name, name): read_at((*place, name), keys[name], held) for name, held in given.items()}


def read_at(place: Place, read: Read, given: Any) -> Any:
    """What ``given``, at that place, means.

    Raises:
        WrongError: nothing.
    """
    try:
        return read(given)
    except WrongError as wrong:
        raise WrongError((*place, *wrong.place), wrong) from None
    except ValueError as error:
        raise WrongError(place, error) from None


def built(kind: Any, values: dict[str, Any], place: Place) -> Any:
    """A dataclass ``kind`` from what the keys of the table at that place mean.

    Raises:
        WrongError: a value is missing, or the dataclass refuses it.
    """
    for field in dataclasses.fields(kind):
        if field.name not in values and field.default is dataclasses.MISSING:
            raise WrongError(place, f"{field.name!r} is missing")
    return read_at(place, lambda given: kind(**given), values)


def tables_of(data: dict[str, Any], name: str) -> list[dict[str, Any]] | None:
    """The tables ``[[name]]``; ``None``: there are none.

    Raises:
        WrongError: it is something else.
    """
    tables = data.get(name)
    if tables is None:
        return None
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise WrongError((name,), f"it is a table [[{name}]] for each of them")
    return tables


def words_of(place: Place) -> str:
    """A place in words.

    >>> words_of(("hosts", 1, "link", "rate")), words_of(("rotate",)), words_of(())
    ("host table 2, 'link.rate'", "'rotate'", 'the cluster')
    """
    words = []
    if len(place) > 1 and isinstance(place[1], int):
        words = [f"{str(place[0]).removesuffix('s')} table {place[1] + 1}"]
        place = place[2:]
    key = ".".join(str(part) for part in place)
    return ", ".join(words + ([repr(key)] if key else [])) or "the cluster"


# The values -------------------------------------------------------------------------------------------------


def _whole(given: Any, least: int = 0) -> int:
    if not isinstance(given, int) or isinstance(given, bool) or given < least:
        raise ValueError(f"it is a whole number from {least}, not {given!r}")
    return given


def _count(given: Any) -> int:
    return _whole(given, 1)


def _truth(given: Any) -> bool:
    if not isinstance(given, bool):
        raise ValueError(f"it is true or false, not {given!r}")
    return given


def _number(given: Any) -> float:
    if not isinstance(given, int | float) or isinstance(given, bool):
        raise ValueError(f"it is a number, not {given!r}")
    return float(given)


def _word(given: Any) -> str:
    if not isinstance(given, str):
        raise ValueError(f"it is text in quotes, not {given!r}")
    return given


def _table(given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise ValueError(f'it is a table, such as {{ rate = "100 Mbit/s", delay = "10 ms" }}, not {given!r}')
    return given


def _rows(*reads: Read) -> Read:
    """A list of rows with a value for each of ``reads``."""

    def read(given: Any) -> tuple[tuple[Any, ...], ...]:
        if not isinstance(given, list) or not all(isinstance(row, list) and len(row) == len(reads) for row in given):
            row = ", ".join(("1.0", "2.0", "0.5")[: len(reads)])
            raise ValueError(f"it is a list of rows of {len(reads)} values, such as [[{row}]], not {given!r}")
        return tuple(tuple(one(value) for one, value in zip(reads, row, strict=True)) for row in given)

    return read


def _link(given: Any) -> Link:
    """``rate`` is that of both directions."""
    values = values_of(_table(given), (), LINK)
    if (rate := values.pop("rate", None)) is not None:
        if "up" in values or "down" in values:
            raise WrongError(("rate",), "it is that of both directions: write rate, or up and down")
        values["up"] = values["down"] = rate
    return Link(**values)


# The keys ---------------------------------------------------------------------------------------------------

LINK: Mapping[str, Read] = {
    "rate": units.rate,
    "up": units.rate,
    "down": units.rate,
    "delay": units.seconds,
    "loss": units.share,
}

PARETO: Mapping[str, Read] = {"every": units.seconds, "least": units.seconds, "shape": _number}

HOST: Mapping[str, Read] = {
    "pace": units.pace,
    "count": _count,
    "overhead": units.seconds,
    "noise": units.share,
    "uplink": units.seconds,
    "push_work": units.seconds,
    "pull_work": units.seconds,
    "burst": units.seconds,
    "scatter": units.seconds,
    "downlink": units.seconds,
    "latency": units.seconds,
    "link": _link,
    "paces": _rows(units.seconds, units.pace),
    "period": units.seconds,
    "stalls": _rows(units.seconds, units.seconds),
    "pareto": lambda given: built(Pareto, values_of(_table(given), (), PARETO), ()),
    "cuts": _rows(units.seconds, units.seconds),
    "silence": units.seconds,
    "slows": _rows(units.seconds, units.seconds, _number),
    "joins": units.seconds,
    "dies": units.seconds,
    "declines": _whole,
    "refused": _whole,
    "jitter": units.seconds,
    "repeats": _whole,
}

FAULT: Mapping[str, Read] = {
    "worker": _whole,
    "at": units.seconds,
    "what": _word,
    "for": units.seconds,
    "factor": _number,
    "step": _whole,
    "during": _word,
}

TABLES = ("hosts", "faults")

CLUSTER: Mapping[str, Read] = {
    "parameters": units.size,
    "step_seconds": units.seconds,
    "contribution_seconds": units.seconds,
    "server": _link,
    "rotate": units.seconds,
    "probe": _truth,
    "evaluation": units.seconds,
    "seed": _whole,
    **dict.fromkeys(TABLES, list),
}

NAMES = {"for": "seconds"}
"""Where the file's word is not the attribute's."""
