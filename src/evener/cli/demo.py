"""``evener demo``: the gain, on real data, in a few minutes."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.place import LIMIT_SIZES, PolicyChoice

if TYPE_CHECKING:
    from ..launch import RunOptions
    from ..observe import RunSummary
    from ._screen import Lines

SPEEDS = (8.0, 4.0, 2.0, 1.0)

TARGET = 0.9


@dataclass(frozen=True, slots=True)
class Size:
    """How much the demo trains: batch in samples, part of the data set, how long it takes in words, and the sizes of
    micro-batch that the limit is measured with."""

    epochs: int
    batch: int
    fraction: float
    words: str
    sizes: tuple[int, ...]


FULL = Size(epochs=10, batch=1024, fraction=1.0, words="some minutes", sizes=LIMIT_SIZES)
QUICK = Size(epochs=1, batch=512, fraction=0.4, words="about a minute", sizes=(16, 32, 64))


@dataclass(frozen=True, slots=True)
class Leg:
    """One of the demo's runs; ``folder`` below the demo's own."""

    folder: str
    policy: str
    options: dict[str, bool | float | int | str]
    words: str


LEGS = (
    Leg("synchronous", "synchronous", {}, "synchronous: every step waits for the slowest worker"),
    Leg(
        "balanced",
        "balanced",
        {},
        "balanced: at most a twentieth of the samples one step stale",
    ),
    Leg("balanced-0", "balanced", {"bound": 0}, "balanced with bound 0: nothing is ever stale"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    add = parser.add_argument
    add("--quick", action="store_true", help="a smaller one, in under a minute after set-up")
    add("--seed", metavar="N", type=int, default=0, help="of all runs (default: 0)")
    add("--json", metavar="FILE", type=Path, help="write the results for programs")
    add("--record", metavar="DIR", type=Path, help="folder for the records (default: runs/demo-<id>)")


def execute(options: argparse.Namespace) -> int:
    """Measure the limit, run the legs, show the table."""
    from .. import launch
    from ..data import DataError, har
    from . import _report, _screen

    screen = _screen.choose()
    try:
        if problem := _report.check_json(options.json):
            raise launch.LaunchError(problem)
        plan = _Plan.of(options)
        plan.check()
        har()  # here once and visibly, rather than in each process
        return plan.carry_out(screen, options.json)
    except (launch.LaunchError, DataError) as error:
        print(f"evener demo: error: {error}", file=sys.stderr)
        return 2
    except launch.StoppedError as stopped:
        return stopped.code


def example(name: str) -> Path:
    """The file of an example: from the installed package, else from the repository it is developed in."""
    here = Path(__file__).resolve()
    for folder in (here.parents[1] / "_examples", here.parents[3] / "examples"):
        if (folder / name).is_file():
            return folder / name
    from .. import launch

    raise launch.LaunchError(
        f"the example {name} is not beside the package. Install evener from a wheel, or use its repository."
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """One invocation of the demo."""

    options: RunOptions
    size: Size
    folder: Path
    quick: bool

    @classmethod
    def of(cls, options: argparse.Namespace) -> _Plan:
        from .. import launch

        size = QUICK if options.quick else FULL
        folder = options.record or Path("runs") / f"demo-{launch.new_run_id()}"
        base = launch.RunOptions(
            script=example("har.py"),
            arguments=(
                *("--epochs", str(size.epochs)),
                *("--batch", str(size.batch)),
                *("--fraction", f"{size.fraction:g}"),
                *("--seed", str(options.seed)),
            ),
            workers=len(SPEEDS),
            speeds=SPEEDS,
            seed=options.seed,
            targets={"test_accuracy": TARGET},
        )
        return cls(base, size, folder, options.quick)

    def leg(self, leg: Leg) -> RunOptions:
        policy = PolicyChoice(leg.policy, leg.options)
        return dataclasses.replace(self.options, policy=policy, record=self.folder / leg.folder)

    def check(self) -> None:
        for leg in LEGS:
            self.leg(leg).check()

    def carry_out(self, screen: Lines, json: Path | None) -> int:
        from .. import launch
        from ..observe import demo, summarise
        from ..trace import read_limit
        from . import _report

        legs = LEGS[:2] if self.quick else LEGS
        screen.note(
            f"{len(SPEEDS)} workers of speeds {':'.join(f'{speed:g}' for speed in SPEEDS)} train a small "
            f"network to tell six activities from a phone's motion sensors. {len(legs)} runs, "
            f"{self.size.words}."
        )
        measured = [self._measure(screen, "limit-before")]
        records = []
        for number, leg in enumerate(legs, 1):
            screen.note(f"run {number} of {len(legs)}, {leg.words}")
            result = launch.run(self.leg(leg), screen)
            if result.code or result.record is None:
                return result.code or 1
            records.append(result.record)
        if not self.quick:
            measured.append(self._measure(screen, "limit-after"))
        limit = read_limit(launch.mean_limit(self.folder, measured))
        runs: list[RunSummary] = [summarise(record, limit) for record in records]
        _report.show(runs, self._next())
        _report.write_json(json, demo(runs[:2], runs[2:]))
        return 0

    def _next(self) -> str:
        """The full demo after the quick one; after that, the same on other speeds."""
        if self.quick:
            return "evener demo"
        return shlex.join(["evener", "run", str(self.options.script), "--speeds", "1,1,1,0.1"])

    def _measure(self, screen: Lines, name: str) -> Path:
        from .. import launch

        screen.note("measuring what the workers compute without any communication (the limit)")
        options = dataclasses.replace(self.options, record=self.folder / name)
        return launch.measure_limit(options, screen, self.size.sizes)
