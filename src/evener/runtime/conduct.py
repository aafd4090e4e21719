"""What a worker may say: numbers in their ranges and counts in their bounds, before anything is done with them.

The decoder has checked types. Whether a ticket is the worker's is the coordinator's to say.
"""

from __future__ import annotations

import math

from ..core import events as e
from . import protocol as p

WORKERS = 10_000
"""Numbers of workers are below this."""

TICKETS = 10_000
"""Tickets in one contribution at most."""

METRICS = 100
"""Metrics in one contribution at most."""

NAME = 200
"""Characters of a name, or of a reason, at most."""

PACE = 1e9
"""Samples per second that nobody computes."""

WHOLE = 2**53
"""Beyond this a record would not tell one number from the next."""

Report = e.Started | e.Computed | e.Declined | e.Released | e.Received
"""What a worker tells of its tickets."""

Said = p.Hello | p.Ready | p.Push | p.Leave | p.Alive | p.Pull | p.Part | Report
"""What has numbers or texts that need a look."""


def flaw(said: Said, version: int) -> str:
    """Why nobody may say this in a run whose newest version is ``version``; empty if one may.

    >>> flaw(e.Received(0, 7), version=3)
    'it holds version 7, of 3 that there are'
    """
    match said:
        case p.Hello():
            return _hello(said)
        case p.Ready():
            return _ready(said, version)
        case p.Push():
            return _push(said)
        case p.Leave(reason, cpu_s):
            return _long(reason) or _seconds(cpu_s)
        case p.Alive(cpu_s):
            return _seconds(cpu_s)
        case p.Pull(newer_than, _, base):
            wrong = next((held for held in (newer_than, base) if held is not None and not -1 <= held < WHOLE), None)
            return "" if wrong is None else f"there is no version {wrong}"
        case p.Part(push, offset):
            return "" if 0 <= push < WHOLE and 0 <= offset < WHOLE else "a part of nothing"
        case e.Started(_, ticket, held):
            return _ticket(ticket) or _version(held, version)
        case e.Computed(_, ticket, seconds):
            return _ticket(ticket) or _seconds(seconds)
        case e.Declined(_, ticket) | e.Released(_, ticket):
            return _ticket(ticket)
        case e.Received(_, held):
            return _version(held, version)


def _hello(hello: p.Hello) -> str:
    if not -1 <= hello.index < WORKERS:
        return f"there is no worker {hello.index}"
    if not 0 <= hello.pid < WHOLE:
        return f"no process has the number {hello.pid}"
    if hello.offer is not None and hello.offer.size:
        return "it offers memory before anything is in it"
    return _long(hello.host) or _long(hello.device)


def _ready(ready: p.Ready, version: int) -> str:
    if why := _version(ready.version, version):
        return why
    times = ready.imports_s, ready.probe_s, ready.transfer_s, ready.packing_s
    numbers = [*times, *([] if ready.pace is None else [ready.pace])]
    if not all(math.isfinite(number) and number >= 0 for number in numbers) or ready.pace == 0:
        return "its pace is no positive number, or a time no number of seconds"
    return f"nothing computes {ready.pace:.0g} samples/s" if (ready.pace or 0.0) > PACE else ""


def _push(push: p.Push) -> str:
    if not 1 <= len(push.tickets) <= TICKETS or len(push.versions) != len(push.tickets):
        return f"a contribution of {len(push.tickets)} tickets and {len(push.versions)} versions"
    if len(set(push.tickets)) != len(push.tickets):
        return "a ticket twice in one contribution"
    if not 0 <= push.push < WHOLE or any(_ticket(ticket) for ticket in push.tickets):
        return "a number that no push or ticket has"
    # Whether there is such a version is looked at with its tickets: it may be late, and of a server that was lost.
    if not all(0 <= held < WHOLE for held in push.versions):
        return "a number that no version has"
    if len(push.metrics) > METRICS:
        return f"{len(push.metrics)} metrics: log at most {METRICS}"
    return next((why for name in push.metrics if (why := _long(name))), "")


def _version(held: int, version: int) -> str:
    return "" if 0 <= held <= version else f"it holds version {held}, of {version} that there are"


def _ticket(ticket: int) -> str:
    return "" if 0 <= ticket < WHOLE else "there is no such ticket"


def _seconds(seconds: float) -> str:
    return "" if math.isfinite(seconds) and seconds >= 0 else "a time that is no number of seconds"


def _long(text: str) -> str:
    return f"a name or reason of {len(text)} characters: at most {NAME} are read" if len(text) > NAME else ""
