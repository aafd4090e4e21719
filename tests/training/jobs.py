"""Jobs that other launchers start, or seem to."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from evener.core import events as e
from evener.trace import EventLine, check, read, replay

from .harness import PATIENCE, Forge, free_port, readable

HERE = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the script, a home and nothing of an engine around it."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_", "EVENER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def workers(folder: Path) -> set[int]:
    """The record proves that all counted once; returns who took part."""
    assert check(folder).complete
    assert check(folder).counted_once
    assert replay(folder) is None
    events = [line.event for line in read(folder) if isinstance(line, EventLine)]
    return {event.worker for event in events if isinstance(event, e.Joined)}


class Tasks:
    """Tasks of a job, as an engine would start them."""

    def __init__(self, forge: Forge, folder: Path) -> None:
        self.folder = folder
        self._forge = forge
        self._pids: list[int] = []
        self._gates: dict[str, int] = {}
        self.port = str(free_port())
        self.run = folder / "runs" / f"slurm-{self.port}.0"

    def start(self, rank: int, size: int = 2, **more: str) -> int:
        environment = {
            "EVENER_PLACE": "",
            "EVENER_PORT": self.port,
            "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
            "SLURM_JOB_ID": self.port,
            "SLURM_STEP_ID": "0",
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank),
            "SLURM_NODEID": "0",
            "SLURM_STEP_NUM_TASKS": str(size),
            "SLURM_STEP_TASKS_PER_NODE": str(size),
            "SLURM_STEP_NODELIST": "one-host",
            **more,
        }
        self._pids.append(self._forge.start(self.folder / "train.py", f"task{len(self._pids)}", [], environment))
        return len(self._pids) - 1

    def codes(self, *which: int) -> list[int]:
        pids = [self._pids[index] for index in which] if which else self._pids
        assert self._forge.hear(lambda: set(pids) <= self._forge.exits.keys(), PATIENCE), self.said()
        return [self._forge.exits[pid] for pid in pids]

    def said(self, index: int | None = None) -> str:
        names = [f"task{at}" for at in (range(len(self._pids)) if index is None else [index])]
        return "".join((self.folder / f"{name}.{kind}").read_text() for name in names for kind in ("out", "err"))

    def gate(self, *names: str) -> None:
        for name in names:
            os.mkfifo(self.folder / name)
            self._gates[name] = os.open(self.folder / name, os.O_RDWR)

    def let(self, gate: str, times: int = 1) -> None:
        os.write(self._gates[gate], b"." * times)

    def wait_for(self, gate: str) -> None:
        assert readable(self._gates[gate], PATIENCE), self.said()
        os.read(self._gates[gate], 1)

    def kill(self, index: int) -> None:
        os.kill(self._pids[index], signal.SIGKILL)

    def close(self) -> None:
        for pid in self._pids:
            if pid not in self._forge.exits:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
        self._forge.hear(lambda: set(self._pids) <= self._forge.exits.keys(), 10)
        for gate in self._gates.values():
            os.close(gate)


@pytest.fixture
def tasks(forge: Forge, folder: Path) -> Iterator[Tasks]:
    made = Tasks(forge, folder)
    yield made
    made.close()
