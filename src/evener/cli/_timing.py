"""The arguments that take the place of a script where timing alone is simulated."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..launch import TimingOptions
    from . import _cluster


def configure(parser: argparse.ArgumentParser) -> None:
    """Add what takes the place of a script."""
    training = parser.add_argument_group("timing alone, without SCRIPT (with --from by default as in the record)")
    add = training.add_argument
    add("--batch", metavar="N", type=batch, help="samples per step; x2: twice as many as in the record")
    add("--samples", metavar="N", type=int, help="samples of an epoch")
    add("--epochs", metavar="N", type=int, help="passes over them (default: 1)")


def batch_of(asked: str | None, recorded: int | None) -> int | None:
    """The batch that ``--batch`` means; ``None``: nobody says.

    Raises:
        ClusterError: it is a multiple of a record's, and there is none.

    >>> batch_of("x2", 512), batch_of("256", 512), batch_of(None, 512)
    (1024, 256, 512)
    """
    from ..simulation.files import ClusterError

    if asked is None:
        return recorded
    if not asked.startswith("x"):
        return int(asked)
    if recorded is None:
        raise ClusterError(f"--batch {asked} is a multiple of a record's batch: name one with --from, or give a number")
    return max(1, round(float(asked[1:]) * recorded))


def check_script(options: argparse.Namespace) -> None:
    """Whether what was asked for is the script's to say, or needs one.

    Raises:
        LaunchError: with the first thing that is.
    """
    from .. import launch

    if options.script is not None:
        for name in ("batch", "samples", "epochs"):
            if getattr(options, name) is not None:
                raise launch.LaunchError(
                    f"--{name} is for timing alone: a script says itself. Leave out --{name}, or the script."
                )
        return
    scripts = {"--target": options.target, "--threads": options.threads, "--": options.script_arguments}
    for name, value in scripts.items():
        if value:
            raise launch.LaunchError(
                f"{name} needs a script: with timing alone there is none. Give one, or leave it out."
            )


def training(options: argparse.Namespace, chosen: _cluster.Chosen) -> TimingOptions:
    """What stands for a script: as was asked for, else as in the record."""
    from .. import launch

    found = chosen.conditions
    batch = batch_of(options.batch, found.header.settings.batch if found else None)
    positions = options.samples if options.samples is not None else (found.positions if found else None)
    for name, value in (("--batch", batch), ("--samples", positions)):
        if value is None:
            raise launch.LaunchError(
                f"{name} is missing. Give a script to train, or, for timing alone, --batch and --samples: "
                "samples per optimizer step, and of an epoch; or a record that has them, with --from."
            )
    assert batch is not None and positions is not None
    return launch.TimingOptions(
        cluster=chosen.changed,
        batch=batch,
        samples=positions,
        epochs=options.epochs if options.epochs is not None else (found.header.settings.epochs if found else 1),
        seed=options.seed,
        record=options.record,
        script=Path(found.header.script).name if found else "",
    )


def batch(text: str) -> str:
    """``512``, or ``x2``: checked, and kept as it is."""
    if not re.fullmatch(r"\d+|x(\d+\.?\d*|\.\d+)", text) or (text.startswith("x") and not float(text[1:])):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no batch; write a number of samples, or x2 for twice the record's"
        )
    return text
