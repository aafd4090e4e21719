"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Mapping

OPTIONS = {
    ("balanced", "bound"): "S = {}",
    ("balanced", "stale_fraction"): "φ ≤ {}",
    ("stale", "bound"): "clocks ahead ≤ {}",
}
"""By policy and option: a short sign of the field's. The same name may mean another thing; others are written out."""


def duration(seconds: float | None) -> str:
    """A length of time in words.

    >>> [duration(s) for s in (0.42, 31.24, 119.96, 725, 4000, None)]
    ['0.42 s', '31.2 s', '2 min 00 s', '12 min 05 s', '1 h 06 min', '-']
    """
    if seconds is None or not math.isfinite(seconds):
        return "-"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 99.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} min"


def times(count: int) -> str:
    """How often.

    >>> times(1), times(2), times(20)
    ('once', 'twice', '20 times')
    """
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


def clock(seconds: float | None) -> str:
    """A remaining time, short.

    >>> clock(75), clock(3700), clock(None)
    ('1:15', '1:01:40', '-:--')
    """
    if seconds is None or not math.isfinite(seconds):
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def rate(value: float | None) -> str:
    """Samples per second.

    >>> rate(4680.4), rate(3.26), rate(None)
    ('4,680', '3.3', '-')
    """
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def percent(value: float | None, digits: int = 0) -> str:
    """A fraction in percent.

    >>> percent(0.934), percent(0.934, 1), percent(None)
    ('93%', '93.4%', '-')
    """
    return "-" if value is None else f"{100 * value:.{digits}f}%"


def score(name: str, value: float | None) -> str:
    """A logged value: an accuracy between 0 and 1 in percent, others to four digits.

    >>> score("test_accuracy", 0.9134), score("loss", 0.314159), score("loss", None)
    ('91.3%', '0.3142', 'not finite')
    """
    if value is None:
        return "not finite"
    if "acc" in name and 0 <= value <= 1:
        return percent(value, 1)
    return f"{value:.4g}"


def size(number: int) -> str:
    """A number of bytes.

    >>> size(512), size(4_200_000), size(31_000_000_000)
    ('512 B', '4.2 MB', '31 GB')
    """
    value, unit = float(number), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if value < 9.95 and unit != "B" else f"{value:.0f} {unit}"


def options(policy: str, chosen: Mapping[str, float | int | str]) -> str:
    """A policy's options.

    >>> options("balanced", {"bound": 1, "stale_fraction": 0.25, "look_ahead": False})
    'S = 1, φ ≤ 0.25'
    >>> options("stale", {"bound": 3, "push": "auto"})
    'clocks ahead ≤ 3, push = auto'
    """
    if chosen.get("bound") == 0:  # nothing is ever stale, so its budget says nothing
        chosen = {name: value for name, value in chosen.items() if name != "stale_fraction"}
    said = ((name, value) for name, value in chosen.items() if value is not False)
    return ", ".join(OPTIONS.get((policy, name), name + " = {}").format(value) for name, value in said)


def count(number: int, thing: str) -> str:
    """A number of things.

    >>> count(1, "worker"), count(1200, "sample")
    ('1 worker', '1,200 samples')
    """
    return f"{number:,} {thing}" + ("" if number == 1 else "s")
