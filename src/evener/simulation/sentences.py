"""Scripted faults from text, one a line, such as ``at step 120 kill worker 2``: ``docs/how-to/script-faults.md``."""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import units
from .faults import DIES, MOMENT_WORDS, SERVER, SLOWS, VERBS, Fault

KINDS = {verb: kind for kind, verb in VERBS.items()}
DURING = {words: moment for moment, words in MOMENT_WORDS.items()}

_TIME = r"\d[\d.e+-]*\s*[a-zµ]*"
_SENTENCE = re.compile(
    rf"(?:at\s+(?P<at>{_TIME})|at\s+step\s+(?P<step>\d+)"
    rf"|(?P<during>{'|'.join(DURING)})(?:\s+after\s+(?:step\s+(?P<after_step>\d+)|(?P<after>{_TIME})))?)"
    rf"\s+(?P<verb>[a-z]+)\s+(?P<who>worker\s+(?P<worker>\d+)|the\s+server)"
    rf"(?:\s+by\s+(?P<by>\d[\d.e+-]*))?(?:\s+for\s+(?P<length>{_TIME}))?"
)

EXAMPLES = (
    "at step 120 kill worker 2",
    "at 30 s stop worker 1 for 20 s",
    "at 30 s cut worker 3 for 10 s",
    "in push after step 40 slow worker 0 by 10 for 5 s",
    "at step 200 kill the server",
)


class FaultError(ValueError):
    """A text is no script of faults; the message says where, what is valid, and what to do."""


def read_faults(path: str | os.PathLike[str]) -> tuple[Fault, ...]:
    """The faults that a file describes; see :func:`parse_faults`.

    Raises:
        FaultError: there is no such file, or it is no script of faults.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise FaultError(f"the fault script {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise FaultError(f"the fault script {path} is not text in UTF-8.") from None
    try:
        return parse_faults(text)
    except FaultError as error:
        raise FaultError(f"{path}, {error}") from None


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Faults from text, one a line. Empty lines, and what follows a ``#``, are left out.

    Raises:
        FaultError: naming the line, and what one looks like.

    >>> [str(fault) for fault in parse_faults("at 2 min stop worker 1 for 500 ms  # as a laptop does")]
    ['at 120 s stop worker 1 for 0.5 s']
    >>> parse_faults("in push kill worker 0")[0].during
    'push'
    """
    faults = []
    for number, line in enumerate(text.splitlines(), 1):
        if sentence := line.split("#")[0].strip():
            try:
                faults.append(parse_fault(sentence))
            except ValueError as error:
                raise FaultError(f"line {number}: {error}") from None
    return tuple(faults)


def parse_fault(sentence: str) -> Fault:
    """One fault.

    Raises:
        ValueError: it is none; the message says what is valid.
    """
    found = _SENTENCE.fullmatch(" ".join(sentence.split()))
    if found is None:
        raise ValueError(
            f"'{sentence}' is no fault. It says when (at TIME, at step N; or {', '.join(DURING)}, each also with "
            f"'after TIME' or 'after step N'), what is done to whom, and for how long, such as: {'; '.join(EXAMPLES)}"
        )
    verb, by = found["verb"], found["by"]
    if verb not in KINDS:
        raise ValueError(f"'{verb}' is nothing that can be done to {found['who']}; valid are {', '.join(KINDS)}")
    what = KINDS[verb]
    length, time, step = found["length"], found["at"] or found["after"], found["step"] or found["after_step"]
    if what == DIES and length:
        raise ValueError("who is killed is gone: leave out 'for'. evener run --restart starts it again")
    if what != DIES and not length:
        raise ValueError(f"for how long is missing: {sentence} for 10 s")
    if (by is None) != (what != SLOWS):
        raise ValueError(
            f"how much slower is missing: slow {found['who']} by 10 for {length}"
            if what == SLOWS
            else f"'by' is for slow alone: leave it out of '{sentence}'"
        )
    return Fault(
        SERVER if found["worker"] is None else int(found["worker"]),
        _seconds(time) if time else None,
        what,
        _seconds(length) if length else None,
        1 / _factor(by) if by else None,
        int(step) if step else None,
        DURING.get(found["during"] or "", ""),
    )


def _seconds(text: str) -> float:
    try:
        return units.seconds(float(text))
    except ValueError:
        return units.seconds(text)


def _factor(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if number <= 0:
        raise ValueError(f"by how much it is slower is a positive number, such as 10, not {text}")
    return number
