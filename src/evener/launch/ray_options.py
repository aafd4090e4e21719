"""What a run on Ray is asked to be, and whether it can: in Ray's terms, without Ray."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ..runtime.keeping import Head
from ..runtime.place import KEEP, Compress, PolicyChoice
from .options import LaunchError, check_checkpoints, check_policy, check_record, check_script, check_targets

OLDEST, TOO_NEW = (2, 40), (3, 0)
"""The releases of Ray that this is written for."""

INSTALL = "Install it here and on every node: pip install 'evener[ray]'"

OWN = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory"}
"""Resources that Ray has an option of its own for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayOptions:
    """A run on a Ray cluster.

    Attributes:
        script: the Python file that every process runs: on every node under the same path, or in the working directory
            that Ray brings there.
        arguments: its arguments.
        workers: how many of each kind there shall be, as far as the cluster has room for them. The run begins when all
            are there, or half a minute after the first.
        resources: what a worker of each kind needs, as Ray counts it: ``{"CPU": 1}``, ``{"GPU": 1, "big": 0.5}``.
        server_resources: what the server needs. It runs on the node of who asks, which keeps the record.
        restarts: how often Ray makes a worker that was lost anew, or the server; -1: always.
        checkpoint_every, keep_checkpoints: as of a run on one machine.
        port: of the server; ``None``: any free one.
        policy, seed, targets, record, compress: as of a run on one machine.
        resume: of a run that goes on from its newest checkpoint, which is in ``record``; ``None``: it begins.
        compare_data: as of a server for other machines.
    """

    script: Path
    arguments: tuple[str, ...] = ()
    workers: tuple[int, ...] = (2,)
    resources: tuple[Mapping[str, float], ...] = ({"CPU": 1},)
    server_resources: Mapping[str, float] = field(default_factory=dict)
    restarts: int = 10
    checkpoint_every: float | None = None
    keep_checkpoints: int = KEEP
    port: int | None = None
    policy: PolicyChoice = field(default_factory=PolicyChoice)
    seed: int = 0
    targets: dict[str, float] = field(default_factory=dict)
    record: Path | None = None
    compress: Compress = "none"
    resume: Head | None = None
    compare_data: Literal["samples", "length"] = "samples"

    def check(self) -> None:
        """Find out what can be found out before anything is started, or anybody asked.

        Raises:
            LaunchError: with the first thing that is wrong.
        """
        check_installed()
        check_script(self.script)
        if not self.workers or min(self.workers) < 1:
            raise LaunchError(f"a run needs at least 1 worker of each kind, not {', '.join(map(str, self.workers))}.")
        if len(self.workers) != len(self.resources):
            raise LaunchError(
                f"there are numbers of workers for {len(self.workers)} kinds, and resources for {len(self.resources)}. "
                "Give both for each kind, such as --workers 6,2 --worker-resources '{\"CPU\": 1}' "
                "--worker-resources '{\"GPU\": 1}'."
            )
        for resources in (*self.resources, self.server_resources):
            check_resources(resources)
        if self.restarts < -1:
            raise LaunchError(f"{self.restarts} is no number of restarts: give one from 0, or -1 for no limit.")
        if self.port is not None and not 1 <= self.port <= 65535:
            raise LaunchError(f"{self.port} is no port: ports are 1 to 65535. Leave it out to have a free one chosen.")
        check_checkpoints(self.checkpoint_every, self.keep_checkpoints)
        check_policy(self.policy)
        check_targets(self.targets)
        if self.resume is None:
            check_record(self.record)


def check_installed() -> None:
    """Whether there is a Ray that this can work with; Ray itself is not loaded.

    Raises:
        LaunchError: there is none.
    """
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        raise LaunchError(f"this needs Ray, which is not installed here. {INSTALL}") from None
    if not OLDEST <= tuple(map(int, re.findall(r"\d+", version)[:2])) < TOO_NEW:
        supported = f"{_dotted(OLDEST)} or newer, but older than {_dotted(TOO_NEW)}"
        raise LaunchError(f"Ray {version} is installed here, and this works with {supported}. {INSTALL}")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def check_resources(resources: Mapping[str, float]) -> None:
    """Whether Ray could count these.

    Raises:
        LaunchError: it could not.
    """
    for name, amount in resources.items():
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not 0 <= amount < float("inf"):
            raise LaunchError(f"{amount!r} is no amount of the resource {name}: write a number from 0.")


def actor_options(resources: Mapping[str, float]) -> dict[str, Any]:
    """Resources, in the words of Ray's actors. What is not asked for is not reserved either.

    >>> actor_options({"CPU": 2, "big": 1})
    {'num_cpus': 2, 'num_gpus': 0, 'resources': {'big': 1}}
    """
    own = {option: resources[name] for name, option in OWN.items() if name in resources}
    custom = {name: amount for name, amount in resources.items() if name not in OWN}
    return {"num_cpus": 0, "num_gpus": 0, **own, "resources": custom}


def in_words(resources: Mapping[str, float]) -> str:
    """What is needed, for people.

    >>> in_words({"CPU": 1, "GPU": 0.5})
    'CPU: 1, GPU: 0.5'
    """
    return ", ".join(f"{name}: {amount:g}" for name, amount in resources.items())
