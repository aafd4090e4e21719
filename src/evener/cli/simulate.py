"""``evener simulate``: train a script with real gradients on a cluster that is made up, on a virtual clock."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _options, _policy
from .run import STOPPED

if TYPE_CHECKING:
    from ..launch import SimulateOptions


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener simulate SCRIPT (--cluster FILE | --paces 400,200,100,50) [options] [-- script arguments]"
    add = parser.add_argument
    add("script", metavar="SCRIPT", type=Path, help="the Python file to run: one process is all workers and the server")
    hosts = parser.add_mutually_exclusive_group(required=True)
    hosts.add_argument("--cluster", metavar="FILE", type=Path, help="TOML with a table [[hosts]] for each kind of host")
    hosts.add_argument(
        "--paces", metavar="400,100", type=_options.speeds, help="hosts that differ in their pace (samples/s) alone"
    )
    _policy.configure(parser)
    add("--seed", metavar="N", type=int, default=0, help="of the run: the same gives the same record (default: 0)")
    add(
        "--target",
        metavar="NAME=VALUE",
        type=_options.target,
        action="append",
        default=[],
        help="note when a logged metric reaches a value; never stops the run; may be repeated",
    )
    add("--threads", metavar="N", type=int, default=1, help="of torch (default: 1)")
    add("--record", metavar="DIR", type=Path, help="folder for the run's record (default: runs/<run id>)")
    add("--json", metavar="FILE", type=Path, help="write the summary for programs")


def execute(options: argparse.Namespace) -> int:
    """Simulate, and show how it went."""
    from .. import launch
    from ..observe import summarise
    from ..simulation.files import ClusterError
    from ..trace import RecordError
    from . import _report, _screen

    screen = _screen.choose()
    try:
        if problem := _report.check_json(options.json):
            raise launch.LaunchError(problem)
        result = launch.simulate(_asked(options), screen)
    except (launch.LaunchError, ClusterError) as error:
        print(f"evener simulate: error: {error}", file=sys.stderr)
        return 2
    if result.record is None:
        return result.code
    if result.code >= STOPPED:
        screen.note(f"the run was broken off. Its record is {result.record}")
        return result.code
    try:
        summary = summarise(result.record)
    except RecordError as error:
        print(f"evener: there is no summary: {error}", file=sys.stderr)
        return result.code
    _report.show([summary], _compare(options))
    _report.write_json(options.json, summary.to_dict())
    return result.code


def _asked(options: argparse.Namespace) -> SimulateOptions:
    from .. import launch
    from ..simulation.files import of_paces, read_cluster

    return launch.SimulateOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        cluster=of_paces(options.paces) if options.paces else read_cluster(options.cluster),
        policy=_policy.choice(options),
        seed=options.seed,
        targets=dict(options.target),
        record=options.record,
        threads=options.threads,
    )


def _compare(options: argparse.Namespace) -> str:
    """The command that simulates the same under the policy to compare with."""
    words = ["evener", "simulate", str(options.script)]
    if options.paces:
        words += ["--paces", ",".join(f"{pace:g}" for pace in options.paces)]
    else:
        words += ["--cluster", str(options.cluster)]
    words += ["--policy", "balanced" if options.policy == "synchronous" else "synchronous"]
    if options.seed:
        words += ["--seed", str(options.seed)]
    for name, value in options.target:
        words += ["--target", f"{name}={value:g}"]
    arguments = options.script_arguments
    return shlex.join(words + (["--", *arguments] if arguments else []))
