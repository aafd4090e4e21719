"""What processes print, as whole lines and whole tracebacks, so that those of several do not mix."""

from __future__ import annotations

import re

QUIET = 0.3
"""Seconds of silence after which a traceback that is being printed counts as complete."""

LONGEST = 2.0
"""Seconds after which it is shown however that may be: a program may print on and on."""

LONGEST_LINE = 1 << 16
"""Bytes without an end of line that are shown as a line."""

_BEGINS = re.compile(rb"Traceback \(most recent|  \+ Exception Group Traceback|Exception ignored in|Fatal Python error")


class Lines:
    """Cuts one stream into blocks that are shown at once: a line, or a traceback with what follows at once.

    Time is an argument, in seconds.

    Example:
        >>> lines = Lines()
        >>> lines.feed(b"one\\ntw", now=0.0)
        ['one']
        >>> lines.feed(b"o\\nTraceback (most recent call last):\\n  File", now=0.1)
        ['two']
        >>> lines.end()
        ['Traceback (most recent call last):\\n  File']
    """

    def __init__(self) -> None:
        self._rest = b""
        self._held: list[str] = []
        self._since = 0.0
        self._last = 0.0

    def feed(self, data: bytes, now: float) -> list[str]:
        """The blocks that ``data`` completes."""
        blocks = self.tick(now)
        *complete, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            complete.append(self._rest)
            self._rest = b""
        self._last = now
        for line in complete:
            if self._held:
                self._held.append(_text(line))
            elif _BEGINS.match(line):
                self._held, self._since = [_text(line)], now
            else:
                blocks.append(_text(line))
        return blocks

    def tick(self, now: float) -> list[str]:
        """What need not be held any longer."""
        if self._held and (now - self._last >= QUIET or now - self._since >= LONGEST):
            return self._release()
        return []

    def end(self) -> list[str]:
        """What is left when the stream has ended."""
        if self._rest:
            self._held.append(_text(self._rest))
            self._rest = b""
        return self._release() if self._held else []

    def _release(self) -> list[str]:
        block, self._held = "\n".join(self._held), []
        return [block]


def _text(line: bytes) -> str:
    # A progress bar rewrites its line after each carriage return; of those, the last is what one would see.
    return line.decode(errors="replace").rstrip("\r").rsplit("\r", 1)[-1]


def only_interrupted(block: str) -> bool:
    """Whether a block is the traceback of a process that was interrupted: no news when we interrupted it."""
    return "Traceback" in block and "KeyboardInterrupt" in block


def prefixed(prefix: str, block: str) -> str:
    """``block`` with ``prefix`` before each line."""
    return "\n".join(prefix + line for line in block.split("\n"))
