"""A process that has imported torch and forks on request, so that starting a script costs milliseconds.

Reads one JSON order a line (script, arguments, environment, folder, name) from standard input; answers with
the process id, and later with the exit code. A child becomes what ``python script.py`` would be: it leaves
this module's frames but the outermost, so uncaught errors, ``atexit`` and the exit code are the
interpreter's own.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import runpy
import select
import signal
import sys
from typing import Any


def serve() -> dict[str, Any] | None:
    """Fork as ordered. Returns the order in a child; ``None`` in the parent when standard input ends."""
    bell, clapper = os.pipe()
    os.set_blocking(clapper, False)
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(clapper, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: set[int] = set()
    rest = b""
    say("ready", len(os.listdir("/proc/self/task")))
    while True:
        ready, _, _ = select.select([0, bell], [], [])
        if bell in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(bell, 4096)
            reap(running)
        if 0 in ready:
            data = os.read(0, 1 << 16)
            if not data:
                for pid in running:
                    os.killpg(pid, signal.SIGKILL)
                return None
            *orders, rest = (rest + data).split(b"\n")
            for order in orders:
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    # Tests that a shell runs in the background ignore Ctrl-C; scripts must not.
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    os.close(bell)
                    os.close(clapper)
                    return dict(json.loads(order))
                with contextlib.suppress(OSError):
                    os.setpgid(pid, pid)
                running.add(pid)
                say("started", pid)


def reap(running: set[int]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            running.discard(pid)
            say("ended", pid, os.waitstatus_to_exitcode(status))


def say(*words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def become(order: dict[str, Any]) -> None:
    """Take on the name, the environment, the files and the chance of a process of its own."""
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    os.chdir(order["folder"])
    for target, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["name"] + ".out", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (2, order["name"] + ".err", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    ):
        opened = os.open(name, flags)
        os.dup2(opened, target)
        os.close(opened)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.environ.update(order["environment"])
    sys.argv = [order["script"], *order["arguments"]]
    sys.path[0] = os.path.dirname(order["script"])
    random.seed()
    numpy.random.seed()


if __name__ == "__main__":
    import numpy
    import torch._dynamo  # noqa: F401  an optimizer's first step would load it

    import evener.training.alone
    import evener.training.serving
    import evener.training.working  # noqa: F401

    # What was imported is never garbage: a child need not go through it, copying its pages, to find that out.
    gc.collect()
    gc.freeze()
    order = serve()
    if order is not None:
        become(order)
        runpy.run_path(order["script"], run_name="__main__")
