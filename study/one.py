"""One run, in a process of its own: reads a pickled :class:`~study.grid.Run` from its input, keeps the result."""

from __future__ import annotations

import pickle
import shutil
import sys
import tempfile
import time
from pathlib import Path

from evener import launch
from evener.runtime.place import PolicyChoice
from evener.trace import read_limit
from evener.trace.limit import FILE as LIMIT

from . import clusters
from .collect import collect
from .grid import POLICIES, Run
from .real import record_of
from .results import Result, Store

SCRIPT = Path(__file__).with_name("train.py")
STOPPED = 128
"""Exit codes above it name a signal."""
DIVERGED = "every contribution was refused"
"""In the reason of a run that evener gave up because its numbers overflowed. That is a result: the rate is too high."""


class RunFailedError(Exception):
    """A run left no record to collect from."""


def carry_out(run: Run, folder: Path) -> Result:
    """Run it, with its record in ``folder``, which must not exist.

    Raises:
        RunFailedError: it did not even begin.
        KeyboardInterrupt: it was stopped from outside.
    """
    limit = (
        _measured_limit(run, folder.with_name("limit")) if run.place == "real" else clusters.limit(run.emulated().hosts)
    )
    began = time.monotonic()
    if run.place == "real":
        ended = launch.run(_real(run, folder))
    else:
        ended = launch.simulate(
            launch.SimulateOptions(
                script=SCRIPT,
                arguments=run.arguments(),
                cluster=run.emulated(),
                policy=PolicyChoice(*POLICIES[run.policy]),
                seed=run.seed,
                record=folder,
            )
        )
    if ended.code > STOPPED:
        raise KeyboardInterrupt
    if ended.record is not None:
        result = collect(run.key, run.label, run.spec(), ended.record, limit, time.monotonic() - began)
        if result.ok or DIVERGED in result.reason:
            return result
    raise RunFailedError(f"{run.label}: exit code {ended.code}; {' '.join(ended.problems)}")


def _real(run: Run, folder: Path) -> launch.RunOptions:
    speeds = clusters.SPEEDS[run.cluster]
    return launch.RunOptions(
        script=SCRIPT,
        arguments=run.arguments(),
        workers=len(speeds),
        speeds=speeds,
        policy=PolicyChoice(*POLICIES[run.policy]),
        seed=run.seed,
        record=folder,
    )


def _measured_limit(run: Run, folder: Path) -> float:
    """What the workers of real runs compute without each other, samples/s; measured before the first of them."""
    if not (folder / LIMIT).exists():
        shutil.rmtree(folder, ignore_errors=True)
        launch.measure_limit(_real(run, folder))
    return read_limit(folder).samples_per_second


def main() -> int:
    """``python -m study.one STORE < run``. Records of real runs are kept beside the store; hosts are fitted to them."""
    run = pickle.load(sys.stdin.buffer)
    store = Store(Path(sys.argv[1]))
    try:
        if run.place == "real":
            folder = record_of(run, store)
            shutil.rmtree(folder, ignore_errors=True)
            store.put(carry_out(run, folder))
        else:
            with tempfile.TemporaryDirectory(prefix="study-") as draft:
                store.put(carry_out(run, Path(draft) / "record"))
    except (KeyboardInterrupt, launch.StoppedError):
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
