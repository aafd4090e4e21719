"""What a run came to, computed from its record alone."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..trace import Accounting, Checker, Limit, naming, record_path, whole
from .reasons import plan
from .tally import Tally
from .work import Work


@dataclass(frozen=True, slots=True)
class WorkerSummary:
    """One worker's part.

    Attributes:
        samples: applied. ``share``: of all that was applied.
        pace: samples/s while it computes.
        busy_fraction: part of its presence that it computed; ``waiting_fraction`` the rest. None: never here.
        stale_fraction: part of its applied samples with staleness ≥ 1.
        left: why it went before the run was over; null if it stayed, or came back.
        sat_out: why it sat out; null if it never did.
        speed: the emulated speed, if the record's notes have ``speeds``.
    """

    worker: int
    name: str
    samples: int
    share: float
    pace: float | None
    busy_fraction: float | None
    waiting_fraction: float | None
    stale_fraction: float
    left: str | None
    sat_out: str | None
    speed: float | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run. ``docs/record.md`` says how each value is computed; ``None`` stands for what is not known.

    ``plan``: what `balanced` did about staleness and waiting, and why, in one line. ``micro_batch`` is 0 unless the run
    is reproducible; then runs of equal settings have equal ``parameters_sha256``. ``mean_staleness``: versions that an
    applied sample was late, on the mean. ``pushes``, ``pulls``: transfers to and from the server; ``transfer_bytes`` of
    all, at 4 bytes a number; null where the record does not say how large the model is. ``resumed``: how often the
    server was lost and the run went on from a checkpoint; ``recomputed_samples``: applied after it, and computed again.
    """

    policy: str
    options: dict[str, bool | float | int | str]
    samples_per_second: float | None
    utilisation: float | None
    stale_fraction: float
    time_to_target_s: float | None
    total_s: float | None
    test_accuracy: float | None
    counted_once: bool
    workers: tuple[WorkerSummary, ...]
    server_cpu_s: float | None
    server_cpu_share: float | None
    record: str
    epochs: int
    steps: int
    ok: bool
    reason: str
    samples: int
    refused_samples: int
    declined_samples: int
    discarded_samples: int
    dropped_samples: int
    unfinished_samples: int
    limit_samples_per_second: float | None
    script: str
    batch: int
    seed: int
    micro_batch: int
    parameters_sha256: str | None
    evener: str
    targets: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]
    notes: dict[str, Any]
    startup_s: dict[str, float] | None = None
    plan: str = ""
    mean_staleness: float = 0.0
    pushes: int = 0
    pulls: int = 0
    transfer_bytes: int | None = None
    resumed: int = 0
    recomputed_samples: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, for JSON."""
        return dataclasses.asdict(self)


def summarise(record: str | os.PathLike[str], limit: Limit | float | None = None) -> RunSummary:
    """Read a record once, with all its parts, and sum it up.

    Args:
        record: a run folder or the record file.
        limit: what the hosts compute without communication, measured in the same session.

    Raises:
        RecordError: there is no record, or none that this version reads.
    """
    tally, checker = Tally(), Checker()
    with naming(record):
        for line in whole(record):
            tally.update(line)
            checker.feed(line)
    return sum_up(tally, checker.result(), record, limit)


def sum_up(
    tally: Tally, accounting: Accounting, record: str | os.PathLike[str], limit: Limit | float | None = None
) -> RunSummary:
    """The summary of a ``record`` that was read already.

    Args:
        tally: which has seen all its lines.
        accounting: the checker's result.
        record, limit: as of :func:`summarise`.
    """
    header, end, finish = tally.header, tally.end, tally.finish
    if header is None:  # read() refuses a record without one
        raise ValueError("a record without a header")
    total = tally.total_s
    samples = tally.applied - tally.recomputed
    rate = samples / total if total else None
    most = limit.samples_per_second if isinstance(limit, Limit) else limit
    cpu = end.server_cpu_s if end and not tally.resumed else None  # of servers that were lost nobody knows
    accuracy = tally.logs.get(("server", "test_accuracy"))
    start = tally.first_grant or 0.0
    targets: tuple[dict[str, Any], ...] = tuple(
        {"name": one.name, "value": one.value, "reached": one.reached, "time_s": one.at - start}
        for one in tally.targets
    )
    if end is not None:
        ok, reason = end.ok, end.reason
    else:
        why = f": {finish.reason}" if finish and not finish.ok else ""
        cut = " (it is cut short in its last line)" if accounting.truncated else ""
        ok, reason = False, f"the record has no end{cut}: the server was killed, or the run still goes on{why}"
    return RunSummary(
        policy=header.policy.name,
        options=header.policy.options,
        samples_per_second=rate,
        utilisation=rate / most if rate is not None and most else None,
        stale_fraction=tally.stale / tally.applied if tally.applied else 0.0,
        time_to_target_s=targets[0]["time_s"] if targets else None,
        total_s=total,
        test_accuracy=accuracy.values["test_accuracy"] if accuracy else None,
        counted_once=accounting.counted_once,
        workers=tuple(_worker(work, tally, header.notes) for _, work in sorted(tally.workers.items())),
        server_cpu_s=cpu,
        server_cpu_share=cpu / total if cpu is not None and total else None,
        record=str(record_path(record)),
        epochs=tally.over_epochs,
        steps=tally.steps,
        ok=ok,
        reason=reason,
        samples=samples,
        refused_samples=tally.refused,
        declined_samples=tally.declined,
        discarded_samples=tally.discarded,
        dropped_samples=accounting.total("dropped"),
        unfinished_samples=accounting.unfinished,
        limit_samples_per_second=most,
        script=header.script,
        batch=header.settings.batch,
        seed=header.settings.seed,
        micro_batch=header.settings.micro_batch,
        parameters_sha256=end.parameters_sha256 if end else None,
        evener=header.evener,
        targets=targets,
        warnings=tuple(tally.warnings),
        problems=accounting.problems,
        notes=header.notes,
        startup_s=_startup(tally),
        plan=plan(tally),
        mean_staleness=sum(late * samples for late, samples in tally.staleness.items()) / max(1, tally.applied),
        pushes=tally.pushes,
        pulls=tally.pulls,
        transfer_bytes=4 * header.parameters * (tally.pushes + tally.pulls) if header.parameters else None,
        resumed=tally.resumed,
        recomputed_samples=tally.recomputed,
    )


def _startup(tally: Tally) -> dict[str, float] | None:
    """From the launcher's start to the first step's end, and the parts of it that are not ours to shorten.

    They are those of the process that was ready last by them: all others waited for it.
    """
    if tally.launched is None or tally.first_step is None or not tally.starts:
        return None
    total = tally.first_step - tally.launched
    slowest = max(tally.starts.values(), key=lambda start: start.imports_s + start.probe_s)
    rest = total - slowest.imports_s - slowest.probe_s
    return {"total": total, "imports": slowest.imports_s, "probe": slowest.probe_s, "rest": rest}


def _worker(work: Work, tally: Tally, notes: dict[str, Any]) -> WorkerSummary:
    start, stop = tally.first_grant, tally.last_step
    here = work.here(start, stop) if start is not None and stop is not None else 0.0
    busy = min(1.0, work.compute_s / here) if here > 0 else None
    return WorkerSummary(
        worker=work.worker,
        name=work.name,
        samples=work.samples,
        share=work.samples / tally.applied if tally.applied else 0.0,
        pace=work.computed / work.compute_s if work.compute_s else None,
        busy_fraction=busy,
        waiting_fraction=None if busy is None else 1.0 - busy,
        stale_fraction=work.stale / work.samples if work.samples else 0.0,
        left=work.left,
        sat_out=work.sat_out,
        speed=speed_of(notes, work.worker),
    )


def speed_of(notes: dict[str, Any], worker: int) -> float | None:
    """The emulated speed of ``worker``, from the header's notes."""
    speeds = notes.get("speeds")
    speed = speeds[worker] if isinstance(speeds, list) and 0 <= worker < len(speeds) else None
    return float(speed) if isinstance(speed, int | float) and abs(speed) < math.inf else None


def speedup(runs: Sequence[RunSummary]) -> float | None:
    """Total time of the first synchronous run / the first balanced one; ``None`` unless there are both."""
    total = {run.policy: run.total_s for run in reversed(runs)}
    slow, fast = total.get("synchronous"), total.get("balanced")
    return slow / fast if slow and fast else None


def demo(runs: Sequence[RunSummary], more_runs: Sequence[RunSummary] = ()) -> dict[str, Any]:
    """The demo's results for programs.

    Args:
        runs: one per policy, at its default.
        more_runs: others, such as ``balanced`` with ``S = 0``.

    Raises:
        ValueError: a policy is in ``runs`` twice.
    """
    names = [run.policy for run in runs]
    if len(set(names)) != len(names):
        raise ValueError(f"one run per policy, the others into more_runs; got {', '.join(names)}")
    return {
        "runs": [run.to_dict() for run in runs],
        "more_runs": [run.to_dict() for run in more_runs],
        "speedup": speedup(runs),
    }
