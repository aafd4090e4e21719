"""Checkpoints on the command line: how often, and what may be said of a run that goes on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import _policy

if TYPE_CHECKING:
    from ..runtime.place import Place


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
    add(
        "--keep-checkpoints",
        metavar="K",
        type=int,
        help="how many of them stay, the newest (default: 3, or what the run that goes on was begun with)",
    )
    add("--resume", metavar="DIR", type=Path, help="go on with the run in this folder, from its newest checkpoint")


def to_keep(options: argparse.Namespace, place: Place | None = None) -> int:
    """How many checkpoints stay; where nobody says, as ``place`` has it: of the server of the run that goes on."""
    from ..runtime.place import KEEP

    if options.keep_checkpoints is not None:
        return int(options.keep_checkpoints)
    return place.keep_checkpoints if place is not None else KEEP


def check(options: argparse.Namespace, place: Place, *more: tuple[str, object, object, object]) -> None:
    """Whether what is said of a run that goes on is what it began as, which ``place`` tells.

    Args:
        options: of the command line; here are checked those that all verbs have.
        place: of the run's server.
        more: others: an argument's name, what was given, what that is where nothing is, and what it is in this run.

    Raises:
        LaunchError: something is said that is fixed otherwise.
    """
    from .. import launch
    from ..runtime.place import PolicyChoice

    said: list[tuple[str, object, object, object]] = [
        ("the policy (--policy, its options)", _policy.choice(options), PolicyChoice(), place.policy),
        ("--seed", options.seed, 0, place.seed),
        ("--target", dict(options.target), {}, place.targets),
        ("--compress", options.compress, "none", place.compress),
        ("--record", options.record, None, options.resume),
    ]
    for name, given, nothing, fixed in (*said, *more):
        if given not in (nothing, fixed):
            raise launch.LaunchError(f"a run goes on as it began, and {name} was {_said(fixed)} then: leave it out.")


def _said(value: object) -> str:
    """What was said once, in words."""
    from ..runtime.place import PolicyChoice

    match value:
        case PolicyChoice(name, options):
            return f"{name} with {_said(options)}" if options else name
        case dict():
            return ", ".join(f"{name}={given}" for name, given in value.items()) or "not given"
        case _:
            return str(value)
