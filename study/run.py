"""Carries out the runs that are missing, some at a time. Broken off at any moment, it keeps what is finished."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Container
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from .grid import Run, Scores
from .results import Result, Store

Plan = Callable[[Scores], list[Run]]
Work = Callable[[Run], None]
"""Carries one run out and puts its result into the store. Called from several threads."""

Report = Callable[[Run, Result | None, str], None]
"""Is told of a run that ended: its result, or ``None`` and why."""


def missing(plan: Plan, scores: Scores, leave: Container[str] = ()) -> list[Run]:
    """Runs of the plan without a result, in the plan's order; without those whose keys are in ``leave``."""
    return [run for run in plan(scores) if run.key not in scores and run.key not in leave]


def carry_out(
    plan: Plan, store: Store, work: Work, report: Report, jobs: int = 2, stop: Callable[[], None] = lambda: None
) -> dict[str, str]:
    """Do what the plan asks for, ``jobs`` at a time, until nothing is missing.

    The plan is asked again after each run, as it grows with the results: a rate is known when its trials are in.

    Args:
        stop: called when this is left by an exception such as KeyboardInterrupt; must make ``work`` return.

    Returns:
        Key → why, of the runs that failed. They are tried again next time.
    """
    scores = {result.key: result.score for result in store.all()}
    failed: dict[str, str] = {}
    under_way: dict[Future[None], Run] = {}
    with ThreadPoolExecutor(jobs) as pool:
        try:
            while True:
                leave = {*failed, *(run.key for run in under_way.values())}
                for run in missing(plan, scores, leave)[: jobs - len(under_way)]:
                    under_way[pool.submit(work, run)] = run
                if not under_way:
                    return failed
                ended, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in ended:
                    run = under_way.pop(future)
                    error, result = future.exception(), store.get(run.key)
                    if error is None and result is not None:
                        scores[run.key] = result.score
                        report(run, result, "")
                    else:
                        failed[run.key] = str(error or "it left no result")
                        report(run, None, failed[run.key])
        except BaseException:
            stop()
            raise


class Processes:
    """The usual :data:`Work`: each run in a process of its own (:mod:`study.one`).

    Args:
        store: where results go; what the processes print goes to ``logs`` beside it.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._logs = store.folder.with_name("logs")
        self._lock = threading.Lock()
        self._alive: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def __call__(self, run: Run) -> None:
        """Carry one run out.

        Raises:
            RuntimeError: its process failed.
        """
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{run.key}.log"
        with log.open("wb") as output:
            with self._lock:
                if self._stopped:
                    raise RuntimeError("stopped")
                # A session of its own: Ctrl-C reaches us alone, and we end it.
                process = subprocess.Popen(
                    [sys.executable, "-m", "study.one", str(self._store.folder)],
                    cwd=Path(__file__).parents[1],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                self._alive.append(process)
            process.communicate(pickle.dumps(run))
            with self._lock:
                self._alive.remove(process)
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}, see {log}")

    def stop(self) -> None:
        """End what is under way, and begin nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._alive:
                process.terminate()
