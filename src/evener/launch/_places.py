"""The places of a run's processes, and what they find in their environment."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..runtime.place import DETERMINISTIC, LIMIT_SIZES, Place
from .options import HOST, RunOptions, cuda_devices, free_port, how_often
from .slowness import Emulation

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Plan:
    """What all of a run's places have in common.

    ``through``: where the workers find the server whose way to it can be cut.
    """

    options: RunOptions
    run: str
    folder: Path
    token: str
    address: str
    devices: int
    sizes: tuple[int, ...] = LIMIT_SIZES
    launched: float = 0.0
    through: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, options: RunOptions, run: str, folder: Path, sizes: tuple[int, ...] = LIMIT_SIZES) -> Plan:
        """Choose a token and an address: of a run that goes on, those that its workers know."""
        if (past := options.resume) is not None:
            token, address = past.place.token, past.place.address
            return cls(options, run, folder.resolve(), token, address, cuda_devices(), sizes, time.time())
        port = options.port if options.port is not None else free_port()
        token = secrets.token_urlsafe(24)
        return cls(options, run, folder.resolve(), token, f"tcp://{HOST}:{port}", cuda_devices(), sizes, time.time())

    @property
    def command(self) -> list[str]:
        """What every process runs."""
        return [sys.executable, str(self.options.script), *self.options.arguments]

    def place(
        self,
        role: Literal["server", "worker", "limit"],
        index: int = -1,
        emulation: Emulation | None = None,
        resume: bool = False,
    ) -> Place:
        """The place of one process.

        Args:
            role: its part.
            index: the worker's number.
            emulation: how the workers are slowed.
            resume: it goes on from the newest checkpoint in the run's folder.
        """
        options = self.options
        every, share = how_often(options.checkpoint_every) if role == "server" else (0.0, 0.0)
        slowed = emulation.workers if emulation is not None else ()
        through = self.through.get(index, self.address)
        return Place(
            role=role,
            address=through,
            token=self.token,
            run=self.run,
            index=index,
            workers=options.workers,
            policy=options.policy,
            seed=options.seed,
            micro_batch=options.micro_batch,
            tcp=options.tcp,
            compress=options.compress,
            record="" if role == "worker" else str(self.folder),
            prompt=role == "server" and bool(options.faults),
            targets=options.targets,
            slowness=slowed[index] if slowed and role != "server" else None,
            threads=1 if self._one_thread else 0,
            device=f"cuda:{index % self.devices}" if self.devices and role != "server" else "",
            sizes=self.sizes,
            checkpoint_every=every,
            checkpoint_share=share,
            keep_checkpoints=options.keep_checkpoints,
            resume=str(self.folder) if resume else "",
            launched=self.launched,
            spawned=time.time(),
            notes=self._notes(emulation) if role == "server" else {},
        )

    @property
    def _one_thread(self) -> bool:
        """Several share the machine; were each to start a thread per core, they would wait for each other.

        Unless the user has said how many threads. In a reproducible run several would add up in any order.
        """
        return self.options.micro_batch > 0 or (self.options.workers > 1 and "OMP_NUM_THREADS" not in os.environ)

    def _notes(self, emulation: Emulation | None) -> dict[str, str | float | int | list[float]]:
        notes: dict[str, str | float | int | list[float]] = {"script": self.options.script.name}
        if self.options.speeds and emulation is not None:
            notes["speeds"] = list(self.options.speeds)
            notes["shares"] = emulation.shares
            notes["slowness"] = emulation.words
        if self.options.faults:
            notes["faults"] = "; ".join(str(fault) for fault in self.options.faults)
        return notes

    def environment(self, place: Place) -> dict[str, str]:
        """All of the environment of the process at ``place``."""
        threads = dict.fromkeys(THREADS, "1") if place.threads == 1 else {}
        fixed = DETERMINISTIC if place.micro_batch else {}
        return {**fixed, **os.environ, **threads, "PYTHONUNBUFFERED": "1", **place.environment()}
