"""Who was turned away, and why: counted always, said at a bounded rate."""

from __future__ import annotations

from collections.abc import Callable

EVERY = 10.0
"""Seconds in which at most :data:`AT_ONCE` refusals are said as they happen, and after which the rest is summed up."""

AT_ONCE = 5

KINDS = 100
"""Different refusals that are told apart at most between two summaries."""

LONGEST = 300
"""Characters of one that are said."""


def printable(text: str, most: int = LONGEST) -> str:
    """``text`` as it may be shown: no control characters, and not endless.

    >>> printable("a\\x1b[2Jb"), printable("abc", 2)
    ('a?[2Jb', 'ab…')
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in text[:most])
    return shown + "…" if len(text) > most else shown


class Refusals:
    """Counts and tells.

    Args:
        say: writes one line of text; called with the time (s).

    Attributes:
        count: of all so far.

    >>> refusals = Refusals(lambda now, text: print(text))
    >>> for number in range(8):
    ...     refusals.add(0.1 * number, "10.0.0.7", "a connection without a key")
    refused: a connection without a key (from 10.0.0.7)
    >>> refusals.tell(10.0)
    refused, 7 more times: a connection without a key (from 10.0.0.7)
    """

    def __init__(self, say: Callable[[float, str], None]) -> None:
        self.count = 0
        self._say = say
        self._since = 0.0
        self._said: set[tuple[str, str]] = set()
        self._more: dict[tuple[str, str], int] = {}
        self._others = 0

    def add(self, now: float, who: str, why: str) -> None:
        """Somebody was turned away."""
        self.tell(now)
        self.count += 1
        key = printable(who), printable(why)
        if key not in self._said and len(self._said) < AT_ONCE:
            self._said.add(key)
            self._say(now, f"refused: {key[1]} (from {key[0]})")
        elif key in self._more or len(self._more) < KINDS:
            self._more[key] = self._more.get(key, 0) + 1
        else:
            self._others += 1

    def tell(self, now: float, last: bool = False) -> None:
        """Sum up what was not said yet, if it is time, or ``last`` time."""
        if now < self._since + EVERY and not last:
            return
        for (who, why), times in sorted(self._more.items(), key=lambda entry: -entry[1])[:AT_ONCE]:
            self._others -= times
            self._say(now, f"refused, {times} more time{'s' if times > 1 else ''}: {why} (from {who})")
        self._others += sum(self._more.values())
        if self._others:
            self._say(now, f"refused, {self._others} more times, by others or for other reasons")
        self._since, self._others = now, 0
        self._said.clear()
        self._more.clear()
