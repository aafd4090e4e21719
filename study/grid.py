"""What the study runs: pure data. A run is known by a key, so that it is done once and found again.

Tiers, the most important first:

0. the learning rates of ``synchronous``;
1. HAR on both clusters, every policy, at the rate transferred from ``synchronous``, seed 0;
2. the other seeds;
3. Fashion-MNIST, the same;
4. the learning rate tuned for every policy, with as many trials as ``synchronous`` had, and the runs at that rate;
5. one more thing varied at a time: AdamW, rotating speeds, GroupNorm.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evener.simulation.cluster import Cluster, Host

from . import clusters

VERSION = 2
"""Raise it when evener changes what a run comes to: all results are then out of date."""

SEEDS = (0, 1, 2)
TUNING_SEED = 9
"""Learning rates are chosen on a seed that no result is reported of."""

MOMENTUM = 0.9
"""Of SGD, where nothing else is said."""

Options = dict[str, float | int | str]

POLICIES: dict[str, tuple[str, Options]] = {
    "synchronous": ("synchronous", {}),
    "asynchronous": ("asynchronous", {}),
    "stale": ("stale", {"bound": 3}),
    "dynamic": ("dynamic", {"s_min": 3, "s_max": 15}),
    "delayed": ("delayed", {"delay": "auto"}),
    "balanced S=0": ("balanced", {"bound": 0}),
    "balanced 5%": ("balanced", {"bound": 1, "stale_fraction": 0.05}),
    "balanced 10%": ("balanced", {"bound": 1, "stale_fraction": 0.1}),
    "balanced 10% look-ahead": ("balanced", {"bound": 1, "stale_fraction": 0.1, "look_ahead": 1}),
    "balanced 25%": ("balanced", {"bound": 1, "stale_fraction": 0.25}),
    "balanced 25% look-ahead": ("balanced", {"bound": 1, "stale_fraction": 0.25, "look_ahead": 1}),
}
"""Label → policy and options."""

RELATIVES = {
    "balanced 5%": "balanced 10%",
    "balanced 10% look-ahead": "balanced 10%",
    "balanced 25% look-ahead": "balanced 25%",
}
"""Whose learning rate is not tuned: they take that of a close relative."""

ASIDE = ("stale", "dynamic", "balanced 5%", "balanced 10% look-ahead", "balanced 25% look-ahead")
"""Left out where one more thing is varied: as slow as ``synchronous``, or close relatives."""

BASE = "synchronous"
GRADED, UNIFORM_BUT_ONE = "10:4:2:1", "10:10:10:1"
ROTATING = "10:4:2:1, rotating"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is trained: an entry of the study's grid without cluster, policy, rate and seed.

    Attributes:
        data: ``har`` or ``fashion``.
        batch: samples of a step; 160 steps, 20 evaluations.
        keep: training samples that are used (0: all).
        targets: test accuracies to reach, on the watched part of the test set.
        rates: learning rates to try, the same for all policies.
    """

    data: str
    batch: int
    keep: int
    targets: tuple[float, float]
    rates: tuple[float, ...]
    optimizer: str = "sgd"
    norm: str = "batch"
    momentum: float = MOMENTUM
    pieces: int = 20
    steps: int = 8

    @property
    def samples(self) -> int:
        """Samples of a run: the same under every policy."""
        return self.batch * self.pieces * self.steps


HAR = Problem("har", batch=256, keep=0, targets=(0.90, 0.94), rates=(0.01, 0.03, 0.1, 0.3))
FASHION = Problem("fashion", batch=512, keep=20_000, targets=(0.82, 0.85), rates=(0.003, 0.01, 0.03, 0.1))
ADAMW = dataclasses.replace(HAR, optimizer="adamw", rates=(0.001, 0.003, 0.01, 0.03))
GROUPNORM = dataclasses.replace(HAR, norm="group")
PLAIN_HAR = dataclasses.replace(HAR, momentum=0.0, rates=(0.03, 0.1, 0.3, 1.0))
PLAIN_FASHION = dataclasses.replace(FASHION, momentum=0.0, rates=(0.03, 0.1, 0.3, 1.0))

AXES: dict[str, tuple[Problem, str]] = {
    "adamw": (ADAMW, GRADED),
    "rotating": (HAR, ROTATING),
    "groupnorm": (GROUPNORM, GRADED),
    "no-momentum-har": (PLAIN_HAR, UNIFORM_BUT_ONE),
    "no-momentum-fashion": (PLAIN_FASHION, UNIFORM_BUT_ONE),
}
"""One more thing varied: name → what is trained, on which cluster. At the rate that is best for ``synchronous``."""

SECONDS = {"har": 45.0, "fashion": 42.0}
"""What a run costs of one core, about; ``--list`` adds it up until it knows better."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: a value.

    Attributes:
        cluster: a name of :mod:`study.clusters`.
        rate: the learning rate.
        tier, quick: when it is wanted; no part of what it is.
        place: ``simulated``, or ``real`` processes on this machine.
        hosts: the hosts, where they are not those of the named cluster but measured ones.
    """

    problem: Problem
    cluster: str
    policy: str
    rate: float
    seed: int
    tier: int = field(default=0, compare=False)
    quick: bool = field(default=False, compare=False)
    place: str = "simulated"
    hosts: tuple[Host, ...] = ()

    @property
    def label(self) -> str:
        """The run in words; ``--only`` looks for its words in it."""
        p = self.problem
        momentum = "" if p.momentum == MOMENTUM else f" momentum={p.momentum:g}"
        where = f"{self.place} {p.data} {p.optimizer}{momentum} {p.norm} [{self.cluster}]"
        return f"{where} {self.policy} lr={self.rate:g} seed={self.seed}"

    def emulated(self) -> Cluster:
        """The hosts that it is simulated on."""
        if self.hosts:
            return Cluster(self.hosts, step_seconds=clusters.STEP_SECONDS)
        return clusters.cluster(self.cluster, self.problem.data)

    def arguments(self) -> tuple[str, ...]:
        """Of ``study/train.py``."""
        p = self.problem
        values = {
            "data": p.data,
            "norm": p.norm,
            "optimizer": p.optimizer,
            "lr": f"{self.rate:g}",
            "batch": p.batch,
            "keep": p.keep,
            "pieces": p.pieces,
            "steps": p.steps,
            "seed": self.seed,
        }
        if p.momentum != MOMENTUM:  # results from before there was a choice keep their keys
            values["momentum"] = f"{p.momentum:g}"
        return tuple(text for name, value in values.items() for text in (f"--{name}", str(value)))

    def spec(self) -> dict[str, Any]:
        """All that the result depends on, as plain values."""
        name, options = POLICIES[self.policy]
        real = self.place == "real"
        spec = {
            "version": VERSION,
            "place": self.place,
            "arguments": self.arguments(),
            "cluster": {"speeds": clusters.SPEEDS[self.cluster]} if real else clusters.described(self.emulated()),
            "policy": name,
            "options": options,
            "seed": self.seed,
        }
        plain: dict[str, Any] = json.loads(json.dumps(spec))  # as it comes back from a file
        return plain

    @property
    def key(self) -> str:
        """Stable: the same for the same spec, on every machine."""
        return hashlib.sha256(json.dumps(self.spec(), sort_keys=True).encode()).hexdigest()[:12]


Scores = Mapping[str, float]
"""Key of a finished trial → what it scored."""


def chosen(problem: Problem, cluster: str, policy: str, scores: Scores) -> float | None:
    """The rate whose trial scored best (of equals the smallest); ``None`` until all trials are in.

    Under ``synchronous`` speeds change nothing but time, so its trials on one cluster are good for all.
    """
    trials = list(tuning(problem, cluster, policy))
    if any(trial.key not in scores for trial in trials):
        return None
    return max(trials, key=lambda trial: (scores[trial.key], -trial.rate)).rate


def tuning(problem: Problem, cluster: str, policy: str, tier: int = 0) -> Iterator[Run]:
    """The trials of one policy, or of its relative: as many for each."""
    policy = RELATIVES.get(policy, policy)
    if policy == BASE:
        cluster = GRADED
    for rate in problem.rates:
        yield Run(problem, cluster, policy, rate, TUNING_SEED, tier)


def planned(scores: Scores) -> list[Run]:
    """All runs that are known by now, in order. Those that wait for a rate are not; ask again when trials are in."""
    runs: dict[Run, Run] = {}
    for run in _wanted(scores):
        runs.setdefault(run, run)  # what two parts need belongs to the first
    return sorted(runs.values(), key=lambda run: run.tier)


def _wanted(scores: Scores) -> Iterator[Run]:
    both = (GRADED, UNIFORM_BUT_ONE)
    for problem in (HAR, FASHION):
        yield from (dataclasses.replace(run, quick=True) for run in tuning(problem, GRADED, BASE))
    for problem, tiers in ((HAR, (1, 2)), (FASHION, (3, 3))):
        for cluster in both:
            yield from _transferred(problem, cluster, tiers, scores)
    for problem in (HAR, FASHION):
        for cluster in both:
            for policy in POLICIES:
                yield from _tuned(problem, cluster, policy, 4, scores)
    for problem, cluster in AXES.values():
        yield from tuning(problem, GRADED, BASE, 5)
        yield from (run for run in _transferred(problem, cluster, (5, 5), scores) if run.policy not in ASIDE)
    for problem in (PLAIN_HAR, PLAIN_FASHION):
        yield from _tuned(problem, UNIFORM_BUT_ONE, "delayed", 5, scores)


def _tuned(problem: Problem, cluster: str, policy: str, tier: int, scores: Scores) -> Iterator[Run]:
    """The trials of a policy and, when they are in, the runs at its own rate."""
    yield from tuning(problem, cluster, policy, tier)
    rate = chosen(problem, cluster, policy, scores)
    if rate is not None:
        yield from (Run(problem, cluster, policy, rate, seed, tier) for seed in SEEDS)


def _transferred(problem: Problem, cluster: str, tiers: tuple[int, int], scores: Scores) -> Iterator[Run]:
    """Every policy at the rate that is best for ``synchronous``: seed 0 first, then the others."""
    rate = chosen(problem, GRADED, BASE, scores)
    if rate is None:
        return
    for seed in SEEDS:
        for policy in POLICIES:
            first = seed == SEEDS[0]
            yield Run(problem, cluster, policy, rate, seed, tiers[not first], quick=first and tiers[0] < 5)
