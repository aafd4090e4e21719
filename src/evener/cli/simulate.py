"""``evener simulate``: train a script with real gradients on a cluster that is made up, on a virtual clock."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _options, _policy, _reproducible

if TYPE_CHECKING:
    from ..launch import SimulateOptions


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener simulate SCRIPT (--cluster FILE | --paces 400,200,100,50) [options] [-- script arguments]"
    add = parser.add_argument
    add("script", metavar="SCRIPT", type=Path, help="the Python file to run: one process is all workers and the server")
    hosts = parser.add_mutually_exclusive_group(required=True)
    hosts.add_argument(
        "--cluster",
        metavar="FILE",
        type=Path,
        action="append",
        help="TOML with a table [[hosts]] for each kind of host; may be repeated: all their hosts, the first's server",
    )
    hosts.add_argument(
        "--paces", metavar="400,100", type=_options.paces, help="hosts that differ in their pace (samples/s) alone"
    )
    _policy.configure(parser)
    _reproducible.configure(parser, "the same parameters to the bit as under evener run, whatever the cluster")
    add("--threads", metavar="N", type=int, default=1, help="of torch (default: 1)")
    _options.configure(parser, seed="of the run: the same gives the same record")


def execute(options: argparse.Namespace) -> int:
    """Simulate, and show how it went."""
    from .. import launch
    from ..simulation.files import ClusterError
    from . import _report, _screen

    screen = _screen.choose()
    try:
        if problem := _report.check_json(options.json):
            raise launch.LaunchError(problem)
        asked = _asked(options)
        result = launch.simulate(asked, screen)
    except (launch.LaunchError, ClusterError) as error:
        print(f"evener simulate: error: {error}", file=sys.stderr)
        return 2
    return _report.conclude(result, screen, _compare(options, asked), options.json)


def _asked(options: argparse.Namespace) -> SimulateOptions:
    from .. import launch
    from ..simulation.files import of_paces, read_clusters

    policy = _policy.choice(options)
    return launch.SimulateOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        cluster=of_paces(options.paces) if options.paces else read_clusters(options.cluster),
        policy=policy,
        seed=options.seed,
        micro_batch=_reproducible.micro_batch(options, policy),
        targets=dict(options.target),
        record=options.record,
        threads=options.threads,
    )


def _compare(options: argparse.Namespace, asked: SimulateOptions) -> str:
    """The command that simulates the same under the policy to compare with; of a reproducible run, the real one."""
    if asked.micro_batch:
        return _options.command(["evener", "run", str(asked.script), *_reproducible.words(asked.micro_batch)], options)
    words = ["evener", "simulate", str(options.script)]
    if options.paces:
        words += ["--paces", ",".join(f"{pace:g}" for pace in options.paces)]
    else:
        words += [word for file in options.cluster for word in ("--cluster", str(file))]
    return _options.command([*words, *_options.to_compare(options)], options)
