"""``evener profile``: measure this machine for a script, for the simulator and for people."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..simulation.profile import Profile


RESTLESS = 0.3
"""Above this standard deviation of the logarithm of a duration, the user is told that something disturbs."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener profile SCRIPT [options] [-- script arguments]"
    add = parser.add_argument
    add("script", metavar="SCRIPT", type=Path, help="the Python file; it runs up to session.prepare(...), not its loop")
    add("--sizes", metavar="8,16,32", type=sizes, default=(), help="micro-batches to measure, in samples")
    add("--quick", action="store_true", help="a few seconds instead of some twenty")
    add("--threads", metavar="N", type=threads, default=0, help="of torch (default: as many as it takes by itself)")
    add(
        "--autocast",
        choices=("bfloat16", "float16"),
        default="",
        help="if the script's loop computes in torch.autocast",
    )
    add(
        "--output",
        metavar="FILE.toml",
        type=Path,
        default=Path("profile.toml"),
        help="what 'evener simulate --cluster' takes (default: profile.toml)",
    )
    add("--force", action="store_true", help="overwrite that file")
    add("--json", metavar="FILE", type=Path, help="write everything that was measured for programs")


def execute(options: argparse.Namespace) -> int:
    """Measure, show it, write it."""
    from .. import launch
    from . import _report, _screen

    screen = _screen.choose()
    asked = launch.ProfileOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        sizes=options.sizes,
        quick=options.quick,
        threads=options.threads,
        autocast=options.autocast,
    )
    try:
        asked.check()
        if problem := _check_output(options.output, options.force) or _report.check_json(options.json):
            raise launch.LaunchError(problem)
        screen.note(f"measuring, for about {asked.seconds * 1.25:.0f} s once {options.script} is ready")
        profile = launch.measure_profile(asked, screen)
    except launch.LaunchError as error:
        print(f"evener profile: error: {error}", file=sys.stderr)
        return 2
    except launch.StoppedError as stopped:
        screen.note("nothing was measured: stopped")
        return stopped.code
    _report.print_table(_rendered(profile))
    words = shlex.join([options.script.name, *options.script_arguments])
    options.output.write_text(profile.to_toml(words, datetime.now().astimezone()), encoding="utf-8")
    _report.write_json(options.json, profile.to_dict())
    print(f"written to {options.output}. Two such machines: {_next_command(options)}")
    return 0


def _next_command(options: argparse.Namespace) -> str:
    """The command that simulates two such machines."""
    words = ["evener", "simulate", str(options.script), *["--cluster", str(options.output)] * 2]
    arguments = options.script_arguments
    return shlex.join(words + (["--", *arguments] if arguments else []))


def sizes(text: str) -> tuple[int, ...]:
    """``8,16,32`` → three sizes."""
    try:
        found = tuple(int(word) for word in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' is no list of sizes; write the samples of each micro-batch to measure, such as 8,16,32"
        )
    return found


def threads(text: str) -> int:
    """``2`` → 2 threads."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of threads; write 1 or more")
    return number


def _check_output(path: Path, force: bool) -> str:
    """Why the profile could not be written to ``path``, in words; empty if it could."""
    if path.is_dir():
        return f"--output {path} is a folder. Give the name of a file."
    if not path.absolute().parent.is_dir():
        return f"--output {path}: there is no folder {path.parent}. Make it, or choose another place."
    if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        return f"--output {path} cannot be written: permission denied. Choose another place."
    if path.exists() and not force:
        return f"{path} exists already. Choose another file with --output, or overwrite it with --force."
    return ""


def _rendered(profile: Profile) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    machine = profile.machine
    table = Table(title=f"{machine.processor}, {machine.words}", title_justify="left")
    for heading in ("micro-batch", "samples/s", "middle half of repeats", "repeats", "by the line", "of the best"):
        table.add_column(heading, justify="right")
    line = profile.line
    best = max(profile.rates(size)[1] for size in profile.medians)
    for size in profile.medians:
        low, rate, high = profile.rates(size)
        cells = [str(size), _rate(rate), f"{_rate(low)} to {_rate(high)}", str(len(profile.durations[size]))]
        style = "bold" if size == profile.efficient else ""
        table.add_row(*cells, _rate(size / line.seconds(size)), f"{rate / best:.0%}", style=style)
    return Group(table, Text("\n".join(_facts(profile))))


def _facts(profile: Profile) -> list[str]:
    from ..simulation.profile import EFFICIENT

    line, cost = profile.line, profile.transfers
    facts = [
        f"line: a micro-batch of k samples takes {_seconds(line.overhead)} + k / {_rate(line.pace)} s; it meets the "
        f"medians within {line.error:.1%} (root mean square)",
        f"smallest efficient micro-batch: {profile.efficient} samples, the smallest measured with at least "
        f"{EFFICIENT:.0%} of the best rate",
        f"model: {profile.parameters:,} trained parameters; a push has {_bytes(cost.push_bytes)}, a pull "
        f"{_bytes(cost.pull_bytes)}",
        f"loopback: a push takes {_seconds(cost.push)}, a pull {_seconds(cost.pull)}, both together "
        f"{_seconds(cost.cpu)} of CPU at both ends; a control message {_seconds(cost.message)}",
        f"an optimizer step takes the server {_seconds(profile.step)}",
    ]
    if profile.noise > RESTLESS:
        facts.append(
            f"the repeats differ much (noise {profile.noise:.2f}): is something else at work on this machine? "
            "Measure again when it is not, or with --threads 1"
        )
    if profile.left_out:
        left = ", ".join(str(size) for size in profile.left_out)
        facts.append(f"not measured, for lack of time: {left} (ask for one alone with --sizes)")
    return facts


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _seconds(value: float) -> str:
    return f"{value * 1000:.2g} ms" if value < 0.0995 else f"{value:.2f} s"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 10_000 else f"{count} bytes"
