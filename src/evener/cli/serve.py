"""``evener serve``: train with workers on other machines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import _board, _options, _policy, _resuming

if TYPE_CHECKING:
    from ..launch import ServeOptions
    from ..runtime.keeping import Head


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener serve SCRIPT --listen HOST:PORT --keys DIR [options] [-- script arguments]"
    add = parser.add_argument
    add("script", metavar="SCRIPT", type=Path, help="the Python file that every process runs, here and elsewhere")
    add(
        "--listen",
        metavar="HOST:PORT",
        help="where workers find this server; 0.0.0.0:PORT is every IPv4 address of this machine, [::]:PORT every one",
    )
    add("--keys", metavar="DIR", type=Path, help="folder made by 'evener keys'")
    add("--workers", metavar="N", type=int, help="how many to wait for, half a minute at most (default: 1)")
    add(
        "--compare-data",
        choices=("samples", "length"),
        default="samples",
        help="what a worker's data set must have in common with this one's: samples (default), or only their number",
    )
    _options.configure_compress(parser)
    _policy.configure(parser)
    _resuming.configure(parser)
    add(
        "--go-on",
        action="store_true",
        help="with --record DIR: go on with the run that is there, if one has begun; for servers that are restarted by "
        "themselves",
    )
    _board.configure(parser)
    _options.configure(parser, seed="of the run")


def execute(options: argparse.Namespace) -> int:
    """Serve, and show how it went."""
    from .. import launch
    from . import _report, _screen

    screen = _screen.choose()
    try:
        if problem := _report.check_json(options.json):
            raise launch.LaunchError(problem)
        asked = _asked(options)
        asked.check()
        result = launch.serve(asked, _board.beside(screen, options.tensorboard))
    except launch.LaunchError as error:
        print(f"evener serve: error: {error}", file=sys.stderr)
        return 2
    words = ["evener", "serve", str(asked.script), "--listen", asked.listen, "--keys", str(asked.keys)]
    words += _options.to_compress(asked.compress)
    return _report.conclude(
        result, screen, _options.command([*words, *_options.to_compare(options)], options), options.json
    )


def _asked(options: argparse.Namespace) -> ServeOptions:
    from .. import launch

    if options.go_on and options.record is None:
        raise launch.LaunchError("--go-on: say where the run is, with --record DIR.")
    if options.go_on and launch.begun(options.record) is not None:
        options.resume = options.record
    if options.resume is not None:
        return _resumed(options, launch.to_resume(options.resume))
    if options.listen is None:
        raise launch.LaunchError("say where to listen: --listen HOST:PORT, such as --listen 0.0.0.0:4000.")
    return launch.ServeOptions(
        script=options.script,
        listen=options.listen,
        keys=options.keys,
        arguments=tuple(options.script_arguments),
        workers=1 if options.workers is None else options.workers,
        policy=_policy.choice(options),
        seed=options.seed,
        targets=dict(options.target),
        record=options.record,
        compare_data=options.compare_data,
        compress=options.compress,
        checkpoint_every=options.checkpoint_every,
        keep_checkpoints=_resuming.to_keep(options),
    )


def _resumed(options: argparse.Namespace, head: Head) -> ServeOptions:
    """What the run was begun with; its folder of keys may have moved.

    Raises:
        LaunchError: something is said that is fixed otherwise, or it was begun with ``evener run``.
    """
    from .. import launch

    place = head.place
    if not place.keys:
        raise launch.LaunchError(
            f"the run in {options.resume} was begun with 'evener run', for this machine alone: "
            f"evener run {options.script} --resume {options.resume}"
        )
    # Who restarts servers by himself restarts the workers, too, or sees to it that they find it.
    listen = options.listen if options.go_on and options.listen else place.address.removeprefix("tcp://")
    _resuming.check(
        options,
        place,
        ("--listen", options.listen, None, listen),
        ("--compare-data", options.compare_data, "samples", place.compare_data),
    )
    return launch.ServeOptions(
        script=options.script,
        listen=listen,
        keys=options.keys or Path(place.keys),
        arguments=tuple(options.script_arguments),
        workers=place.workers if options.workers is None else options.workers,
        policy=place.policy,
        seed=place.seed,
        targets=place.targets,
        record=options.resume,
        compare_data=place.compare_data,
        compress=place.compress,
        checkpoint_every=options.checkpoint_every,
        keep_checkpoints=_resuming.to_keep(options, place),
        resume=head,
    )
