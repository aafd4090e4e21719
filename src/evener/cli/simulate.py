"""``evener simulate``: a run on a made-up cluster, on a virtual clock; with a script's gradients, or timing alone."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _board, _cluster, _options, _policy, _reproducible, _timing

if TYPE_CHECKING:
    from ..launch import SimulateOptions, TimingOptions, TimingResult
    from ._screen import Lines

USAGE = """evener simulate SCRIPT (--cluster FILE | --paces 400,200 | --from RECORD) [options] [-- script arguments]
       evener simulate (--cluster FILE | --paces 400,200) --batch N --samples N [options]
       evener simulate --from RECORD [options]"""


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
    _cluster.configure(parser)
    _timing.configure(parser)
    parser.add_argument("--no-record", action="store_true", help="timing alone: write no record, several times faster")
    _policy.configure(parser)
    _reproducible.configure(parser, "the same parameters to the bit as under evener run, whatever the cluster")
    add("--threads", metavar="N", type=int, help="of torch (default: 1)")
    _board.configure(parser)
    _options.configure(parser, seed="of the run: the same gives the same record")


def execute(options: argparse.Namespace) -> int:
    """Simulate, and show how it went."""
    from .. import launch
    from ..simulation.files import ClusterError
    from ..trace import RecordError
    from . import _report, _screen

    screen = _screen.choose()
    try:
        if problem := _report.check_json(options.json):
            raise launch.LaunchError(problem)
        _check(options)
        chosen = _cluster.choose(options)
        for remark in chosen.conditions.remarks if chosen.conditions else ():
            screen.note(remark)
        if options.script is None:
            return _time(options, _timing_asked(options, chosen), chosen, screen)
        asked = _asked(options, chosen)
        result = launch.simulate(asked, _board.beside(screen, options.tensorboard))
    except (launch.LaunchError, ClusterError, RecordError) as error:
        print(f"evener simulate: error: {error}", file=sys.stderr)
        return 2
    return _report.conclude(result, screen, _compare(options, asked), options.json, chosen.judged)


def _check(options: argparse.Namespace) -> None:
    """Whether the arguments go together.

    Raises:
        LaunchError: with the first that does not.
    """
    from ..launch import LaunchError

    if options.script is not None and options.no_record:
        raise LaunchError(
            "--no-record is for timing alone: a script says itself. Leave out --no-record, or the script."
        )
    _timing.check_script(options)
    if options.no_record and options.tensorboard is not None:
        raise LaunchError("--tensorboard reads the record, and --no-record writes none. Leave one of them out.")
    if options.no_record and options.record is not None:
        raise LaunchError("--record and --no-record contradict each other. Leave one of them out.")


def _asked(options: argparse.Namespace, chosen: _cluster.Chosen) -> SimulateOptions:
    from .. import launch

    policy = _policy.choice(options)
    return launch.SimulateOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        cluster=chosen.changed,
        policy=policy,
        seed=options.seed,
        micro_batch=_reproducible.micro_batch(options, policy),
        targets=dict(options.target),
        record=options.record,
        threads=1 if options.threads is None else options.threads,
    )


# Timing alone -----------------------------------------------------------------------------------------------


def _timing_asked(options: argparse.Namespace, chosen: _cluster.Chosen) -> TimingOptions:
    policy = _policy.choice(options)
    micro_batch = _reproducible.micro_batch(options, policy)
    asked = _timing.training(options, chosen)
    return dataclasses.replace(asked, policy=policy, micro_batch=micro_batch, keep=not options.no_record)


def _time(options: argparse.Namespace, asked: TimingOptions, chosen: _cluster.Chosen, screen: Lines) -> int:
    from .. import launch
    from . import _report

    result = launch.simulate_timing(asked, _board.beside(screen, options.tensorboard))
    if asked.keep:
        return _report.conclude(result, screen, _compare(options, asked), options.json, chosen.judged)
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
    words += _cluster.words(options)
    for name in ("batch", "samples", "epochs"):
        if getattr(options, name) is not None:
            words += [f"--{name}", str(getattr(options, name))]
    return _options.command([*words, *_options.to_compare(options)], options)
