"""``evener run``: train a script on several workers of this machine, or of a Ray cluster."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _board, _cluster, _engines, _options, _policy, _reproducible, _resuming

if TYPE_CHECKING:
    from ..launch import RunOptions
    from ..runtime.keeping import Head


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener run SCRIPT [options] [-- script arguments]"
    add = parser.add_argument
    add("script", metavar="SCRIPT", type=Path, help="the Python file that every process runs")
    add(
        "--workers",
        metavar="N",
        type=_engines.workers,
        help="processes that compute (default: one for each speed, else 2-4)",
    )
    add("--speeds", metavar="8,4,2,1", type=_options.speeds, help="emulate workers of unequal speed")
    _policy.configure(parser)
    _reproducible.configure(parser, "the same parameters to the bit, whatever the workers")
    add("--port", metavar="N", type=int, help="of the server (default: any free one)")
    add("--tcp", action="store_true", help="send bulk over TCP even between processes of one host")
    _options.configure_compress(parser)
    _resuming.configure(parser)
    _cluster.configure_faults(parser)
    add(
        "--restart",
        metavar="N",
        type=_times,
        nargs="?",
        const=3,
        default=0,
        help="start a worker that ended with an error again, so often (3) and after growing pauses; with --on ray: "
        "a process that was lost, so often (10) and by Ray",
    )
    _engines.configure(parser)
    _board.configure(parser)
    _options.configure(parser, seed="of the run")


def execute(options: argparse.Namespace) -> int:
    """Run, and show how it went."""
    from .. import launch
    from ..simulation.sentences import FaultError
    from . import _report, _screen

    screen = _screen.choose()
    try:
        if problem := _report.check_json(options.json):
            raise launch.LaunchError(problem)
        _engines.check(options)
        if options.on is not None:
            return _on_ray(options)
        asked = _asked(options)
        asked.check()
        if options.workers is None and options.speeds is None and asked.resume is None:
            screen.note(f"{asked.workers} workers (choose with --workers or --speeds)")
        result = launch.run(asked, _board.beside(screen, options.tensorboard))
    except (launch.LaunchError, FaultError) as error:
        print(f"evener run: error: {error}", file=sys.stderr)
        return 2
    return _report.conclude(result, screen, _compare(options, asked), options.json)


def _on_ray(options: argparse.Namespace) -> int:
    from .. import launch
    from . import _report, _screen

    # Ray prints what its actors print at any moment, which would tear a panel apart: 'evener watch' has it.
    screen = _screen.Lines()
    result = launch.run_on_ray(_engines.asked(options), _board.beside(screen, options.tensorboard))
    words = ["evener", "run", str(options.script), *_engines.words(options)]
    command = _options.command([*words, *_options.to_compare(options)], options)
    return _report.conclude(result, screen, command, options.json)


def _times(text: str) -> int:
    try:
        return _options.whole(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; without one it goes behind the script") from None


def _asked(options: argparse.Namespace) -> RunOptions:
    from .. import launch
    from ..simulation.sentences import read_faults

    if options.resume is not None:
        return _resumed(options, launch.to_resume(options.resume))
    policy = _policy.choice(options)
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
        micro_batch=_reproducible.micro_batch(options, policy),
        targets=dict(options.target),
        port=options.port,
        record=options.record,
        tcp=options.tcp,
        compress=options.compress,
        checkpoint_every=options.checkpoint_every,
        keep_checkpoints=_resuming.to_keep(options),
        faults=read_faults(options.faults) if options.faults is not None else (),
        restarts=options.restart,
    )


def _resumed(options: argparse.Namespace, head: Head) -> RunOptions:
    """What the run was begun with; the command line may say how many workers, how fast, and how often to checkpoint.

    Raises:
        LaunchError: it says something that is fixed otherwise.
    """
    from .. import launch
    from ..simulation.sentences import read_faults

    place = head.place
    port = int(place.address.rpartition(":")[2])
    if place.keys:
        raise launch.LaunchError(
            f"the run in {options.resume} was begun with 'evener serve', for workers with keys: "
            f"evener serve {options.script} --resume {options.resume}"
        )
    _resuming.check(
        options,
        place,
        ("--micro-batch", _reproducible.micro_batch(options, _policy.choice(options)), 0, place.micro_batch),
        ("--port", options.port, None, port),
    )
    speeds = options.speeds
    if speeds is None and options.workers is None and isinstance(before := place.notes.get("speeds"), list):
        speeds = tuple(before)
    return launch.RunOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        workers=options.workers or (len(speeds) if speeds else place.workers),
        speeds=speeds or (),
        policy=place.policy,
        seed=place.seed,
        micro_batch=place.micro_batch,
        targets=place.targets,
        port=port,
        record=options.resume,
        tcp=options.tcp or place.tcp,
        compress=place.compress,
        checkpoint_every=options.checkpoint_every,
        keep_checkpoints=_resuming.to_keep(options, place),
        resume=head,
        faults=read_faults(options.faults) if options.faults is not None else (),
        restarts=options.restart,
    )


def _compare(options: argparse.Namespace, asked: RunOptions) -> str:
    """The command that runs the same under the policy to compare with; of a reproducible run, on other workers."""
    words = ["evener", "run", str(asked.script), *(["--tcp"] if asked.tcp else [])]
    words += _options.to_compress(asked.compress)
    if asked.micro_batch:
        words += ["--workers", str(asked.workers + 1), *_reproducible.words(asked.micro_batch)]
        return _options.command(words, options)
    if asked.speeds:
        words += ["--speeds", ",".join(f"{speed:g}" for speed in asked.speeds)]
    else:
        words += ["--workers", str(asked.workers)]
    return _options.command([*words, *_options.to_compare(options)], options)
