"""The cluster of a recorded run: what its machines, links and server were like, to simulate another run on them.

Everything follows from the events, so a real record and a simulated one are treated alike. What a record does not tell
is said in words: with micro-batches of one size, for example, overhead and pace cannot be told apart.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from ..trace import Header, Line, RecordError
from ..trace.reader import as_lines
from .cluster import Cluster, Host
from .links import Link
from .pacing import Pacing, pacing
from .shape import Batches, Shape, shape
from .visits import Visit, Visits

ENOUGH = 3
"""Measurements of a kind from which the better kind is preferred to the more frequent one."""

BYTES = 4
"""Of each number that is trained."""

SHORTEST = 1e-5
"""Seconds that a push takes at least."""

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
    found = Visits()
    for line in as_lines(record):
        if not found.feed(line):
            break
    try:
        return _estimated(found)
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


def _estimated(found: Visits) -> Conditions:
    """What the visits tell.

    Raises:
        RecordError: there was no header, or nobody computed anything.
    """
    if found.header is None:
        raise RecordError("a record without its header does not say what it is of")
    origin = found.origin
    if origin is None or not any(visit.sizes for visit in found.visits):
        raise RecordError(
            "nobody computed anything in this record, so it does not tell how fast its machines are. "
            "Name the record of a run that trained for some steps."
        )
    remarks = [found.broken] if found.broken else []
    costs, fits = _fits([visit for visit in found.visits if visit.sizes])
    if not costs.told:
        remarks.append("what a push costs is hidden by the waits that follow it: it is taken for what parameters cost")
    common = _Common(found.visits, found.header, costs)
    hosts: list[Host] = []
    workers: list[int] = []
    again: list[bool] = []
    last = {visit.worker: visit for visit in found.visits if visit.sizes}
    for visit in found.visits:
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
        step_seconds=_digits(_middle(found.steps) or 0.0),
        probe=any(visit.pace is not None for visit in found.visits),
        evaluation=_digits(_middle(found.taken) or 0.0),
        parameters=BYTES * found.header.parameters,
    )
    return Conditions(
        cluster,
        tuple(workers[at] for at in order),
        found.header,
        found.header.positions or found.positions,
        found.last - origin,
        tuple(remarks),
    )


def _fits(visits: Sequence[Visit]) -> tuple[Shape, dict[int, Pacing]]:
    """What transfers and micro-batches cost all workers, and the pace of each visit, by its ``id``."""
    stretches = [[_batches(visit)] for visit in visits]
    whose = [visit.worker for visit in visits]
    for _ in range(2):  # costs are best told where the pace is one, and the pace without the transfers
        of = [whose[at] for at, some in enumerate(stretches) for _ in some]
        costs = shape([stretch for some in stretches for stretch in some], of)
        known = costs.overhead if costs.known else None
        fits = []
        for at, visit in enumerate(visits):
            burst = costs.burst(visit.worker)
            plain = np.concatenate([costs.plain(stretch, burst) for stretch in stretches[at]])
            fits.append(pacing(visit.begins, visit.sizes, plain.tolist(), known, periods=burst > 0))
            cuts = np.searchsorted(np.asarray(visit.begins), [time for time, _ in fits[at].paces])
            stretches[at] = _batches(visit).split(cuts.tolist())
    return costs, {id(visit): fit for visit, fit in zip(visits, fits, strict=True)}


class _Common:
    """What holds for all workers, and for those about whom the record does not tell it."""

    def __init__(self, visits: Sequence[Visit], header: Header, costs: Shape) -> None:
        plain = Host(pace=1.0)
        real = header.kind == "run"
        self._costs = costs
        # The pushes of a real worker go one after the other.
        self._bits = 8 * BYTES * header.parameters if real else 0
        self._skip = 1 if real else 0  # a loader has to be started at first
        # The first turn of a real worker starts its loader, too, and says nothing of messages.
        turns = [] if real else [visit.turns[0] / 2 for visit in visits if visit.turns]
        first = min(turns, default=plain.latency)
        self._latency = _typical([self._own_latency(visit) for visit in visits], first)
        self._uplink = _typical([_middle(visit.uplinks) for visit in visits], plain.uplink)
        self._downlink = _typical([_downlink(visit) for visit in visits], plain.downlink)

    def _own_latency(self, visit: Visit) -> float | None:
        """Of a control message, one way: from a grant to one that is idle to what it begins, there and back.

        The least counts: a worker also loads its samples then, and takes its time to begin. And no set of parameters is
        there before a message would be.
        """
        turns = [turn / 2 for turn in visit.turns[self._skip :]]
        return min([*turns, *visit.waits, *visit.downlinks]) if turns else None

    def host(self, visit: Visit, fit: Pacing, origin: float) -> Host:
        """A worker as a host; times from ``origin`` on."""
        latency = self._own_latency(visit)
        latency = self._latency if latency is None else latency
        # Reports and pushes leave together, and the report is there after the latency. Parameters count as there when
        # the server hears so, which is a latency later than they are.
        uplink = _middle(visit.uplinks)
        uplink = max(0.0, (self._uplink if uplink is None else uplink) + latency)
        downlink = _downlink(visit)
        downlink = (self._downlink if downlink is None else downlink) - latency
        return Host(
            pace=_digits(fit.pace),
            overhead=_digits(fit.overhead),
            noise=_digits(fit.noise),
            uplink=_digits(latency if self._bits else uplink),
            link=Link(up=_digits(self._bits / max(uplink - latency, SHORTEST))) if self._bits else None,
            downlink=_digits(max(0.0, downlink)),
            latency=_digits(latency),
            push_work=_digits(self._costs.push / fit.pace),
            pull_work=_digits(self._costs.pull / fit.pace),
            burst=_digits(self._costs.burst(visit.worker) / fit.pace),
            scatter=_digits(fit.scatter),
            joins=max(0.0, _time(visit.joined - origin)),
            dies=None if visit.left is None else max(0.0, _time(visit.left - origin)),
            stalls=tuple((max(0.0, _time(at - origin)), _digits(seconds)) for at, seconds in fit.stalls),
            paces=tuple((_time(at - origin), _digits(pace)) for at, pace in fit.paces),
            declines=_each(visit.heard, visit.declined),
            refused=_each(visit.pushes, visit.refused),
        )


def _batches(visit: Visit) -> Batches:
    """Its micro-batches; a push begins when the last micro-batch of it ends."""
    pushed = np.fromiter((ticket in visit.pushed for ticket in visit.after), np.bool_, len(visit.after))
    gaps = np.where(pushed, np.asarray(visit.gaps), np.inf)
    sizes, seconds, pulled, idle = map(np.asarray, (visit.sizes, visit.seconds, visit.pulled, visit.gaps))
    return Batches(sizes, seconds, gaps, pulled, idle)


def _downlink(visit: Visit) -> float | None:
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
