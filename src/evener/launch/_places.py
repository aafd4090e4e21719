"""The places of a run's processes, and what they find in their environment."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..runtime.place import Place
from .options import HOST, RunOptions, cuda_devices, free_port
from .slowness import Emulation

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Plan:
    """What all of a run's places have in common."""

    options: RunOptions
    run: str
    folder: Path
    token: str
    address: str
    devices: int

    @classmethod
    def of(cls, options: RunOptions, run: str, folder: Path) -> Plan:
        """Choose a token and an address."""
        port = options.port if options.port is not None else free_port()
        token = secrets.token_urlsafe(24)
        return cls(options, run, folder.resolve(), token, f"tcp://{HOST}:{port}", cuda_devices())

    @property
    def command(self) -> list[str]:
        """What every process runs."""
        return [sys.executable, str(self.options.script), *self.options.arguments]

    def place(
        self, role: Literal["server", "worker", "limit"], index: int = -1, emulation: Emulation | None = None
    ) -> Place:
        """The place of one process.

        Args:
            role: its part.
            index: the worker's number.
            emulation: how the workers are slowed.
        """
        options = self.options
        slowed = emulation.workers if emulation is not None else ()
        return Place(
            role=role,
            address=self.address,
            token=self.token,
            run=self.run,
            index=index,
            workers=options.workers,
            policy=options.policy,
            seed=options.seed,
            record="" if role == "worker" else str(self.folder),
            targets=options.targets,
            slowness=slowed[index] if slowed and role != "server" else None,
            threads=1 if self._one_thread else 0,
            device=f"cuda:{index % self.devices}" if self.devices and role != "server" else "",
            notes=self._notes(emulation) if role == "server" else {},
        )

    @property
    def _one_thread(self) -> bool:
        """Several share the machine; were each to start a thread per core, they would wait for each other.

        Unless the user has said how many threads.
        """
        return self.options.workers > 1 and "OMP_NUM_THREADS" not in os.environ

    def _notes(self, emulation: Emulation | None) -> dict[str, str | float | int | list[float]]:
        notes: dict[str, str | float | int | list[float]] = {"script": self.options.script.name}
        if self.options.speeds and emulation is not None:
            notes["speeds"] = list(self.options.speeds)
            notes["shares"] = emulation.shares
            notes["slowness"] = emulation.words
        return notes

    def environment(self, place: Place) -> dict[str, str]:
        """All of the environment of the process at ``place``."""
        threads = dict.fromkeys(_THREADS, "1") if place.threads == 1 else {}
        return {**os.environ, **threads, "PYTHONUNBUFFERED": "1", **place.environment()}
