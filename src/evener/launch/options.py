"""What a run is asked to be, and whether that can be."""

from __future__ import annotations

import inspect
import math
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from ..core.policies import POLICIES
from ..core.policies.base import check_micro_batch
from ..runtime import keeping
from ..runtime.keeping import Head
from ..runtime.place import KEEP, Compress, PolicyChoice, compress_objection
from ..simulation.faults import SERVER, Fault, check_worker
from ..trace import record_path
from . import _cgroups, slowness

HOST = "127.0.0.1"
MOST_WORKERS_BY_DEFAULT = 4

CHECKPOINT_EVERY = 60.0
"""Seconds from one checkpoint to the next, unless the user says how many."""

CHECKPOINT_SHARE = 0.01
"""Of the time, that checkpoints may cost, unless the user says how often they are wanted."""


class LaunchError(Exception):
    """A run cannot be started. The message says what happened, what is valid, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """A run on this machine.

    Attributes:
        script: the Python file that every process runs.
        arguments: its arguments.
        workers: how many processes compute gradients.
        speeds: relative speeds to emulate, one for each worker; empty: as fast as the machine lets them be.
        policy: by name, with the options that differ from the policy's own defaults.
        seed: of the run.
        micro_batch: samples of a micro-batch in a reproducible run, which gives the same parameters to the bit whatever
            its workers; needs ``balanced`` with ``bound`` 0. 0: not reproducible.
        targets: metrics whose reaching is noted, with the value to reach.
        port: of the server, on the loopback address; ``None``: any free one.
        record: folder for the run's record; ``None``: ``runs/<run id>`` below the current folder.
        tcp: bulk goes over TCP, also between processes of one host.
        checkpoint_every: seconds from one checkpoint of the server to the next; 0: none. ``None``:
            :data:`CHECKPOINT_EVERY`, or as seldom as to cost less than :data:`CHECKPOINT_SHARE` of the time.
        keep_checkpoints: how many of them stay.
        resume: what ``record`` holds of a run that goes on; ``None``: it begins.
        faults: what happens to whom when.
        restarts: how often each worker that ends with an error is started again.
        compress: what goes over TCP is packed as ``bf16`` or ``int8``, and what that leaves out is sent later;
            ``auto``: as ``int8`` for each worker to whom that saves more time than it costs.
    """

    script: Path
    arguments: tuple[str, ...] = ()
    workers: int = 2
    speeds: tuple[float, ...] = ()
    policy: PolicyChoice = field(default_factory=PolicyChoice)
    seed: int = 0
    micro_batch: int = 0
    targets: dict[str, float] = field(default_factory=dict)
    port: int | None = None
    record: Path | None = None
    tcp: bool = False
    checkpoint_every: float | None = None
    keep_checkpoints: int = KEEP
    resume: Head | None = None
    faults: tuple[Fault, ...] = ()
    restarts: int = 0
    compress: Compress = "none"

    def check(self) -> None:
        """Find out what can be found out before anything is started.

        Raises:
            LaunchError: with the first thing that is wrong.
        """
        check_script(self.script)
        if self.workers < 1:
            raise LaunchError(f"a run needs at least 1 worker, not {self.workers}.")
        if self.speeds and len(self.speeds) != self.workers:
            raise LaunchError(
                f"{len(self.speeds)} speeds were given for {self.workers} workers. "
                "Give one speed for each worker, or leave the number of workers out."
            )
        try:
            slowness.check(self.speeds)
        except ValueError as error:
            raise LaunchError(str(error)) from None
        check_policy(self.policy, self.micro_batch)
        if why := compress_objection(self.compress, self.micro_batch):
            raise LaunchError(f"{why}.")
        check_targets(self.targets)
        check_faults(self.faults, self.workers)
        if self.restarts < 0:
            raise LaunchError(f"a worker is started again 0 times or more, not {self.restarts} times.")
        check_checkpoints(self.checkpoint_every, self.keep_checkpoints)
        if self.resume is None:
            check_record(self.record)
        if self.port is not None:
            check_port(self.port, fixed=self.resume is not None)


def check_script(script: Path) -> None:
    """Whether there is such a file.

    Raises:
        LaunchError: there is none.
    """
    if not script.is_file():
        what = "is a folder" if script.is_dir() else "does not exist"
        raise LaunchError(f"the script {script} {what}. Give the path of a Python file.")


def check_targets(targets: Mapping[str, float]) -> None:
    """Whether these values can be reached.

    Raises:
        LaunchError: one is not finite.
    """
    for name, value in targets.items():
        if not math.isfinite(value):
            raise LaunchError(f"the target {name}={value:g} is not a finite number.")


def check_faults(faults: Sequence[Fault], workers: int) -> None:
    """Whether all this can happen to so many workers here.

    Raises:
        LaunchError: there is no such worker, or this system cannot do it.
    """
    for fault in faults:
        try:
            if fault.worker != SERVER:
                check_worker(fault, workers)
        except ValueError:
            raise LaunchError(
                f"'{fault}': there is no worker {fault.worker}; they are workers 0 to {workers - 1}. Name one of them, "
                "or start more."
            ) from None
        if fault.factor is not None and fault.factor > 1:
            raise LaunchError(f"'{fault}': a real process can be made slower, not faster. Give a number above 1.")


def how_often(checkpoint_every: float | None) -> tuple[float, float]:
    """Seconds from one checkpoint to the next, and the share of the time that they may cost (0: whatever they cost).

    >>> how_often(5.0), how_often(None)
    ((5.0, 0.0), (60.0, 0.01))
    """
    return (CHECKPOINT_EVERY, CHECKPOINT_SHARE) if checkpoint_every is None else (checkpoint_every, 0.0)


def check_checkpoints(seconds: float | None, keep: int) -> None:
    """Refuse what is no time between two checkpoints, or no number of them.

    Raises:
        LaunchError: it is none.
    """
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        raise LaunchError(f"{seconds:g} is no number of seconds between checkpoints: give one from 0 (0: none).")
    if keep < 1:
        raise LaunchError(f"{keep} checkpoints cannot be kept: give a number from 1, or --checkpoint-every 0 for none.")


def check_record(folder: Path | None) -> None:
    """Whether a record may be written into ``folder``.

    Raises:
        LaunchError: it holds one already.
    """
    if folder is not None and record_path(folder).exists():
        further = f", or go on with that run: --resume {folder}" if keeping.listed(folder) else ""
        raise LaunchError(
            f"{folder} already holds the record of a run, and records are never overwritten. "
            f"Choose another folder, or move that one away{further}."
        )


def check_policy(choice: PolicyChoice, micro_batch: int = 0) -> None:
    """Whether there is such a policy, it has such options with such values, and can keep to ``micro_batch``.

    Raises:
        LaunchError: naming the valid policies, or the policy's options, or what its constructor says.
    """
    if choice.name not in POLICIES:
        raise LaunchError(f"there is no policy '{choice.name}'. Choose one of: {', '.join(POLICIES)}.")
    valid = policy_options(choice.name)
    for option in choice.options:
        if option not in valid:
            has = f"it has {', '.join(valid)}" if valid else "it has none"
            others = [name for name in POLICIES if option in policy_options(name)]
            whose = f" {', '.join(others)} {'have' if len(others) > 1 else 'has'} it." if others else ""
            raise LaunchError(f"the policy {choice.name} has no option '{option}': {has}.{whose}")
    try:
        policy = POLICIES[choice.name](**choice.options)
    except (TypeError, ValueError) as error:
        raise LaunchError(f"the policy {choice.name} cannot be used so: {error}.") from None
    try:
        check_micro_batch(micro_batch, policy)
    except ValueError as error:
        raise LaunchError(f"{error}.") from None


def policy_options(name: str) -> list[str]:
    """The names of a policy's options."""
    return list(inspect.signature(POLICIES[name]).parameters)


def check_port(port: int, fixed: bool = False) -> None:
    """Whether the server could listen on ``port``; ``fixed``: it cannot have another.

    Raises:
        LaunchError: it is no port, or it is in use, or this user may not use it.
    """
    if not 1 <= port <= 65535:
        raise LaunchError(f"{port} is no port: ports are 1 to 65535. Leave it out to have a free one chosen.")
    try:
        _bind(port)
    except OSError as error:
        raise LaunchError(
            f"port {port} on {HOST} cannot be used: {error.strerror}. "
            + (
                "End what listens there, or wait for it: a run goes on at the port that it began with."
                if fixed
                else "Choose another, or leave it out to have a free one chosen."
            )
        ) from None


def free_port() -> int:
    """A port on the loopback address that nobody listens on at present."""
    return _bind(0)


def _bind(port: int) -> int:
    with socket.socket() as probe:
        # As the server's own socket does: else the port of a run that has just ended would seem to be in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
        bound: int = probe.getsockname()[1]
        return bound


def default_workers() -> int:
    """How many workers where nobody says: one for each CUDA device where there are several, else 2 to 4."""
    devices = cuda_devices()
    if devices > 1:
        return devices
    return max(2, min(MOST_WORKERS_BY_DEFAULT, int(_cgroups.cores_allowed())))


def cuda_devices() -> int:
    """The number of CUDA devices that PyTorch would see, found without importing it (which takes seconds)."""
    try:
        if "+cpu" in metadata.version("torch"):
            return 0
    except metadata.PackageNotFoundError:
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        listed = [name.strip() for name in visible.split(",")]
        end = listed.index("-1") if "-1" in listed else len(listed)
        return sum(1 for name in listed[:end] if name)
    try:
        return sum(1 for _ in Path("/proc/driver/nvidia/gpus").iterdir())
    except OSError:
        return _ask_nvidia()


def _ask_nvidia() -> int:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    try:
        listing = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
