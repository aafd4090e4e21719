"""A process's place in a run: what a launcher tells the script's processes, through one environment variable."""

from __future__ import annotations

import os
import time
from typing import Any, Literal, get_args

import msgspec

VARIABLE = "EVENER_PLACE"
"""The environment variable that holds a :class:`Place` as JSON. Unset: the script runs alone, as plain training."""

DETERMINISTIC = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "MKL_CBWR": "AUTO", "PYTHONHASHSEED": "0"}
"""Environment in which a reproducible run's libraries compute the same each time; what a user has set is kept."""


LACKING = (
    "every machine of a run reads its own copy of the data. Copy what is missing here from the machine where the "
    "script has run, to the same path, or let the script fetch it, as evener.data.har() does."
)
"""What is said, on a machine that has joined, to a script that does not find a file."""

KEEP = 3
"""How many sound checkpoints stay, unless the user says how many."""

LIMIT_SIZES = (8, 16, 32, 64, 128)
"""Micro-batches among which each worker's best makes the limit, in samples."""


Compress = Literal["none", "bf16", "int8", "auto"]
"""How parameters and gradients go over TCP."""


class Slowness(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a worker is made slower than its machine.

    Attributes:
        kind: ``cgroup`` (``path`` is the ``cgroup.procs`` file to enter) or ``throttle`` (pause after computing).
        share: of one core, in (0, 1].
    """

    kind: Literal["cgroup", "throttle"]
    share: float
    path: str = ""


class PolicyChoice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A policy by name, with its options."""

    name: str = "balanced"
    options: dict[str, bool | float | int | str] = {}


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who this process is, and what it must know to take part.

    Attributes:
        role: ``server`` holds parameters and optimizer; ``worker`` computes gradients; ``limit`` only measures how fast
            this worker is without any communication; ``simulated`` is all of a run in one process.
        index: the worker's number, from 0 (-1 for the server).
        workers: how many workers are expected.
        address: ``tcp://HOST:PORT`` of the server.
        token: the run's shared secret, where there are no keys.
        keys: folder with this process's keys; empty: there are none, and only this machine takes part.
        compare_data: ``samples``: workers must have the server's data set; ``length``: one as long. With keys only.
        run: the run's id; empty for a worker that does not know it.
        record: folder in which the server writes ``record.jsonl`` (empty: nowhere), and where a worker that finds no
            server may see that the run is over; a ``limit`` worker writes ``rate-INDEX.json``.
        targets: metrics whose reaching is noted.
        threads: torch threads of this process (0: leave as it is).
        device: ``cpu``, ``cuda:0`` …; empty: choose.
        sizes: of micro-batch, in samples, that a ``limit`` worker measures.
        cluster: what to simulate: a :class:`~evener.simulation.cluster.Cluster` as plain data.
        tcp: bulk goes over TCP, also between processes of one host.
        compress: what goes over TCP, as which codec says. The server's counts.
        micro_batch: the run is reproducible, in micro-batches of so many samples (0: it is not).
        checkpoint_every: seconds from one checkpoint to the next (0: none but those that are asked for).
        checkpoint_share: of the time, that checkpoints may cost: they are further apart where they are dear (0:
            whatever they cost).
        keep_checkpoints: how many sound ones stay.
        resume: the run's folder, from whose newest checkpoint the server goes on (empty: it begins).
        prompt: each line of the record is written at once, for somebody who acts on it.
        launched, spawned: when the launcher began, and started this process; seconds since 1970 (0: not known).
        wait: seconds that a worker tries to reach a server that it does not find, at first (0: two minutes).
        notes: facts for the record's header, such as the emulated speeds.
    """

    role: Literal["server", "worker", "limit", "simulated"]
    address: str
    token: str
    run: str
    keys: str = ""
    compare_data: Literal["samples", "length"] = "samples"
    index: int = -1
    workers: int = 1
    policy: PolicyChoice = PolicyChoice()
    seed: int = 0
    record: str = ""
    targets: dict[str, float] = {}
    slowness: Slowness | None = None
    threads: int = 0
    device: str = ""
    sizes: tuple[int, ...] = LIMIT_SIZES
    patience: float = 30.0
    micro_batch: int = 0
    tcp: bool = False
    prompt: bool = False
    compress: Compress = "none"
    cluster: dict[str, Any] = {}
    checkpoint_every: float = 0.0
    checkpoint_share: float = 0.0
    keep_checkpoints: int = KEEP
    resume: str = ""
    wait: float = 0.0
    launched: float = 0.0
    spawned: float = 0.0
    notes: dict[str, str | float | int | list[float]] = {}

    def environment(self) -> dict[str, str]:
        """The variable to add to the process's environment."""
        return {VARIABLE: msgspec.json.encode(self).decode()}

    @classmethod
    def here(cls) -> Place | None:
        """This process's place, or ``None`` when it runs alone.

        Raises:
            ValueError: the variable is set but is no place.
        """
        text = os.environ.get(VARIABLE)
        if not text:
            return None
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError as error:
            raise ValueError(
                f"the environment variable {VARIABLE} does not describe a place in a run ({error}). "
                "It is set by 'evener run'; unset it to run the script alone."
            ) from error


def compress_objection(compress: str, micro_batch: int) -> str:
    """Why a run cannot be compressed like this, in words; empty if it can. ``micro_batch``: of a reproducible run.

    >>> compress_objection("int8", 0), compress_objection("none", 32)
    ('', '')
    """
    if compress not in get_args(Compress):
        return f"there is no compression '{compress}': choose one of {', '.join(get_args(Compress))}"
    if micro_batch and compress != "none":
        return (
            f"a reproducible run gives the same bits whoever computes what, but what --compress {compress} leaves out "
            "depends on who has sent what before: leave one of the two out"
        )
    return ""


def since(moment: float) -> float:
    """Seconds since ``moment`` (in seconds since 1970, which several processes share); 0 where it is not known."""
    return max(0.0, time.time() - moment) if moment else 0.0
