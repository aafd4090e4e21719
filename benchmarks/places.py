"""What a measured process finds: its part of the job, its environment, a folder; and its last words."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from evener.launch._places import THREADS

from .cluster import SERVER
from .runners.job import Job
from .throttled import Hosts

ROOT = Path(__file__).parent.parent

LAST_WORDS = 12
"""Lines of a failed process's output that are kept."""


def part_of(job: Job, cluster: Hosts, host: int, sizes: tuple[int, ...], member: int = 0) -> Job:
    """The job of one process of a host; -1: of the server's."""
    if host == SERVER:
        return replace(job, index=host)
    job = replace(job, index=host, member=member, door=str(cluster.door(host) or ""), sizes=sizes)
    return replace(job, share=cluster.cluster.shares[host] / job.members)


def environment(job: Job) -> dict[str, str]:
    """A host's: one thread, and everybody is reached through its one link."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EVENER_")}
    return {
        **kept,
        **dict.fromkeys(THREADS, "1"),
        **job.environment(),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "GLOO_SOCKET_IFNAME": "eth0",
        "TP_SOCKET_IFNAME": "eth0",
    }


@contextmanager
def workplace(keep: Path | None, name: str) -> Iterator[Path]:
    """A folder for the files of one measurement: ``name`` below ``keep``, or one that goes away."""
    if keep is not None:
        folder = keep.resolve() / name
        folder.mkdir(parents=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="evener-bench-") as temporary:
        yield Path(temporary)


def name_of(host: int) -> str:
    """What messages call it."""
    return "the server's process" if host == SERVER else f"host {host}"


def last_words(log: Path) -> str:
    """The end of a process's output, each line after a line break."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return "".join(f"\n{neutral(line)}" for line in lines[-LAST_WORDS:])


def neutral(line: str) -> str:
    """A line of output without the folders of this machine.

    >>> neutral('  File "/a/b/lib/python3.11/site-packages/torch/nn.py", line 3')
    '  File "torch/nn.py", line 3'
    """
    line = re.sub(r"/\S*/site-packages/", "", line)
    return re.sub(r"/\S*/(lib/python[\d.]+|benchmarks|src)/", r"\1/", line)
