"""The convergence watch: numbers of contributions in, warnings out. It never stops or changes anything.

A false alarm is worse than silence: thresholds are wide, each must be passed for a while, and where a difference has
a healthy explanation it is not one. ``docs/decisions/0008-convergence-watch.md`` has the reasons.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from .commands import Warn
from .series import EXTREME_LOSS, EXTREME_NORM, WINDOW, Series
from .values import value

FAR_NORM, FAR_LOSS = 10.0, 3.0
"""Times the others' that one worker's gradient norm, or loss, must be."""

JUDGED, FAR = 8, 6
"""One worker's last contributions that are looked at, and how many of them must be far from the others'. Half as many
if their norms are :data:`FAR_NORM` squared times the others': then the network may not live long."""

SUSPECT = 2
"""Far contributions, if they are half of those looked at, that make a worker the cause of what the run does."""

LESS: dict[str, tuple[str, object]] = {
    "stale_fraction": ("lower --stale-fraction", 0.0),
    "bound": ("set a smaller --bound", 0),
    "s_max": ("set a smaller --option s_max", 0),
    "delay": ("set a smaller --delay", 1),
    "rate_scaling": ("set --option rate_scaling=staleness", "staleness"),
}
"""By a policy's option: what makes staleness less harmful, and the value from which on there is no more to gain."""

LUCK = 8
"""Samples below which a contribution is not compared with others: with a heavy tail it says too little."""

NEAR = 2
"""Versions by which the parameters of two contributions may differ for them to be compared."""

REMEMBERED = 64
"""Contributions that others are compared with, and workers that have left."""

STALE = 0.2
"""Share of the samples of a window beyond which staleness is taken to be the cause."""

REFUSED = 4
"""Batches' worth of refused contributions in a row, none applied, that are called divergence."""

REPEAT = 1000
"""Steps in which the same cause is not named twice."""


@value
class Contribution:
    """What was accepted: ``samples`` of which ``stale`` were computed on old parameters, ``version`` the oldest.

    ``norm`` is the 2-norm of their mean gradient (0: not known), ``loss`` their mean loss.
    """

    worker: int
    version: int
    samples: int
    stale: int
    norm: float
    loss: float | None = None


@dataclass(slots=True)
class _Worker:
    first: Contribution | None = None
    far: deque[int] = field(default_factory=lambda: deque(maxlen=JUDGED))
    what: str = ""
    refused: int = 0
    samples: int = 0
    why: str = ""
    told: int = 0


class Watch:
    """Follows a run, contribution by contribution and step by step.

    Args:
        batch: samples per optimizer step, ``B``.
        collects: whether a step collects a batch; else each contribution is a step.
        options: the policy's, by name: advice names no others.

    Example:
        >>> watch = Watch(batch=64, collects=True)
        >>> for step in range(40):
        ...     watch.accepted(step, Contribution(0, step, 64, 0, norm=1.0, loss=2.3 if step < 2 else 1e4))
        ...     for warning in watch.stepped(step): print(warning.cause)
        learning rate
    """

    def __init__(self, batch: int, collects: bool, options: Mapping[str, object] | None = None) -> None:
        self._batch = batch
        self._collects = collects
        self._options = options or {}
        self._open: dict[int, list[Contribution]] = {}
        self._losses, self._norms = Series(), Series()
        self._staleness: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        self._latest: deque[Contribution] = deque(maxlen=REMEMBERED)
        self._workers: dict[int, _Worker] = {}
        self._gone: dict[int, None] = {}  # those who left, the longest ago first
        self._least_norm, self._least_loss = math.inf, math.inf  # of all workers' first contributions
        self._informed = False  # whether any contribution came with a norm or a loss
        self._to_tell: set[int] = set()  # who was refused since the last step
        self._row = 0
        self._row_workers: set[int] = set()
        self._steps = 0
        self._told: dict[tuple[str, int], int] = {}

    # What happens -------------------------------------------------------------------------------------------

    def accepted(self, step: int, contribution: Contribution) -> None:
        """A contribution will be applied in ``step``."""
        self._row = 0
        self._row_workers.clear()
        if contribution.norm > 0 or contribution.loss is not None:
            self._informed = True
        if (added := self._open.get(step)) is None:
            added = self._open[step] = []
        added.append(contribution)

    def refused(self, worker: int, samples: int, why: str) -> list[Warn]:
        """A contribution of ``samples`` was refused because of ``why``."""
        found = self._workers.setdefault(worker, _Worker())
        found.refused += 1
        found.samples += samples
        found.why = why
        self._to_tell.add(worker)
        before, self._row = self._row, self._row + samples
        self._row_workers.add(worker)
        if not before < REFUSED * self._batch <= self._row:
            return []
        what = f"every contribution of the last {self._row} samples was refused: {why}"
        if self._steps == 0:
            cure = "No step was taken yet, so it is not the learning rate: look at the data, the loss and the precision"
            return self._say("refused", -1, f"{what}. {cure}.")
        if len(self._row_workers) == 1 and len(self._workers) > 1:
            return self._say("worker", worker, f"{what}. All were worker {worker}'s. {_cure_of(worker)}")
        return self._diverged(what)

    def stepped(self, step: int) -> list[Warn]:
        """``step`` was taken, with what was accepted for it."""
        added = self._open.pop(step, [])
        if not added:
            return []
        self._steps += 1
        self._latest.extend(added)
        stale = samples = 0
        for one in added:
            stale += one.stale
            samples += one.samples
        self._staleness.append((stale, samples))
        if not self._informed:  # timing alone: there is nothing to compare
            for one in added:
                self._known(one)
            return self._refusals() if self._to_tell else []
        self._losses.add([(one.loss, one.samples) for one in added if one.loss is not None])
        self._norms.add([(one.norm, one.samples) for one in added if one.norm > 0])
        said: list[Warn] = []
        for one in added:
            found = self._known(one)
            how, what = self._far(one)
            if what:
                found.what = what
            if how is not None:
                found.far.append(how)
            if sum(found.far) >= FAR:
                said += self._odd(one.worker)
        if what := self._losses.rose(self._losses.worst_loss(), EXTREME_LOSS):
            said += self._diverged(f"the loss {what}")
        # Gradients grow when a network leaves a plateau, too; then its loss falls.
        elif not self._falls() and (what := self._norms.rose(self._norms.worst_norm(), EXTREME_NORM)):
            said += self._diverged(f"the gradient norm {what}")
        return said + self._refusals()

    def _known(self, one: Contribution) -> _Worker:
        """Whose it is; its first one says where the run began."""
        found = self._workers.get(one.worker)
        if found is None:
            found = self._workers[one.worker] = _Worker()
        if found.first is None and one.version < WINDOW:
            found.first = one
            if one.norm > 0:
                self._least_norm = min(self._least_norm, one.norm)
            if one.loss is not None:
                self._least_loss = min(self._least_loss, one.loss)
        return found

    def _falls(self) -> bool:
        first, recent = self._losses.first, self._losses.recent
        return first is not None and statistics.median(recent) < first

    def left(self, worker: int) -> None:
        """It is gone; who comes back with its number may be on another machine."""
        if found := self._workers.get(worker):
            found.far.clear()
            # What it contributed may be applied yet, so it is not forgotten at once; but there may be thousands.
            self._gone.pop(worker, None)
            self._gone[worker] = None
            if len(self._gone) > REMEMBERED:
                longest = next(iter(self._gone))
                del self._gone[longest]
                self._workers.pop(longest, None)
                self._to_tell.discard(longest)

    # One worker ---------------------------------------------------------------------------------------------

    def _far(self, one: Contribution) -> tuple[int | None, str]:
        """Whether it is far (1), or very (2), from the others' on the same parameters (``None``: unknown), and how."""
        others = [other for other in self._latest if other.worker != one.worker and other.samples >= LUCK]
        nearest = min((abs(other.version - one.version) for other in others), default=NEAR + 1)
        if nearest > NEAR or one.samples < LUCK:
            return None, ""
        others = [other for other in others if abs(other.version - one.version) == nearest]
        norms = [other for other in others if other.norm > 0]
        # Where the run began counts by whoever had the least then.
        if norms and one.norm > self._least_norm:
            usual = statistics.median(other.norm for other in norms)
            scaled = statistics.median(other.norm * math.sqrt(other.samples) for other in norms)
            times = min(one.norm / usual, one.norm * math.sqrt(one.samples) / scaled)
            if times > FAR_NORM:
                very = times > FAR_NORM**2
                return 1 + very, f"its gradient norm is {one.norm:.3g}, that of the others {usual:.3g}"
        losses = [other.loss for other in others if other.loss is not None]
        if losses and one.loss is not None and one.loss > self._least_loss and self._losses.lowest >= 0:
            usual = statistics.median(losses)
            if one.loss - usual > (FAR_LOSS - 1) * abs(usual):
                return 1, f"its loss is {one.loss:.3g}, that of the others {usual:.3g}"
        return (0 if norms or losses else None), ""

    def _odd(self, worker: int) -> list[Warn]:
        what = f"worker {worker} differs from the others on the same parameters: {self._workers[worker].what}"
        return self._say("worker", worker, f"{what}. {_cure_of(worker)}")

    def _refusals(self) -> list[Warn]:
        """Who was refused while the run goes on; again when there are ten times as many."""
        said: list[Warn] = []
        for worker in sorted(self._to_tell):
            found = self._workers[worker]
            if found.refused >= max(1, 10 * found.told):
                found.told = found.refused
                were = "contribution was" if found.refused == 1 else "contributions were"
                what = f"{found.refused} {were} refused ({found.samples} samples): {found.why}"
                cure = "If there are more, look at its data, device and precision"
                said.append(Warn("refused", f"worker {worker}: {what}. {cure}."))
        self._to_tell.clear()
        return said

    # The run ------------------------------------------------------------------------------------------------

    def _diverged(self, what: str) -> list[Warn]:
        """Name the cause of what was seen; not while one is known, whose consequence it may be."""
        if any(self._steps < at + REPEAT for (cause, _), at in self._told.items() if cause != "refused"):
            return []
        odd = max(self._workers, key=lambda worker: sum(self._workers[worker].far), default=-1)
        if odd >= 0 and (far := self._workers[odd].far) and sum(map(bool, far)) >= max(SUSPECT, 0.5 * len(far)):
            what = f"{what}. Worker {odd} differs from the others on the same parameters: {self._workers[odd].what}"
            return self._say("worker", odd, f"{what}. {_cure_of(odd)}")
        samples = sum(samples for _, samples in self._staleness)
        share = sum(stale for stale, _ in self._staleness) / samples if samples else 0.0
        if share > STALE:
            why = f"The likely cause is staleness: {share:.0%} of the last samples were computed on old parameters"
            return self._say("staleness", -1, f"{what}. {why}. {self._fresher()}")
        cure = "Make it ten times smaller, warm it up, or set clip_norm= in session.prepare"
        fresh = "" if share == 0.0 else f" ({share:.0%} of the last samples were stale, which narrows what is stable.)"
        return self._say("learning rate", -1, f"{what}. The likely cause is the learning rate. {cure}.{fresh}")

    def _fresher(self) -> str:
        """What to set for less staleness, in words of this policy."""
        ways = [way for option, (way, least) in LESS.items() if self._options.get(option, least) != least]
        if not self._collects:
            ways.append("use --policy balanced")
        words = f"{', '.join(ways[:-1])} or {ways[-1]}" if len(ways) > 1 else "".join(ways)
        test = "If --policy synchronous diverges too, it is the learning rate."
        return f"{words[:1].upper()}{words[1:]}. {test}" if words else test

    def _say(self, cause: str, worker: int, text: str) -> list[Warn]:
        told = self._told.get((cause, worker))
        if told is not None and self._steps < told + REPEAT:
            return []
        self._told = {said: at for said, at in self._told.items() if self._steps < at + REPEAT}
        self._told[cause, worker] = self._steps
        return [Warn(cause, text)]


def _cure_of(worker: int) -> str:
    return f"Look at worker {worker}'s data, device and precision, or run without it."
