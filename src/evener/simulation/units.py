"""Quantities as people write them: ``"10 ms"``, ``"100 Mbit/s"``, ``"0.8 MB"``, ``"2%"``; and plain numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0}
"""Seconds."""

PACES = {"samples/s": 1.0, "samples/min": 1 / 60}
"""Samples per second."""

RATES = {"bit/s": 1.0, "kbit/s": 1e3, "Mbit/s": 1e6, "Gbit/s": 1e9, "B/s": 8.0, "kB/s": 8e3, "MB/s": 8e6, "GB/s": 8e9}
"""Bits per second."""

SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
"""Bytes."""

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\S*)\s*")


def seconds(value: object) -> float:
    """A time or a duration: a number of seconds, or with a unit.

    Raises:
        ValueError: it is none, negative or not finite; the message says what is valid. So with all of these.

    >>> seconds(0.5), seconds("10 ms"), seconds("2 min")
    (0.5, 0.01, 120.0)
    """
    return _positive(_quantity(value, TIMES, "a time", plain=True))


def pace(value: object) -> float:
    """Samples per second: a number, or with a unit.

    >>> pace(400), pace("90 samples/min")
    (400.0, 1.5)
    """
    return _positive(_quantity(value, PACES, "a pace", plain=True))


def rate(value: object) -> float:
    """Bits per second. A plain number might be bits or bytes, so a unit is needed.

    >>> rate("100 Mbit/s"), rate("1 MB/s")
    (100000000.0, 8000000.0)
    """
    return _positive(_quantity(value, RATES, "a rate"))


def size(value: object) -> int:
    """Bytes, with their unit.

    >>> size("0.8 MB")
    800000
    """
    return round(_positive(_quantity(value, SIZES, "a size")))


def share(value: object) -> float:
    """A part of 1: a number, or in percent.

    >>> share(0.02), share("2%")
    (0.02, 0.02)
    """
    return _positive(_quantity(value, {"%": 0.01}, "a share", plain=True))


def _quantity(value: object, units: Mapping[str, float], what: str, plain: bool = False) -> float:
    example = f'"10 {next(iter(units))}"' if plain else f'"10 {list(units)[2]}"'
    valid = f"write {'a number, or one' if plain else 'it'} with a unit ({', '.join(units)}), such as {example}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not plain:
            raise ValueError(f"{value!r} is {what} without a unit; {valid}")
        return float(value)
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{value!r} is not {what}; {valid}")
    number, unit = found.groups()
    if unit not in units:
        missing = f"there is no unit {unit!r} for" if unit else "a unit is missing in"
        raise ValueError(f"{missing} {what}: {value!r}; {valid}")
    return float(number) * units[unit]


def _positive(number: float) -> float:
    if not 0 <= number < math.inf:
        raise ValueError(f"it must be finite and not negative, unlike {number:g}")
    return number
