"""``evener run``: train a script on several workers of this machine."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _options, _policy

if TYPE_CHECKING:
    from ..launch import RunOptions

MICRO_BATCH = 32
"""Samples of a micro-batch in a reproducible run, where the user names no other number."""

STOPPED = 128
"""Exit codes above it name the signal that ended a run."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener run SCRIPT [options] [-- script arguments]"
    add = parser.add_argument
    add("script", metavar="SCRIPT", type=Path, help="the Python file that every process runs")
    add(
        "--workers",
        metavar="N",
        type=int,
        help="processes that compute (default: one for each speed, else 2-4)",
    )
    add("--speeds", metavar="8,4,2,1", type=_options.speeds, help="emulate workers of unequal speed")
    _policy.configure(parser)
    add("--seed", metavar="N", type=int, default=0, help="of the run (default: 0)")
    add(
        "--reproducible",
        action="store_true",
        help="the same parameters to the bit, whatever the workers; balanced with --bound 0",
    )
    add(
        "--micro-batch",
        metavar="N",
        type=_options.micro_batch,
        help=f"with --reproducible: samples that a worker computes at once (default: {MICRO_BATCH})",
    )
    add(
        "--target",
        metavar="NAME=VALUE",
        type=_options.target,
        action="append",
        default=[],
        help="note when a logged metric reaches a value; never stops the run; may be repeated",
    )
    add("--port", metavar="N", type=int, help="of the server, on 127.0.0.1 (default: any free one)")
    add("--record", metavar="DIR", type=Path, help="folder for the run's record (default: runs/<run id>)")
    add("--json", metavar="FILE", type=Path, help="write the summary for programs")


def execute(options: argparse.Namespace) -> int:
    """Run, and show how it went."""
    from .. import launch
    from . import _report, _screen

    screen = _screen.choose()
    try:
        if problem := _report.check_json(options.json):
            raise launch.LaunchError(problem)
        asked = _asked(options)
        asked.check()
        if options.workers is None and options.speeds is None:
            screen.note(f"{asked.workers} workers (choose with --workers or --speeds)")
        result = launch.run(asked, screen)
    except launch.LaunchError as error:
        print(f"evener run: error: {error}", file=sys.stderr)
        return 2
    if result.record is None:
        return result.code
    if result.code >= STOPPED:
        # Who asked it to stop wants it gone, and a long record takes its time to read.
        screen.note(f"the run was broken off. Its record is {result.record}")
    else:
        _summarise(result.record, options, asked)
    return result.code


def _asked(options: argparse.Namespace) -> RunOptions:
    from .. import launch

    policy = _policy.choice(options)
    if options.micro_batch is not None and not options.reproducible:
        raise launch.LaunchError("--micro-batch is for reproducible runs: add --reproducible, or leave it out.")
    if options.reproducible and options.policy == "balanced":
        policy.options.setdefault("bound", 0)
    workers = options.workers
    if workers is None:
        workers = len(options.speeds) if options.speeds else launch.default_workers()
    return launch.RunOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        workers=workers,
        speeds=options.speeds or (),
        policy=policy,
        seed=options.seed,
        micro_batch=(options.micro_batch or MICRO_BATCH) if options.reproducible else 0,
        targets=dict(options.target),
        port=options.port,
        record=options.record,
    )


def _summarise(record: Path, options: argparse.Namespace, asked: RunOptions) -> None:
    from ..observe import summarise
    from ..trace import RecordError
    from . import _report

    try:
        summary = summarise(record)
    except RecordError as error:
        print(f"evener: there is no summary: {error}", file=sys.stderr)
        return
    _report.show([summary], _compare(asked))
    _report.write_json(options.json, summary.to_dict())


def _compare(asked: RunOptions) -> str:
    """The command that runs the same under the policy to compare with; of a reproducible run, on other workers."""
    words = ["evener", "run", str(asked.script), "--workers", str(asked.workers)]
    if asked.speeds:
        words[3:] = ["--speeds", ",".join(f"{speed:g}" for speed in asked.speeds)]
    if asked.micro_batch:
        words[3:] = ["--workers", str(asked.workers + 1), "--reproducible", "--micro-batch", str(asked.micro_batch)]
    else:
        words += ["--policy", "balanced" if asked.policy.name == "synchronous" else "synchronous"]
    if asked.seed:
        words += ["--seed", str(asked.seed)]
    for name, value in asked.targets.items():
        words += ["--target", f"{name}={value:g}"]
    return shlex.join(words + (["--", *asked.arguments] if asked.arguments else []))
