"""Checkpoints on the command line: how often, and what may be said of a run that goes on."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every verb that has a server."""
    add = parser.add_argument
    add(
        "--checkpoint-every",
        metavar="SECONDS",
        type=float,
        help="keep what the server knows in the run's folder, to go on from if it is lost "
        "(default: 60, or as seldom as keeps the cost below 1%% of the time; 0: never)",
    )
    add("--resume", metavar="DIR", type=Path, help="go on with the run in this folder, from its newest checkpoint")


def check(said: Sequence[tuple[str, object, object, object]]) -> None:
    """Each is an argument's name, what was given, what that is where nothing is, and what it is in this run.

    Raises:
        LaunchError: something is said that is fixed otherwise.
    """
    from .. import launch

    for name, given, nothing, fixed in said:
        if given not in (nothing, fixed):
            raise launch.LaunchError(f"a run goes on as it began, and {name} was something else then: leave it out.")
