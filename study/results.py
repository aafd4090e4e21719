"""Results of finished runs, one small JSON file each, so that a study goes on where it was broken off."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Point = tuple[float, int, float | None, float | None]
"""Of a curve: seconds from the first grant, samples applied, test accuracy, training loss since the point before."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. Times are virtual seconds in the simulator, the clock's in real runs.

    Attributes:
        key, label, spec: of the run.
        ok: it went through; else ``reason`` says why not (a run that diverges is a result, too).
        total_s: first grant to last step.
        utilisation: ``samples_per_second / limit``.
        stale_fraction: share of the samples that were computed on parameters which were not the newest.
        staleness: ``(batches, share of the samples)``: how many batches' worth of samples the parameters missed.
        curve: the run by evaluation.
        final_accuracy: on the whole test set, at the end.
        workers: samples and busy part of each.
        wall_s: seconds of this machine that it took.
    """

    key: str
    label: str
    spec: dict[str, Any]
    ok: bool
    reason: str
    total_s: float
    samples: int
    steps: int
    samples_per_second: float
    limit: float
    utilisation: float
    stale_fraction: float
    mean_staleness: float
    staleness: list[tuple[float, float]]
    curve: list[Point]
    final_accuracy: float | None
    workers: list[tuple[int, float | None]]
    counted_once: bool
    wall_s: float
    evener: str

    @property
    def score(self) -> float:
        """What learning rates are compared by: mean test accuracy in the last quarter of the curve; 0 if it failed."""
        last = [accuracy for _, _, accuracy, _ in self.curve[-max(1, len(self.curve) // 4) :]]
        known = [accuracy for accuracy in last if accuracy is not None]
        return sum(known) / len(known) if self.ok and known else 0.0

    @property
    def final_loss(self) -> float | None:
        """Mean training loss of the last quarter."""
        last = [loss for _, _, _, loss in self.curve[-max(1, len(self.curve) // 4) :]]
        known = [loss for loss in last if loss is not None]
        return sum(known) / len(known) if len(known) == len(last) and known else None

    def reached(self, target: float) -> tuple[float, int] | None:
        """Time and samples at the first evaluation with an accuracy of ``target`` or more."""
        for seconds, samples, accuracy, _ in self.curve:
            if accuracy is not None and accuracy >= target:
                return seconds, samples
        return None


class Store:
    """A folder of results. A file is there whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, result: Result) -> Path:
        """Keep a result."""
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{result.key}.json"
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(dataclasses.asdict(result)) + "\n")
        draft.replace(file)
        return file

    def get(self, key: str) -> Result | None:
        """The result of a run, if it is there."""
        file = self.folder / f"{key}.json"
        return _from(json.loads(file.read_text())) if file.exists() else None

    def drop(self, keys: Iterable[str]) -> None:
        """Forget results."""
        for key in keys:
            (self.folder / f"{key}.json").unlink(missing_ok=True)

    def all(self) -> Iterator[Result]:
        """Every result, by key."""
        for file in sorted(self.folder.glob("*.json")):
            yield _from(json.loads(file.read_text()))


def publish(results: Iterable[Result], file: Path) -> None:
    """Write results as JSON lines, in the order of their labels, for readers and :func:`published`."""
    lines = [json.dumps(dataclasses.asdict(result)) for result in sorted(results, key=lambda one: (one.label, one.key))]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))


def published(file: Path) -> list[Result]:
    """The results in ``file``."""
    return [_from(json.loads(line)) for line in file.read_text().splitlines()]


def _from(values: dict[str, Any]) -> Result:
    values["curve"] = [tuple(point) for point in values["curve"]]
    values["staleness"] = [tuple(pair) for pair in values["staleness"]]
    values["workers"] = [tuple(pair) for pair in values["workers"]]
    return Result(**values)
