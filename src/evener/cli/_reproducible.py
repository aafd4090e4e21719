"""The arguments that make a run reproducible, for every verb that can."""

from __future__ import annotations

import argparse

from ..runtime.place import PolicyChoice
from . import _options

MICRO_BATCH = 32
"""Samples of a micro-batch in a reproducible run, where the user names no other number."""


def configure(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the arguments; ``what`` says what is the same then."""
    parser.add_argument("--reproducible", action="store_true", help=f"{what}; balanced with --bound 0")
    parser.add_argument(
        "--micro-batch",
        metavar="N",
        type=_options.micro_batch,
        help=f"with --reproducible: samples that a worker computes at once (default: {MICRO_BATCH})",
    )


def micro_batch(options: argparse.Namespace, policy: PolicyChoice) -> int:
    """The size asked for, 0 if the run need not be reproducible; if it must, ``balanced`` is given its bound.

    Raises:
        LaunchError: a size for a run that is not reproducible.
    """
    from ..launch import LaunchError

    if not options.reproducible:
        if options.micro_batch is not None:
            raise LaunchError("--micro-batch is for reproducible runs: add --reproducible, or leave it out.")
        return 0
    if policy.name == "balanced":
        policy.options.setdefault("bound", 0)
    return options.micro_batch or MICRO_BATCH


def words(micro_batch: int) -> list[str]:
    """The arguments, as one would type them."""
    return ["--reproducible", "--micro-batch", str(micro_batch)]
