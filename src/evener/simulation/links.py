"""Links: how long a push and a set of parameters take on their way, and a control message.

A host's transfers in one direction go one after the other, as over one connection. Where the server's own link has a
rate, all transfers under way share it: each has an equal part, unless its own link gives it less, and what one cannot
use is the others' (max-min fairness, Bertsekas and Gallager, "Data Networks", 1992).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .clock import Clock
from .pauses import Pauses

NEVER = Pauses(())

SEGMENT = 1460 * 8
"""Bits of a TCP segment over Ethernet."""

RETRY = 0.2
"""Seconds until a lost control message is sent again: the least that TCP waits on Linux."""


@dataclass(frozen=True, slots=True)
class Link:
    """One end's connection to the network.

    Attributes:
        up, down: bits/s from it, to it (``None``: no limit).
        delay: seconds that anything takes on it, one way.
        loss: part of the packets that are lost.

    Raises:
        ValueError: a value out of its range.
    """

    up: float | None = None
    down: float | None = None
    delay: float = 0.0
    loss: float = 0.0

    def __post_init__(self) -> None:
        for name in ("up", "down"):
            rate = getattr(self, name)
            if rate is not None and not 0 < rate < math.inf:
                raise ValueError(f"a link's rate is positive and finite, unlike {rate} bit/s")
        if not 0 <= self.delay < math.inf:
            raise ValueError(f"a link's delay is not negative, and finite, unlike {self.delay}")
        if not 0 <= self.loss < 1:
            raise ValueError(f"a link's loss is a part from 0 to under 1, not {self.loss}")


def goodput(rate: float | None, delay: float, loss: float) -> float:
    """Bits/s that TCP gets through a link of ``rate`` bit/s, ``delay`` s one way, that loses a part of the packets.

    At most ``S/T · √(3/(2p))``, ``S`` being the segment, ``T`` the round trip and ``p`` the loss (Mathis, Semke,
    Mahdavi and Ott, "The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm", 1997).

    >>> goodput(1e8, 0.01, 0.0), round(goodput(1e8, 0.01, 0.01) / 1e6, 1)
    (100000000.0, 7.2)
    """
    most = math.inf if rate is None else rate * (1.0 - loss)
    if not loss or not delay:
        return most
    return min(most, SEGMENT / (2 * delay) * math.sqrt(1.5 / loss))


class Shared:
    """The server's link in one direction, and the transfers that share it.

    Args:
        rate: its bits/s.
        clock: the run's.
    """

    def __init__(self, rate: float, clock: Clock) -> None:
        self._rate = rate
        self._clock = clock
        self._left: dict[int, float] = {}  # bits, by whose transfer it is
        self._most: dict[int, float] = {}
        self._speed: dict[int, float] = {}
        self._done: dict[int, Callable[[], None]] = {}
        self._since = 0.0
        self._turn = 0

    def begin(self, who: int, bits: float, most: float, done: Callable[[], None]) -> None:
        """A transfer begins, which could have ``most`` bits/s; ``done`` is called at its end."""
        self._go_on()
        self._left[who], self._most[who], self._done[who] = bits, most, done
        self._share()

    def change(self, who: int, most: float) -> None:
        """``who`` can have so many bits/s from now on."""
        if who in self._left:
            self._go_on()
            self._most[who] = most
            self._share()

    def drop(self, who: int) -> None:
        """Its transfer is lost."""
        if who in self._left:
            self._go_on()
            self._forget(who)
            self._share()

    def _forget(self, who: int) -> Callable[[], None]:
        del self._left[who], self._most[who], self._speed[who]
        return self._done.pop(who)

    def _go_on(self) -> None:
        """What was transferred since the last look."""
        now = self._clock.now
        elapsed, self._since = now - self._since, now
        for who, speed in self._speed.items():
            self._left[who] -= speed * elapsed

    def _share(self) -> None:
        rest, some = self._rate, len(self._most)
        for who in sorted(self._most, key=lambda who: (self._most[who], who)):
            speed = self._speed[who] = min(self._most[who], rest / some)
            rest, some = rest - speed, some - 1
        self._turn += 1
        ends = [(self._left[who] / speed, who) for who, speed in self._speed.items() if speed > 0]
        if ends:
            seconds, who = min(ends)
            self._clock.at(self._clock.now + max(0.0, seconds), self._end, who, self._turn)

    def _end(self, who: int, turn: int) -> None:
        if turn == self._turn:  # else the shares have changed since
            self._go_on()
            done = self._forget(who)
            self._share()
            done()


class Lane:
    """A host's transfers in one direction.

    Args:
        bits: of each.
        speed: bits/s of its own link (``inf``: no limit).
        clock: the run's.
        shared: the server's link, if it has a rate.
        who: the host, to ``shared``.
        cuts: when the host's link is cut.

    Attributes:
        instant: whether a transfer takes no time of its own.
    """

    def __init__(
        self, bits: float, speed: float, clock: Clock, shared: Shared | None, who: int, cuts: Pauses = NEVER
    ) -> None:
        self.instant = shared is None and (math.isinf(speed) or not bits)
        self._bits = bits
        self._speed = speed
        self._clock = clock
        self._shared = shared
        self._who = who
        self._free = 0.0
        self._cuts = cuts
        self._cut = False
        self._queue: deque[Callable[[], None]] = deque()
        if shared is not None:
            for start, seconds in cuts.known:
                self.cut(start, seconds)

    def send(self, done: Callable[[], None]) -> None:
        """Transfer, after those before it; ``done`` is called when the last bit has left."""
        if self._shared is not None:
            self._queue.append(done)
            if len(self._queue) == 1:
                self._begin()
            return
        begun = self._cuts.after(max(self._free, self._clock.now))
        self._free = self._cuts.end(begun, begun + (self._bits / self._speed if self._bits else 0.0))
        self._clock.at(self._free, done)

    def cut(self, start: float, seconds: float) -> None:
        """A cut that ``cuts`` knows of, too, stops what is under way."""
        if self._shared is not None and start + seconds > self._clock.now:
            self._clock.at(max(start, self._clock.now), self._set_cut, True)
            self._clock.at(start + seconds, self._set_cut, False)

    def close(self) -> None:
        """The host is gone."""
        self._queue.clear()
        if self._shared is not None:
            self._shared.drop(self._who)

    def _set_cut(self, cut: bool) -> None:
        self._cut = cut
        if self._shared is not None:
            self._shared.change(self._who, 0.0 if cut else self._speed)

    def _begin(self) -> None:
        assert self._shared is not None
        self._shared.begin(self._who, self._bits, 0.0 if self._cut else self._speed, self._end)

    def _end(self) -> None:
        done = self._queue.popleft()
        if self._queue:
            self._begin()
        done()
