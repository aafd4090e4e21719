"""``evener join``: work for a server on another machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener join HOST:PORT SCRIPT --keys DIR [options] [-- script arguments]"
    add = parser.add_argument
    add("address", metavar="HOST:PORT", help="of the server; an IPv6 address in brackets")
    add("script", metavar="SCRIPT", type=Path, help="the Python file, the same as on the server")
    add("--keys", metavar="DIR", type=Path, help="this worker's folder of keys, made on the server by 'evener keys'")
    add("--device", metavar="NAME", default="", help="cpu, cuda:1, mps ... (default: the best there is)")
    add(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="how long to try while nobody listens there yet (default: 10)",
    )


def execute(options: argparse.Namespace) -> int:
    """Work until the end of the run."""
    from .. import launch
    from . import _screen

    try:
        return launch.join(
            launch.JoinOptions(
                address=options.address,
                script=options.script,
                keys=options.keys,
                arguments=tuple(options.script_arguments),
                device=options.device,
                wait=options.wait,
            ),
            _screen.choose(),
        )
    except launch.LaunchError as error:
        print(f"evener join: error: {error}", file=sys.stderr)
        return 2
