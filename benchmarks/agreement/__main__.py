"""Simulated and real runs side by side: ``python -m benchmarks.agreement``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import cluster as emulation
from benchmarks import machine
from benchmarks.measure import FailedError
from benchmarks.places import ROOT, workplace
from benchmarks.switch import SwitchError

from . import report
from .measure import Run, measure, save
from .plan import CASES, WORKLOAD, Case, chosen

OUT = ROOT / "docs" / "results" / "agreement"
FACTS = "facts.json"


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__)
    add = parser.add_argument
    add("--only", default="", help=f"clusters: {','.join(case.cluster.name for case in CASES)}")
    add("--repetitions", type=int, default=3)
    add("--factor", type=float, default=1.0, help="on all measured times")
    add("--estimate", action="store_true", help="print how long it would take, and end")
    add("--keep", type=Path, help="folder for profiles, records and logs; what is there of other clusters stays")
    add("--predict", type=Path, metavar="DIR", help="measure nothing: predict again what was measured into --keep DIR")
    add("--out", type=Path, default=OUT, help="folder for the results (default: docs/results/agreement)")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Measure, predict, and write it down."""
    asked = arguments(words)
    try:
        cases = chosen([name for name in asked.only.split(",") if name])
        if asked.predict is None:
            minutes = sum(case.estimate(asked.repetitions, asked.factor) for case in cases) / 60
            print(f"{3 * asked.repetitions * len(cases)} runs: about {minutes:.0f} minutes.", flush=True)
            if asked.estimate:
                return 0
            emulation.check()
        elif not (asked.predict / FACTS).exists():
            raise ValueError(
                f"nothing was measured into {asked.predict}: it has no {FACTS}. Name the folder of --keep."
            )
    except (ValueError, emulation.ClusterError) as error:
        print(f"benchmarks.agreement: error: {error}", file=sys.stderr)
        return 2
    if asked.predict is not None:
        return _conclude(asked.predict, asked.out)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else nothing would be cleared away
    facts = {
        "schema": 1,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(),
        "workload": WORKLOAD,
        "repetitions": asked.repetitions,
        "factor": asked.factor,
    }
    with workplace(None, "") if asked.keep is None else _kept(asked.keep) as folder:
        (folder / FACTS).write_text(json.dumps(facts))
        began = time.monotonic()
        failed = [case for case in cases if not _measure(case, folder, asked)]
        print(f"Measured in {(time.monotonic() - began) / 60:.1f} minutes. Predicting …", flush=True)
        return max(_conclude(folder, asked.out), 1 if failed else 0)


class _kept:  # noqa: N801
    """A folder that stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def __enter__(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def __exit__(self, *_: object) -> None:
        pass


def _measure(case: Case, folder: Path, asked: argparse.Namespace) -> bool:
    """Measure one cluster; whether all went well."""
    place = folder / case.cluster.name
    if place.exists():
        print(f"benchmarks.agreement: error: there is {place} already. Name another folder.", file=sys.stderr)
        return False
    place.mkdir()
    print(f"\n{case.cluster.title}; batch {case.batch}", flush=True)
    runs: list[Run] = []
    try:
        for found in measure(case, place, asked.repetitions, asked.factor):
            if isinstance(found, str):
                print(f"  {found}", flush=True)
                continue
            runs.append(found)
            what = f"failed: {found.failed}" if found.failed else f"{found.samples_per_second:8.0f} samples/s"
            print(f"  {found.repetition + 1}  {found.policy:14} {what}  {found.problems}", flush=True)
            save(place, runs)
    except (FailedError, emulation.ClusterError, SwitchError) as error:
        print(f"benchmarks.agreement: {case.cluster.name}: {error}", file=sys.stderr)
        return False
    return not any(run.failed or run.problems for run in runs)


def _conclude(folder: Path, out: Path) -> int:
    """Predict what a folder has the measurements of, and write it down."""
    facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
    cases = [case for case in CASES if (folder / case.cluster.name / "runs.json").exists()]
    made = [row for case in cases for row in report.rows(case, folder / case.cluster.name, facts["factor"])]
    print(f"\n{report.write(out, cases, made, facts)}")
    return 0 if made else 1


if __name__ == "__main__":
    raise SystemExit(main())
