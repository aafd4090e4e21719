"""Profile this machine for a script: run it up to ``prepare`` in a process of its own, and measure there."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ..simulation.profile import Profile, Request
from ._places import THREADS
from ._signals import Signals
from .crew import Child, Crew
from .ending import see_above
from .limit import StoppedError
from .options import LaunchError, check_script
from .screen import Plain, Screen

SECONDS = 16.0
QUICK_SECONDS = 2.0

NEVER_JOINED = (
    "nothing was measured: {script} ended without preparing anything. Call session = evener.join(), then "
    "model, optimizer, loader = session.prepare(model, optimizer, loader)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileOptions:
    """A profile to be made.

    Attributes:
        script: the Python file; its loop is not run.
        arguments: its arguments.
        sizes: of micro-batch, in samples; empty: 8, 16 … 128, as far as the script's batch goes.
        quick: a few seconds instead of some twenty.
        threads: of torch; 0: as many as it takes by itself.
        autocast: the lower precision in which the script's loop computes; empty: none.
    """

    script: Path
    arguments: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    quick: bool = False
    threads: int = 0
    autocast: Literal["", "bfloat16", "float16"] = ""

    @property
    def seconds(self) -> float:
        """That computing is measured for; the rest takes about a quarter of it."""
        return QUICK_SECONDS if self.quick else SECONDS

    def check(self) -> None:
        """Find out what can be found out before anything is started.

        Raises:
            LaunchError: with the first thing that is wrong.
        """
        check_script(self.script)
        if any(size < 1 for size in self.sizes):
            raise LaunchError(f"a micro-batch has at least 1 sample, not {min(self.sizes)}.")
        if self.threads < 0:
            raise LaunchError(f"torch needs at least 1 thread, not {self.threads}.")


def measure_profile(options: ProfileOptions, screen: Screen | None = None) -> Profile:
    """Measure this machine for a script.

    Args:
        options: what to measure.
        screen: where the script's output goes; by default as the process prints it.

    Raises:
        LaunchError: it cannot be started, the script failed, or it has nothing that can be measured.
        StoppedError: by Ctrl-C or SIGTERM. As always, the process has ended.
    """
    options.check()
    screen = screen or Plain()
    with Signals() as signals, tempfile.TemporaryDirectory(prefix="evener-") as folder:
        sizes = tuple(sorted(set(options.sizes)))
        request = Request(folder, sizes, options.seconds, options.threads, options.autocast)
        threads = dict.fromkeys(THREADS, str(options.threads)) if options.threads else {}
        environment = {**os.environ, **threads, "PYTHONUNBUFFERED": "1", **request.environment()}
        with Crew(screen) as crew:
            child = crew.start("the script", [sys.executable, str(options.script), *options.arguments], environment)
            while crew.alive and not signals.received:
                crew.attend()
        if signals.received:
            raise StoppedError(signals.exit_code)
        return _answer(child, Path(folder), options.script)


def _answer(child: Child, folder: Path, script: Path) -> Profile:
    """What the process left in the folder."""
    refused, measured = folder / "refused.txt", folder / "profile.json"
    if refused.exists():
        raise LaunchError(f"{refused.read_text(encoding='utf-8')}.")
    if child.code:
        raise LaunchError(f"nothing was measured: {script} {child.how}.{see_above(child)}")
    if not measured.exists():
        raise LaunchError(NEVER_JOINED.format(script=script))
    return msgspec.json.decode(measured.read_bytes(), type=Profile)
