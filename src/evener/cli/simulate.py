"""``evener simulate``: a run on a made-up cluster, on a virtual clock; with a script's gradients, or timing alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _options, _policy, _reproducible

if TYPE_CHECKING:
    from ..launch import SimulateOptions, TimingOptions, TimingResult
    from ..simulation.cluster import Cluster
    from ._screen import Lines

USAGE = """evener simulate SCRIPT (--cluster FILE | --paces 400,200,100,50) [options] [-- script arguments]
       evener simulate (--cluster FILE | --paces 400,200,100,50) --batch N --samples N [options]"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = USAGE
    add = parser.add_argument
    add(
        "script",
        metavar="SCRIPT",
        type=Path,
        nargs="?",
        help="the Python file to run: one process is all workers and the server; without it, timing alone",
    )
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
    timing = parser.add_argument_group("timing alone, without SCRIPT")
    timing.add_argument("--batch", metavar="N", type=int, help="samples per optimizer step, over all workers")
    timing.add_argument("--samples", metavar="N", type=int, help="samples of an epoch")
    timing.add_argument("--epochs", metavar="N", type=int, help="passes over them (default: 1)")
    timing.add_argument("--no-record", action="store_true", help="write no record: several times faster")
    _policy.configure(parser)
    _reproducible.configure(parser, "the same parameters to the bit as under evener run, whatever the cluster")
    add("--threads", metavar="N", type=int, help="of torch (default: 1)")
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
        _check(options)
        if options.script is None:
            return _timing(options, _timing_asked(options), screen)
        asked = _asked(options)
        result = launch.simulate(asked, screen)
    except (launch.LaunchError, ClusterError) as error:
        print(f"evener simulate: error: {error}", file=sys.stderr)
        return 2
    return _report.conclude(result, screen, _compare(options, asked), options.json)


def _check(options: argparse.Namespace) -> None:
    """Whether the arguments go together.

    Raises:
        LaunchError: with the first that does not.
    """
    from ..launch import LaunchError

    alone = {"--batch": options.batch, "--samples": options.samples, "--epochs": options.epochs}
    if options.script is not None:
        given = [name for name, value in alone.items() if value is not None]
        if given or options.no_record:
            name = given[0] if given else "--no-record"
            raise LaunchError(f"{name} is for timing alone: a script says itself. Leave out {name}, or the script.")
        return
    for name in ("--batch", "--samples"):
        if alone[name] is None:
            raise LaunchError(
                f"{name} is missing. Give a script to train, or, for timing alone, --batch and --samples: "
                "samples per optimizer step, and of an epoch."
            )
    scripts = {"--target": options.target, "--threads": options.threads, "--": options.script_arguments}
    for name, value in scripts.items():
        if value:
            raise LaunchError(f"{name} needs a script: with timing alone there is none. Give one, or leave it out.")
    if options.no_record and options.record is not None:
        raise LaunchError("--record and --no-record contradict each other. Leave one of them out.")


def _cluster(options: argparse.Namespace) -> Cluster:
    from ..simulation.files import of_paces, read_clusters

    return of_paces(options.paces) if options.paces else read_clusters(options.cluster)


def _asked(options: argparse.Namespace) -> SimulateOptions:
    from .. import launch

    policy = _policy.choice(options)
    return launch.SimulateOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        cluster=_cluster(options),
        policy=policy,
        seed=options.seed,
        micro_batch=_reproducible.micro_batch(options, policy),
        targets=dict(options.target),
        record=options.record,
        threads=1 if options.threads is None else options.threads,
    )


# Timing alone -----------------------------------------------------------------------------------------------


def _timing_asked(options: argparse.Namespace) -> TimingOptions:
    from .. import launch

    policy = _policy.choice(options)
    return launch.TimingOptions(
        cluster=_cluster(options),
        batch=options.batch,
        samples=options.samples,
        epochs=1 if options.epochs is None else options.epochs,
        policy=policy,
        seed=options.seed,
        micro_batch=_reproducible.micro_batch(options, policy),
        record=options.record,
        keep=not options.no_record,
    )


def _timing(options: argparse.Namespace, asked: TimingOptions, screen: Lines) -> int:
    from .. import launch
    from . import _report

    result = launch.simulate_timing(asked, screen)
    if asked.keep:
        return _report.conclude(result, screen, _compare(options, asked), options.json)
    print(_words(asked, result))
    _report.write_json(options.json, result.to_dict(asked))
    return result.code


def _words(asked: TimingOptions, result: TimingResult) -> str:
    """What a run without a record came to."""
    one, outcome = result.to_dict(asked), result.outcome
    state = "" if one["ok"] else f" NOT COMPLETE: {one['reason']}\n"
    return (
        f"{state}{one['policy']}, {one['hosts']} hosts, batch {one['batch']}: {one['samples']} samples in "
        f"{outcome.steps} steps and {outcome.contributions} contributions\n"
        f"  total time  {outcome.seconds:.4g} s (virtual)\n"
        f"  throughput  {outcome.samples_per_second:.4g} samples/s, {one['part_of_paces']:.1%} of the hosts' paces\n"
        f"  stale       {outcome.stale_fraction:.1%} of the samples\n"
        f"  simulated in {result.took:.1f} s"
    )


def _compare(options: argparse.Namespace, asked: SimulateOptions | TimingOptions) -> str:
    """The command that simulates the same under the policy to compare with; of a reproducible run, the real one."""
    if asked.micro_batch and options.script is not None:
        words = ["evener", "run", str(options.script), *_reproducible.words(asked.micro_batch)]
        return _options.command(words, options)
    words = ["evener", "simulate", *([str(options.script)] if options.script is not None else [])]
    if options.paces:
        words += ["--paces", ",".join(f"{pace:g}" for pace in options.paces)]
    else:
        words += [word for file in options.cluster for word in ("--cluster", str(file))]
    for name in ("batch", "samples", "epochs"):
        if getattr(options, name) is not None:
            words += [f"--{name}", str(getattr(options, name))]
    return _options.command([*words, *_options.to_compare(options)], options)
