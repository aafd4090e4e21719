"""The user-space switch: links with delay and loss where the kernel has none (see switch.c)."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .children import dies_with_us
from .clusters import Link

SOURCE = Path(__file__).with_name("switch.c")
BUILT = Path(__file__).parent / ".envs" / "switch"
UNLIMITED = 0


class SwitchError(RuntimeError):
    """The switch cannot be built, or does not start."""


def build() -> Path:
    """Compile it, unless that is done already.

    Raises:
        SwitchError: there is no C compiler, or it refuses.
    """
    if BUILT.exists() and BUILT.stat().st_mtime >= SOURCE.stat().st_mtime:
        return BUILT
    compiler = shutil.which("cc")
    if compiler is None:
        raise SwitchError("links with delay or loss need a C compiler (cc): install one, or choose another cluster")
    BUILT.parent.mkdir(exist_ok=True)
    done = subprocess.run([compiler, "-O2", "-Wall", "-o", BUILT, SOURCE], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SwitchError(f"the switch does not compile:\n{done.stderr}")
    return BUILT


def arguments(spaces: Sequence[str], links: Sequence[Link]) -> list[str]:
    """What the switch is told of each host: namespace, bit/s, delay in µs, loss in millionths.

    >>> arguments(["a"], [Link(rate_mbit=50, delay_ms=5, loss=0.001)])
    ['a', '50000000', '5000', '1000']
    """
    words: list[str] = []
    for space, link in zip(spaces, links, strict=True):
        figures = (link.rate_mbit * 1e6, link.delay_ms * 1e3, link.loss * 1e6)
        words += [space, *(str(round(figure)) for figure in figures)]
    return words


def start(spaces: Sequence[str], links: Sequence[Link]) -> subprocess.Popen[str]:
    """Start it; when this returns, every namespace has an ``eth0``.

    Raises:
        SwitchError: it cannot be built or does not start.
    """
    process = subprocess.Popen(
        [build(), *arguments(spaces, links)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=dies_with_us(signal.SIGKILL),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if process.stdout.readline() != "ready\n":
        process.kill()
        raise SwitchError(f"the switch does not start: {process.stderr.read().strip()}")
    return process
