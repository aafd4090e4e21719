"""What a host's process is told, and how it tells what it has done."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "EVENER_BENCHMARK_JOB"
SERVER = -1
KEYS = "keys"
"""The folder of evener's keys, below that of the measurement."""

POLL = 0.02
PATIENCE = 300.0
"""Seconds to wait for the others to get ready."""


@dataclass(frozen=True, slots=True)
class Job:
    """A process's part in a measurement.

    Attributes:
        index: the host's number; -1 on the server's host.
        addresses: of the hosts.
        server: address of the server's host.
        port: the first of a hundred that nobody else uses.
        folder: where the processes of this measurement leave files for each other and for who measures.
        door: file to write a process id to, so that it enters the host's quota; empty: there are no quotas here.
        share: of a core that the quota gives, or that the process is to take by pausing.
        workload: its name.
        batch: samples per step, over all hosts.
        parts: of the batch, by host.
        sizes: of micro-batch, in samples, that this host is to measure (the limit only).
        options: of the system.
        keys: evener's processes know each other by keys, which are in the folder.
        processes: on each host.
        member: this process's number on its host.
    """

    index: int
    addresses: tuple[str, ...]
    server: str
    port: int
    folder: str
    door: str
    share: float
    workload: str
    batch: int
    parts: tuple[int, ...]
    sizes: tuple[int, ...]
    options: dict[str, bool | float | int | str]
    keys: bool = False
    processes: tuple[int, ...] = ()
    member: int = 0

    @classmethod
    def here(cls) -> Job:
        """This process's."""
        fields = json.loads(os.environ[VARIABLE])
        for name in ("addresses", "parts", "sizes", "processes"):
            fields[name] = tuple(fields[name])
        return cls(**fields)

    def environment(self) -> dict[str, str]:
        """The variable to add to the process's environment."""
        return {VARIABLE: json.dumps(dataclasses.asdict(self))}

    @property
    def address(self) -> str:
        """This host's own."""
        return self.server if self.index == SERVER else self.addresses[self.index]

    @property
    def pauses(self) -> bool:
        """Whether this host's process must itself see to it that it is slow."""
        return not self.door and self.index != SERVER

    @property
    def hosts(self) -> int:
        """How many there are."""
        return len(self.addresses)

    @property
    def members(self) -> int:
        """How many processes this host has."""
        return self.processes[self.index] if self.processes and self.index != SERVER else 1

    @property
    def part(self) -> int:
        """This host's samples of each batch."""
        return self.parts[self.index]

    def path(self, name: str) -> Path:
        """A file of this measurement."""
        return Path(self.folder) / name

    def ready(self) -> None:
        """Warm: wait until all are, and this process is as slow as it shall be."""
        if self.member:
            self.path(f"ready-{self.index}-{self.member}").touch()
        else:  # the host is, once all of its processes are
            for member in range(1, self.members):
                wait_for(self.path(f"ready-{self.index}-{member}"))
            self.path(f"ready-{self.index}").touch()
        wait_for(self.path(f"go-{self.index}"))


def wait_for(path: Path, seconds: float = PATIENCE) -> None:
    """Wait until there is such a file.

    Raises:
        TimeoutError: there was none in time.
    """
    until = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > until:
            raise TimeoutError(f"no {path.name} within {seconds:.0f} s")
        time.sleep(POLL)


class Progress:
    """Tells who measures how many samples have counted since the last word, and when.

    Samples count when they are in the model: systems that average now and then tell then.
    """

    def __init__(self, job: Job) -> None:
        # Unbuffered: the process is killed in the end. A host that comes back appends.
        self._file = open(job.path(f"progress-{job.index}"), "ab", buffering=0)  # noqa: SIM115

    def add(self, samples: int) -> None:
        """``samples`` more count from now on."""
        self._file.write(b"%.6f %d\n" % (time.monotonic(), samples))


def loss_weights(parts: Sequence[int]) -> list[float]:
    """For each rank, the factor on its mean loss that makes DDP's mean over the ranks the mean over the batch.

    DDP divides the sum of the ranks' gradients by their number n, and rank i's gradient is a mean over k_i of the B
    samples: so it is k_i n / B.

    >>> loss_weights([96, 32])
    [1.5, 0.5]
    """
    return [part * len(parts) / sum(parts) for part in parts]
