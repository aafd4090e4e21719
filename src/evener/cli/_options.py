"""Command line values, from text to what is meant, with errors that say what is valid; and what verbs share of them."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..runtime.place import Compress

COMPRESS: tuple[Compress, ...] = ("none", "bf16", "int8", "auto")


def configure(parser: argparse.ArgumentParser, seed: str) -> None:
    """Add the arguments of every verb that runs a script; ``seed`` says what its seed is."""
    add = parser.add_argument
    add("--seed", metavar="N", type=int, default=0, help=f"{seed} (default: 0)")
    add(
        "--target",
        metavar="NAME=VALUE",
        type=target,
        action="append",
        default=[],
        help="note when a logged metric reaches a value; never stops the run; may be repeated",
    )
    add("--record", metavar="DIR", type=Path, help="folder for the run's record (default: runs/<run id>)")
    add("--json", metavar="FILE", type=Path, help="write the summary for programs")


def configure_compress(parser: argparse.ArgumentParser) -> None:
    """Add the argument of verbs whose parameters and gradients may go over a network."""
    parser.add_argument(
        "--compress",
        choices=COMPRESS,
        default="none",
        help="send half (bf16) or a quarter (int8) of the bytes over TCP, and what that leaves out later; auto: int8 "
        "for each worker to whom it saves more time than it costs (default: none)",
    )


def to_compress(compress: str) -> list[str]:
    """The words that choose the same compression again."""
    return ["--compress", compress] if compress != "none" else []


def to_compare(options: argparse.Namespace) -> list[str]:
    """The words that choose the policy to compare with."""
    return ["--policy", "balanced" if options.policy == "synchronous" else "synchronous"]


def command(words: Sequence[str], options: argparse.Namespace) -> str:
    """``words`` as one would type them, with the same seed, targets and script arguments as now."""
    words = list(words)
    if options.seed:
        words += ["--seed", str(options.seed)]
    for name, value in options.target:
        words += ["--target", f"{name}={value:g}"]
    arguments = options.script_arguments
    return shlex.join(words + (["--", *arguments] if arguments else []))


def speeds(text: str) -> tuple[float, ...]:
    """``8,4,2,1`` → four speeds. Whether they can be emulated is the launcher's to say."""
    return _numbers(text, "speeds; write one number for each worker, such as 8,4,2,1")


def paces(text: str) -> tuple[float, ...]:
    """``400,100`` → two paces, in samples/s. Whether they can be simulated is the simulator's to say."""
    return _numbers(text, "paces; write the samples per second of each host, such as 400,200,100")


def _numbers(text: str, what: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of {what}") from None


def micro_batch(text: str) -> int:
    """``32`` → 32 samples."""
    try:
        samples = int(text)
    except ValueError:
        samples = 0
    if samples < 2:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no micro-batch; write a number of samples, 2 or more (BatchNorm cannot normalise one)"
        )
    return samples


def target(text: str) -> tuple[str, float]:
    """``test_accuracy=0.9`` → name and value."""
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name.strip() or not math.isfinite(number):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no target; write NAME=VALUE, such as test_accuracy=0.9, "
            "with a name that the script gives to session.log()"
        )
    return name.strip(), number


def whole(text: str) -> int:
    """A whole number from 1."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1")
    return number
