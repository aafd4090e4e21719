"""The cluster of a recorded run: what its machines, links and server were like, to simulate another run on them.

Everything follows from the events, so a real record and a simulated one are treated alike. What a record does not tell
is said in words: with micro-batches of one size, for example, overhead and pace cannot be told apart.
"""

from __future__ import annotations

import dataclasses
import math
import os
import statistics
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from ..core import commands as c
from ..core import events as e
from ..trace import BrokenLine, EventLine, Header, HeaderLine, Line, RecordError
from ..trace.reader import as_lines
from .cluster import Cluster, Host
from .pacing import Pacing, pacing
from .shape import Batches, Shape, shape

ENOUGH = 3
"""Measurements of a kind from which the better kind is preferred to the more frequent one."""

VERSIONS = 4096
"""Publications that are remembered."""

TOGETHER = 0.001
"""Seconds within which a worker's word of an end and that of a beginning came as one: it went on without waiting."""

BYTES = 4
"""Of each number that is trained."""

DIGITS = 4
"""Significant digits of what is estimated: more were not measured, and files of it are to be read."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a record tells about the machines that it was made on.

    Attributes:
        cluster: they; time 0 is when the first epoch began.
        workers: the recorded worker of each host. One that left and came back is two hosts.
        header: of the record.
        positions: samples per epoch.
        seconds: from time 0 to the end of the run.
        remarks: what could not be known, and what was taken in its place.
    """

    cluster: Cluster
    workers: tuple[int, ...]
    header: Header
    positions: int
    seconds: float
    remarks: tuple[str, ...]


def conditions(record: str | os.PathLike[str] | Iterable[Line]) -> Conditions:
    """The conditions of a recorded run, estimated from its events; ``record``: a run folder, the file, or lines.

    A record that was cut short is read up to the break.

    Raises:
        RecordError: there is no record, none that this version reads, or nobody computed anything in it.
    """
    reader = Reader()
    for line in as_lines(record):
        if not reader.feed(line):
            break
    try:
        return reader.result()
    except RecordError:
        raise
    except ValueError as error:
        raise RecordError(f"the record contradicts itself, so it tells nothing of its machines: {error}") from None


def cluster_of(record: str | os.PathLike[str]) -> Conditions:
    """As :func:`conditions`; but a simulated record says itself what was simulated, and that is taken as it is.

    Raises:
        RecordError: as :func:`conditions`.
    """
    found = conditions(record)
    described = found.header.notes.get("cluster")
    if found.header.kind != "simulation" or not isinstance(described, dict):
        return found
    try:
        cluster = msgspec.convert(described, Cluster)
    except ValueError:
        return found
    return dataclasses.replace(found, cluster=cluster, workers=tuple(range(len(cluster.hosts))), remarks=())


@dataclass(slots=True)
class _Ticket:
    size: int
    granted: float
    min_version: int
    idle: bool
    version: int = -1
    after: int = -1
    pulled: int = 0
    arrived: float | None = None
    computed: float | None = None


@dataclass(slots=True)
class _Visit:
    """A worker, from its joining to its leaving."""

    worker: int
    joined: float
    pace: float | None
    received: int
    left: float | None = None
    asked: float | None = None
    ended: float = -math.inf
    last: int = -1
    begun: int = -1
    busy: int = 0
    again: bool = False
    heard: int = 0
    declined: int = 0
    pushes: int = 0
    refused: int = 0
    held: dict[int, _Ticket] = field(default_factory=dict)
    begins: array[float] = field(default_factory=lambda: array("d"))
    sizes: array[float] = field(default_factory=lambda: array("d"))
    seconds: array[float] = field(default_factory=lambda: array("d"))
    after: array[int] = field(default_factory=lambda: array("q"))
    pulled: array[float] = field(default_factory=lambda: array("d"))
    pushed: set[int] = field(default_factory=set)
    turns: array[float] = field(default_factory=lambda: array("d"))
    uplinks: array[float] = field(default_factory=lambda: array("d"))
    waits: array[float] = field(default_factory=lambda: array("d"))
    downlinks: array[float] = field(default_factory=lambda: array("d"))


class Reader:
    """The incremental form of :func:`conditions`: feed it lines, ask for the result."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._origin: float | None = None
        self._last = 0.0
        self._over = False
        self._broken = ""
        self._positions = 0
        self._visits: list[_Visit] = []
        self._here: dict[int, _Visit] = {}
        self._published: dict[int, float] = {}
        self._stepped: dict[int, float] = {}
        self._steps = array("d")
        self._ended: dict[int, float] = {}
        self._taken = array("d")

    def feed(self, line: Line) -> bool:
        """Take the next line; whether to go on."""
        match line:
            case HeaderLine(_, header):
                self._header = header
            case EventLine(t, event, commands) if not self._over:
                self._last = t
                self._hear(event, t)
                for command in commands:
                    self._obey(command, t)
            case BrokenLine(number, why, _):
                self._broken = f"the record was read up to line {number}, which cannot be read ({why})"
                return False
            case _:
                pass
        return True

    # Events -------------------------------------------------------------------------------------------------

    def _hear(self, event: e.Event, t: float) -> None:
        match event:
            case e.Joined(worker, version, pace):
                self._leave(worker, t)
                known = any(visit.worker == worker for visit in self._visits)
                self._here[worker] = _Visit(worker, t, pace, version, again=known)
                self._visits.append(self._here[worker])
            case e.Left(worker):
                self._leave(worker, t)
            case e.EpochDrawn(_, positions):
                self._positions = max(self._positions, positions)
                if self._origin is None:
                    self._origin = t
            case e.StepDone(version):
                if (issued := self._stepped.pop(version, None)) is not None:
                    self._steps.append(t - issued)
            case e.SnapshotTaken(epoch):
                if (ended := self._ended.pop(epoch, None)) is not None:
                    self._taken.append(t - ended)
            case e.StopAsked() | e.Tick():
                pass
            case _:
                if (visit := self._here.get(event.worker)) is not None:
                    self._report(visit, event, t)

    def _leave(self, worker: int, t: float) -> None:
        if (visit := self._here.pop(worker, None)) is not None:
            visit.left = t
            visit.held.clear()

    def _report(self, visit: _Visit, event: e.Event, t: float) -> None:
        match event:
            case e.Started(_, number, version):
                ticket = visit.held.get(number)
                if ticket is not None and ticket.version < 0:
                    ticket.version = version
                    if t - visit.ended < TOGETHER:
                        ticket.after = visit.last
                    if version == visit.received and visit.asked is None:
                        visit.asked = t  # with what it has in use, it asks for newer parameters
            case e.Computed(_, number, seconds):
                self._computed(visit, number, seconds, t)
            case e.Declined(_, number):
                if visit.held.pop(number, None):
                    visit.declined += 1
                    visit.heard += 1
                    visit.busy -= 1
                    visit.ended = t
            case e.Released(_, number):
                if visit.held.pop(number, None):
                    visit.busy -= 1
            case e.Arrived(_, _, tickets, verdict=verdict):
                self._arrived(visit, tickets, verdict, t)
            case e.Received(_, version):
                self._received(visit, version, t)
            case _:
                pass

    def _computed(self, visit: _Visit, number: int, seconds: float, t: float) -> None:
        ticket = visit.held.get(number)
        if ticket is None or ticket.computed is not None:
            return
        begin = t - seconds
        ticket.computed = t
        visit.heard += 1
        visit.busy -= 1
        visit.begins.append(begin)
        visit.sizes.append(ticket.size)
        visit.seconds.append(max(seconds, 1e-9))
        visit.after.append(ticket.after)
        visit.pulled.append(ticket.pulled)
        if ticket.version > visit.begun:
            visit.begun = ticket.version
            published = self._published.get(ticket.version)
            # It had nothing to do but to wait for these parameters.
            if published is not None and max(visit.ended, ticket.granted) < published:
                visit.waits.append(begin - published)
        if ticket.idle:
            visit.turns.append(max(0.0, begin - ticket.granted))
        visit.ended, visit.last = t, number
        if ticket.arrived is not None:
            visit.uplinks.append(ticket.arrived - t)
            del visit.held[number]

    def _arrived(self, visit: _Visit, tickets: Sequence[int], verdict: str, t: float) -> None:
        last = visit.held.get(tickets[-1]) if tickets else None
        if last is None or last.arrived is not None:
            return
        visit.pushes += 1
        visit.pushed.add(tickets[-1])
        visit.refused += verdict != "ok"
        if last.computed is None:  # bulk and control travel apart
            last.arrived = t
        else:
            visit.uplinks.append(t - last.computed)
        for number in tickets:
            if number != tickets[-1] or last.computed is not None:
                visit.held.pop(number, None)

    def _received(self, visit: _Visit, version: int, t: float) -> None:
        if version <= visit.received:
            return
        for ticket in visit.held.values():  # a few; one of them is being computed, if any is
            ticket.pulled += ticket.version >= 0 and ticket.computed is None
        published = self._published.get(version)
        if published is not None and visit.asked is not None:
            visit.downlinks.append(t - max(published, visit.asked))
        visit.received = version
        queued = [one for one in visit.held.values() if one.version < 0]
        waits = visit.busy == len(queued) > 0 and all(one.min_version > version for one in queued)
        visit.asked = t if waits else None

    # Commands -----------------------------------------------------------------------------------------------

    def _obey(self, command: c.Command, t: float) -> None:
        match command:
            case c.Grant(worker, number):
                if visit := self._here.get(worker):
                    size = sum(stop - start for start, stop in command.ranges)
                    idle = visit.busy == 0 and command.min_version <= visit.received
                    visit.busy += 1
                    if visit.asked is None and not visit.sizes:
                        visit.asked = t
                    visit.held[number] = _Ticket(size, t, command.min_version, idle)
            case c.Step(version=version):
                self._stepped[version] = t
            case c.Publish(version):
                self._published[version] = t
                self._published.pop(version - VERSIONS, None)
            case c.EndEpoch(epoch):
                self._ended[epoch] = t
            case c.Finish():
                self._over = True
            case _:
                pass

    # The result ---------------------------------------------------------------------------------------------

    def result(self) -> Conditions:
        """What the lines so far tell.

        Raises:
            RecordError: there was no header, or nobody computed anything.
        """
        if self._header is None:
            raise RecordError("a record without its header does not say what it is of")
        origin = self._origin
        if origin is None or not any(visit.sizes for visit in self._visits):
            raise RecordError(
                "nobody computed anything in this record, so it does not tell how fast its machines are. "
                "Name the record of a run that trained for some steps."
            )
        remarks = [self._broken] if self._broken else []
        batches = {id(v): _batches(v) for v in self._visits if v.sizes}
        costs = shape(list(batches.values()))
        known = costs.overhead if costs.known else None
        fits = {}
        for visit in self._visits:
            if visit.sizes:
                b = batches[id(visit)]
                plain = b.seconds * (b.sizes + costs.overhead) / costs.samples(b.sizes, b.pushed, b.pulled)
                fits[id(visit)] = pacing(visit.begins, visit.sizes, plain.tolist(), known)
        common = _Common(self._visits, real=self._header.kind == "run", costs=costs)
        hosts: list[Host] = []
        workers: list[int] = []
        again: list[bool] = []
        last = {visit.worker: visit for visit in self._visits if visit.sizes}
        for visit in self._visits:
            fit = fits.get(id(visit))
            if fit is None and visit.worker in last:  # it came back, and went again
                fit = fits[id(last[visit.worker])]
                fit = Pacing(fit.pace, (), fit.overhead, fit.noise, (), fit.known)
            if fit is None and visit.pace is not None:
                fit = Pacing(visit.pace, (), 0.0, 0.0, (), False)
                remarks.append(f"worker {visit.worker} computed nothing: its pace is that of its probe")
            elif fit is None:
                remarks.append(f"worker {visit.worker} is left out: it computed nothing, and measured no pace")
                continue
            elif not fit.known:
                remarks.append(
                    f"worker {visit.worker}: its micro-batches had about the same size, so what each costs beyond its "
                    "samples is in its pace"
                )
            hosts.append(common.host(visit, fit, origin))
            workers.append(visit.worker)
            again.append(visit.again)
        # As they are numbered in the record; who came back follows.
        order = sorted(range(len(hosts)), key=lambda at: (again[at], workers[at]))
        cluster = Cluster(
            tuple(hosts[at] for at in order),
            step_seconds=_digits(_middle(self._steps) or 0.0),
            probe=any(visit.pace is not None for visit in self._visits),
            evaluation=_digits(_middle(self._taken) or 0.0),
            parameters=BYTES * self._header.parameters,
        )
        return Conditions(
            cluster,
            tuple(workers[at] for at in order),
            self._header,
            self._header.positions or self._positions,
            self._last - origin,
            tuple(remarks),
        )


class _Common:
    """What holds for workers about whom the record does not tell it. ``real``: a loader has to be started at first."""

    def __init__(self, visits: Sequence[_Visit], real: bool, costs: Shape) -> None:
        plain = Host(pace=1.0)
        self._costs = costs
        self._skip = 1 if real else 0
        # The first turn of a real worker starts its loader, too, and says nothing of messages.
        turns = [] if real else [visit.turns[0] / 2 for visit in visits if visit.turns]
        first = min(turns, default=plain.latency)
        self._latency = _typical([self._own_latency(visit) for visit in visits], first)
        self._uplink = _typical([_middle(visit.uplinks) for visit in visits], plain.uplink)
        self._downlink = _typical([_downlink(visit) for visit in visits], plain.downlink)

    def _own_latency(self, visit: _Visit) -> float | None:
        """Of a control message, one way: from a grant to one that is idle to what it begins, there and back.

        The least counts: a worker also loads its samples then, and takes its time to begin. And no set of parameters is
        there before a message would be.
        """
        turns = [turn / 2 for turn in visit.turns[self._skip :]]
        return min([*turns, *visit.waits, *visit.downlinks]) if turns else None

    def host(self, visit: _Visit, fit: Pacing, origin: float) -> Host:
        """A worker as a host; times from ``origin`` on."""
        latency = self._own_latency(visit)
        latency = self._latency if latency is None else latency
        # Reports and pushes leave together, and the report is there after the latency. Parameters count as there when
        # the server hears so, which is a latency later than they are.
        uplink = _middle(visit.uplinks)
        uplink = (self._uplink if uplink is None else uplink) + latency
        downlink = _downlink(visit)
        downlink = (self._downlink if downlink is None else downlink) - latency
        return Host(
            pace=_digits(fit.pace),
            overhead=_digits(fit.overhead),
            noise=_digits(fit.noise),
            uplink=_digits(max(0.0, uplink)),
            downlink=_digits(max(0.0, downlink)),
            latency=_digits(latency),
            push_work=_digits(self._costs.push / fit.pace),
            pull_work=_digits(self._costs.pull / fit.pace),
            joins=max(0.0, _time(visit.joined - origin)),
            dies=None if visit.left is None else max(0.0, _time(visit.left - origin)),
            stalls=tuple((max(0.0, _time(at - origin)), _digits(seconds)) for at, seconds in fit.stalls),
            paces=tuple((_time(at - origin), _digits(pace)) for at, pace in fit.paces),
            declines=_each(visit.heard, visit.declined),
            refused=_each(visit.pushes, visit.refused),
        )


def _batches(visit: _Visit) -> Batches:
    """Its micro-batches; a push is one's that began when the one before it ended."""
    pushed = np.fromiter((ticket in visit.pushed for ticket in visit.after), np.float64, len(visit.after))
    return Batches(np.asarray(visit.sizes), np.asarray(visit.seconds), pushed, np.asarray(visit.pulled))


def _downlink(visit: _Visit) -> float | None:
    """From publication to use, where it waited for that; else to the report, which a busy worker may send late."""
    if len(visit.waits) >= ENOUGH:
        return _middle(visit.waits)
    return _middle(visit.downlinks if visit.downlinks else visit.waits)


def _middle(values: Sequence[float]) -> float | None:
    """The mean without the tenth part at either end: sums are to be predicted, but not by a single hold-up."""
    if not values:
        return None
    ordered = sorted(values)
    cut = len(ordered) // 10
    return statistics.fmean(ordered[cut : len(ordered) - cut])


def _typical(values: Iterable[float | None], otherwise: float) -> float:
    return statistics.median([value for value in values if value is not None] or [otherwise])


def _each(all_of_them: int, some: int) -> int:
    """Each how many-th; 0: none."""
    return round(all_of_them / some) if some else 0


def _digits(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _time(value: float) -> float:
    return round(value, 6)
