"""Results put together by what was compared: a cell per policy, over the seeds, paired with ``synchronous`` by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .grid import BASE, POLICIES, SEEDS, Problem, Run, Scores, chosen
from .results import Result

Value = Callable[[Result], float | None]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation (of the sample, 0 for one value) of what ``count`` seeds gave, of ``of``.

    >>> Spread.over([1.0, 3.0, None])
    Spread(mean=2.0, deviation=1.4142135623730951, count=2, of=3)
    """

    mean: float
    deviation: float
    count: int
    of: int

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread | None:
        """Of the values that are known; ``None`` if none is."""
        given = list(values)
        known = [value for value in given if value is not None and math.isfinite(value)]
        if not known:
            return None
        deviation = statistics.stdev(known) if len(known) > 1 else 0.0
        return cls(statistics.mean(known), deviation, len(known), len(given))


@dataclass(frozen=True, slots=True)
class Cell:
    """One policy on one cluster at one rate: its results by seed, and those of ``synchronous`` to compare with."""

    policy: str
    rate: float
    results: dict[int, Result]
    base: dict[int, Result]

    def spread(self, value: Value) -> Spread | None:
        """Of ``value`` over the seeds; a run that failed has none."""
        return Spread.over(value(result) if result.ok else None for result in self.results.values())

    def against(self, value: Value, compare: Callable[[float, float], float]) -> Spread | None:
        """Of ``compare(value here, value of synchronous)``, seed by seed: what seeds share cancels."""
        pairs = [(result, self.base[seed]) for seed, result in self.results.items() if seed in self.base]
        values = [(value(own), value(base)) if own.ok and base.ok else (None, None) for own, base in pairs]
        return Spread.over(None if own is None or base is None else compare(own, base) for own, base in values)

    @property
    def speedup(self) -> Spread | None:
        """Total time of ``synchronous`` / this one's, samples being equal."""
        return self.against(lambda result: result.total_s, lambda own, base: base / own)

    @property
    def gap(self) -> Spread | None:
        """Final accuracy less that of ``synchronous``."""
        return self.against(lambda result: result.final_accuracy, lambda own, base: own - base)


class Study:
    """All results by key, and the plan they belong to."""

    def __init__(self, results: Sequence[Result]) -> None:
        self.results = {result.key: result for result in results}
        self.scores: Scores = {key: result.score for key, result in self.results.items()}

    def cells(self, problem: Problem, cluster: str, *, tuned: bool = False) -> list[Cell]:
        """A cell for each policy that has a result, at the transferred rate or at its own."""
        cells = []
        base: dict[int, Result] = {}
        for policy in POLICIES:
            rate = chosen(problem, cluster, policy if tuned else BASE, self.scores)
            if rate is None:
                continue
            found = {seed: self.results.get(Run(problem, cluster, policy, rate, seed).key) for seed in SEEDS}
            known = {seed: result for seed, result in found.items() if result is not None}
            base = known if policy == BASE else base
            if known:
                cells.append(Cell(policy, rate, known, base))
        return cells

    def placed(self, place: str, cluster: str) -> list[Result]:
        """Results of the runs at ``place`` whose label names ``cluster``."""
        words = f"[{cluster}]"
        return [one for one in self.results.values() if one.spec["place"] == place and words in one.label]
