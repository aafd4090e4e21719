"""Measure the limit: what the workers compute per second, all running at once, without any communication."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..runtime.place import LIMIT_SIZES
from ..trace import Rates, read_limit, write_limit
from . import slowness
from ._opening import opened
from ._places import Plan
from ._signals import Signals
from .crew import Child, Crew, Steps
from .options import LaunchError, RunOptions
from .screen import Screen

STOP: Steps = ((0.0, signal.SIGINT), (1.5, signal.SIGTERM), (2.2, signal.SIGKILL))


class StoppedError(Exception):
    """The user or the system asked the measurement to end; ``code`` is the exit code that says so."""

    def __init__(self, code: int) -> None:
        super().__init__(f"stopped by signal {code - 128}")
        self.code = code


def measure_limit(options: RunOptions, screen: Screen | None = None, sizes: tuple[int, ...] = LIMIT_SIZES) -> Path:
    """Measure what each worker of a run could do alone, all of them at once and as fast as in the run.

    Each process runs the script up to ``prepare``, measures there, and writes ``rate-INDEX.json``.

    Args:
        options: of the run to measure for; its ``record`` is the folder for the result.
        screen: where output goes.
        sizes: of micro-batch, in samples; each worker's best counts.

    Returns:
        The file ``limit.json`` in the run's folder.

    Raises:
        LaunchError: it cannot be started, or some process failed or measured nothing.
        StoppedError: by Ctrl-C or SIGTERM. As always, all processes have ended.
    """
    # The workers leave files for each other, too; a folder of its own keeps those of another time out.
    with (
        opened(options, screen) as run,
        tempfile.TemporaryDirectory(prefix="measuring-", dir=run.folder) as workplace,
    ):
        plan = Plan.of(options, run.name, Path(workplace), sizes)
        slowed = slowness.emulate(options.speeds, run.name, quotas=not plan.devices)
        with slowed as emulation, Crew(run.screen) as crew:
            for index in range(options.workers):
                environment = plan.environment(plan.place("limit", index, emulation))
                crew.start(f"worker {index}", plan.command, environment, f"[worker {index}] ")
            _attend(crew, run.signals, plan, emulation)
        if run.signals.received:
            raise StoppedError(run.signals.exit_code)
        return write_limit(run.folder, [_rates(plan, index) for index in range(options.workers)])


def _attend(crew: Crew, signals: Signals, plan: Plan, emulation: slowness.Emulation) -> None:
    """Wait for all. The measurement is of all at once: one that is missing ends it, or others would wait."""
    problem: LaunchError | None = None
    stopping = False
    while crew.alive:
        for child in crew.attend():
            if problem is None and not child.asked:
                problem = _problem(child, crew.children.index(child), plan)
        if (signals.received or problem) and not stopping:
            stopping = True
            emulation.lift()
            for child in crew.alive:
                crew.end(child, STOP)
        if len(signals.received) > 1:
            crew.kill()
    if problem and not signals.received:
        raise problem


def _problem(child: Child, index: int, plan: Plan) -> LaunchError | None:
    if child.code != 0:
        return LaunchError(f"the limit could not be measured: {child.name} {child.how}.")
    try:
        _rates(plan, index)
    except LaunchError as error:
        return error
    return None


def _rates(plan: Plan, index: int) -> Rates:
    try:
        rates = msgspec.json.decode((plan.folder / f"rate-{index}.json").read_bytes(), type=Rates)
    except FileNotFoundError:
        raise LaunchError(
            f"the limit could not be measured: worker {index} ended without a measurement. "
            f"Does {plan.options.script} call evener.join(), session.prepare(...) and session.epochs(...)?"
        ) from None
    except msgspec.DecodeError as error:
        raise LaunchError(
            f"the limit could not be measured: what worker {index} wrote is no measurement ({error})."
        ) from None
    if not rates.sizes:
        raise LaunchError(f"the limit could not be measured: worker {index} measured no micro-batch size.")
    return rates


def mean_limit(folder: Path, measurements: Sequence[Path]) -> Path:
    """Write the mean of some measurements into ``folder``: rates of one worker and size are averaged.

    Returns:
        The file ``limit.json`` there.
    """
    gathered: dict[int, dict[int, list[float]]] = {}
    for path in measurements:
        for rates in read_limit(path).rates:
            for size, rate in rates.sizes.items():
                gathered.setdefault(rates.worker, {}).setdefault(size, []).append(rate)
    means = [
        Rates(worker, {size: sum(some) / len(some) for size, some in sizes.items()})
        for worker, sizes in gathered.items()
    ]
    return write_limit(folder, means)
