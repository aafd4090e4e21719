"""The goals, as data: what is measured, how it follows from the results, and what it should come to."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .results import Result, Session, Spread, neighbours, own_shares


@dataclass(frozen=True, slots=True)
class Goal:
    """Something that evener should reach.

    Attributes:
        measure: for people.
        at: cluster, workload and batch.
        system: of evener's.
        least: what should be found.
        how: ``limit``: samples/s as a share of the limit. ``host``: the same of each host, of its own limit; the least
            of them. ``pair``: samples/s as a multiple of those of ``against`` in the same repetition. ``best``: as a
            multiple of the median of the best of ``against``.
        against: other systems, measured in the same block.
        stale: at most so much of the samples may be stale; ``None``: as much as there is.
        everyone: each host must have taken part.
    """

    measure: str
    at: tuple[str, str, int]
    system: str
    least: float
    how: Literal["limit", "host", "pair", "best"] = "limit"
    against: tuple[str, ...] = ()
    stale: float | None = None
    everyone: bool = True


NO_ORACLE = (
    "ddp", "local-sgd-equal", "torchft-diloco-equal", "hivemind", "hivemind-16384", "hivemind-16384-delayed"
)  # fmt: skip

SMALL = ("8-4-2-1", "small", 512)
RESNET = ("8-4-2-1", "resnet20", 256)

GOALS = (
    Goal("8:4:2:1, small CNN, batch 512, at most 15% stale: of the limit", SMALL, "balanced-15", 0.95, stale=0.15),
    Goal("8:4:2:1, small CNN, batch 512, at most 25% stale: of the limit", SMALL, "balanced-25", 0.97, stale=0.25),
    Goal("8:4:2:1, small CNN, batch 512, S = 0: of the limit", SMALL, "balanced-0", 0.88, stale=0.0),
    Goal("8:4:2:1, ResNet-20, batch 256, at most 10% stale: of the limit", RESNET, "balanced-10", 0.97, stale=0.10),
    Goal("8:4:2:1, ResNet-20, batch 256, S = 0: of the limit", RESNET, "balanced-0", 0.95, stale=0.0),
    Goal("small CNN, speeds rotating every 10 s, at most 20% stale: of the limit",
         ("rotating", "small", 512), "balanced-20", 0.93, stale=0.20),
    Goal("small CNN, random stalls for 10% of the time, at most 20% stale: of the limit",
         ("stalls", "small", 512), "balanced-20", 0.93, stale=0.20),
    Goal("8:4:2:1, small CNN, batch 512: the least of the hosts, of its own limit", SMALL, "balanced", 0.90, "host"),
    Goal("8:4:2:1, ResNet-20, batch 256: the least of the hosts, of its own limit",
         RESNET, "balanced-10", 0.90, "host"),
    Goal("1:1:1:0.1, small CNN, batch 512: of the limit", ("straggler", "small", 512), "balanced", 0.95),
    Goal("1:1:1:0.1, small CNN, batch 512: times DDP", ("straggler", "small", 512), "balanced", 7.0, "pair", ("ddp",)),
    Goal("8:4:2:1, small CNN, batch 512: times the best peer without an oracle",
         SMALL, "balanced", 2.5, "best", NO_ORACLE),
    Goal("8:4:2:1, small CNN, batch 256: times DDP with oracle batches",
         ("8-4-2-1", "small", 256), "balanced", 1.5, "pair", ("ddp-oracle",)),
    Goal("8:4:2:1, small CNN, batch 512: times DDP with oracle batches",
         SMALL, "balanced", 1.3, "pair", ("ddp-oracle",)),
    Goal("links of 100 Mbit/s and 10 ms, the server's of 1 Gbit/s, small CNN, batch 1024: of the limit",
         ("access", "small", 1024), "balanced-free", 0.90),
    Goal("equal speeds, small CNN, batch 512: times DDP", ("equal", "small", 512), "balanced", 1.0, "pair", ("ddp",)),
    Goal("one worker, small CNN, batch 512: times the plain loop",
         ("one", "small", 512), "balanced", 0.97, "pair", ("plain",)),
    Goal("a fifth host, ten times slower than the slowest: times without it",
         ("fifth", "small", 512), "balanced", 0.98, "pair", ("balanced-without",), everyone=False),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """A goal, and what was found.

    Attributes:
        found: over ``count`` repetitions, or pairs; ``None``: it was not measured.
        stale_fraction: of evener's runs among these.
        met: whether the median reaches the goal, and nothing speaks against it; ``None``: it cannot be said, since some
            of what it is held against was not tried.
        why: what speaks against it, and what else to know.
    """

    measure: str
    system: str
    goal: float
    stale_at_most: float | None
    found: Spread | None
    count: int
    stale_fraction: Spread | None
    met: bool | None
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def evaluate(session: Session, goals: Sequence[Goal] = GOALS) -> list[Found]:
    """All goals of which this session has measured anything."""
    found = []
    for goal in goals:
        block = [one for one in session.results if (one.cluster, one.workload, one.batch) == goal.at]
        if any(one.system == goal.system for one in block):
            found.append(judge(goal, block))
    return found


def judge(goal: Goal, block: Sequence[Result]) -> Found:
    """Hold a goal against the results of its cluster, workload and batch."""
    own = [one for one in block if one.system == goal.system]
    good = [one for one in own if not one.failed]
    values, against = _values(goal, block)
    found = Spread.of(values)
    stale = Spread.of([one.stale_fraction for one in good if one.stale_fraction is not None])
    objections = list(_objections(goal, own, stale))
    if found is None:
        objections.insert(0, "what it is held against was not measured" if good else "it failed")
    elif found.median < goal.least:
        objections.insert(0, f"{found.median:.3g} is below {goal.least:g}")
    untried = sorted(set(goal.against) - {one.system for one in block})
    notes = [*([against] if against else []), *([f"not tried: {', '.join(untried)}"] if untried else [])]
    if idle := sorted({worker for one in good for worker in one.sat_out}):
        notes.append(f"host {', '.join(map(str, idle))} sat out at times")
    open_yet = (found is None and bool(good)) or bool(untried)
    return Found(
        goal.measure, goal.system, goal.least, goal.stale, found, len(values), stale,
        met=None if open_yet else not objections,
        why="; ".join(objections + notes),
    )  # fmt: skip


def _values(goal: Goal, block: Sequence[Result]) -> tuple[list[float], str]:
    """One for each repetition; and against whom, if there is a choice."""
    rates = [(one, one.samples_per_second) for one in block if one.samples_per_second is not None and not one.failed]
    own = [(one, rate) for one, rate in rates if one.system == goal.system]
    match goal.how:
        case "limit":
            limits = {id(one): limit for one, limit in zip(block, neighbours(block), strict=True)}
            return [rate / limit for one, rate in own if (limit := limits[id(one)])], ""
        case "host":
            shares = {id(one): share for one, share in zip(block, own_shares(block), strict=True)}
            return [min(share) for one, _ in own if (share := shares[id(one)])], ""
        case "pair":
            other = {one.repetition: rate for one, rate in rates if one.system in goal.against}
            return [rate / other[one.repetition] for one, rate in own if other.get(one.repetition)], ""
        case "best":
            medians = {
                name: statistics.median(found)
                for name in goal.against
                if (found := [rate for one, rate in rates if one.system == name])
            }
            if not medians:
                return [], ""
            best = max(medians, key=lambda name: medians[name])
            failed = [name for name in {one.system for one in block} & set(goal.against) if name not in medians]
            words = f"the best: {best}" + (f"; failed: {', '.join(sorted(failed))}" if failed else "")
            return [rate / medians[best] for _, rate in own], words


def _objections(goal: Goal, own: Sequence[Result], stale: Spread | None) -> Iterator[str]:
    if problems := [one.problems for one in own if one.problems]:
        yield f"the accounting does not hold: {problems[0]}"
    if failed := sum(bool(one.failed or one.ended_early) for one in own):
        yield f"{failed} of {len(own)} runs failed"
    if goal.stale is not None and stale is not None and round(stale.median, 3) > goal.stale:
        yield f"{stale.median:.1%} were stale"
    if goal.everyone and (idle := {host for one in own for host, rate in enumerate(one.by_host) if rate <= 0}):
        yield f"host {', '.join(map(str, sorted(idle)))} was left out"
