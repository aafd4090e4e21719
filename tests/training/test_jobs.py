"""Jobs that others start: torchrun for real, Slurm by what it sets. The same script, and all counts once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from evener.core import events as e
from evener.runtime import keys
from evener.trace import EndLine, EventLine, check, read, replay
from training.harness import PATIENCE, Forge, free_port, readable

HERE = Path(__file__).parents[1]

SCRIPT = """
from training.kit import *
session = evener.join()
model = nn.Embedding(64, 1)
nn.init.zeros_(model.weight)
data = Positions(64)
optimizer = torch.optim.SGD(model.parameters(), lr=16.0)
model, optimizer, loader = session.prepare(model, optimizer, DataLoader(data, batch_size=16, shuffle=True))
for epoch in session.epochs(1):
    for x in loader:
        optimizer.zero_grad()
        model(x).mean().backward()
        optimizer.step()
if not session.is_server:
    print("all weights are", set(model.weight.view(-1).tolist()), flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the script, a home and nothing of an engine around it."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "TORCHELASTIC_", "EVENER_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "train.py").write_text(SCRIPT)
    return tmp_path


def torchrun(folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", *options, "train.py"]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def workers(folder: Path) -> set[int]:
    """The record proves that all counted once; returns who took part."""
    assert check(folder).complete
    assert check(folder).counted_once
    assert replay(folder) is None
    events = [line.event for line in read(folder) if isinstance(line, EventLine)]
    return {event.worker for event in events if isinstance(event, e.Joined)}


def test_torchrun_on_one_host(folder: Path) -> None:
    job = torchrun(folder, "--nproc-per-node", "2")
    said, _ = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, said
    assert said.count("all weights are {-1.0}") == 2
    assert "epoch 1/1" in said
    (run,) = (folder / "runs").iterdir()
    assert workers(run) == {0, 1}


def test_two_agents_of_torchrun_with_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.make(folder / "keys", ["job"])
    monkeypatch.setenv("EVENER_KEYS", str(folder / "keys"))
    monkeypatch.setenv("EVENER_SERVE", "--policy asynchronous --record 'the record'")
    common = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port()), "--rdzv-id", "twins"]
    agents = [torchrun(folder, *common, "--node-rank", str(node), "--nproc-per-node", "1") for node in range(2)]
    said = [agent.communicate(timeout=PATIENCE)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert workers(folder / "the record") == {0, 1}


# Without torchrun, processes that have torch already --------------------------------------------------------


class Tasks:
    """Tasks of a job, as an engine would start them."""

    def __init__(self, forge: Forge, folder: Path) -> None:
        self.folder = folder
        self._forge = forge
        self._pids: list[int] = []
        self._gates: dict[str, int] = {}
        self.port = str(free_port())

    def start(self, rank: int, size: int = 2, **more: str) -> int:
        environment = {
            "EVENER_PLACE": "",
            "EVENER_PORT": self.port,
            "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
            "SLURM_JOB_ID": "4711",
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

    def let(self, gate: str) -> None:
        os.write(self._gates[gate], b".")

    def wait_for(self, gate: str) -> None:
        assert readable(self._gates[gate], PATIENCE), self.said()
        os.read(self._gates[gate], 1)

    def kill(self, index: int) -> None:
        os.kill(self._pids[index], signal.SIGKILL)

    def close(self) -> None:
        for pid in self._pids:
            if pid not in self._forge.exits:
                os.killpg(pid, signal.SIGKILL)
        self._forge.hear(lambda: set(self._pids) <= self._forge.exits.keys(), 10)
        for gate in self._gates.values():
            os.close(gate)


@pytest.fixture
def tasks(forge: Forge, folder: Path) -> Iterator[Tasks]:
    made = Tasks(forge, folder)
    yield made
    made.close()


def test_tasks_of_slurm(tasks: Tasks) -> None:
    for rank in range(2):
        tasks.start(rank)
    assert tasks.codes() == [0, 0], tasks.said()
    assert tasks.said().count("all weights are {-1.0}") == 2
    assert workers(tasks.folder / "runs" / "slurm-4711.0") == {0, 1}


HELD = SCRIPT.replace(
    "        optimizer.zero_grad()\n", "        stop_once()\n        optimizer.zero_grad()\n"
).replace(
    "session = ",
    """
held = []
def stop_once():
    if not held:
        held.append(True)
        let("here")
        wait_for("go on")
session = """,
)


def test_a_second_server_of_the_job_is_told_so_and_disturbs_nobody(tasks: Tasks) -> None:
    tasks.gate("here", "go on")
    (tasks.folder / "train.py").write_text(HELD)
    tasks.start(0, EVENER_SERVE="--workers 1")
    tasks.wait_for("here")
    tasks.start(0)
    assert tasks.codes(1) == [1]
    assert re.fullmatch(
        r"evener: the server of this job cannot listen on [^\n]+ EVENER_PORT to another [^\n]+\n", tasks.said(1)
    )
    tasks.let("go on")
    assert tasks.codes(0) == [0], tasks.said()
    assert workers(tasks.folder / "runs" / "slurm-4711.0") == {0}


def test_with_rank_0_its_server_ends_and_so_do_the_others(tasks: Tasks) -> None:
    tasks.gate("here", "go on")
    (tasks.folder / "train.py").write_text(HELD)
    first, other = tasks.start(0), tasks.start(1)
    tasks.wait_for("here")
    tasks.wait_for("here")
    tasks.kill(first)
    tasks.codes(first)
    tasks.let("go on")
    tasks.codes(other)
    *_, last = read(tasks.folder / "runs" / "slurm-4711.0")
    assert isinstance(last, EndLine)
    assert not last.end.ok


def test_a_server_that_fails_fails_its_job(tasks: Tasks) -> None:
    (tasks.folder / "train.py").write_text(SCRIPT + "if session.is_server: raise SystemExit(3)")
    assert tasks.codes(tasks.start(0, EVENER_SERVE="--workers 1")) == [3]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_STEP_NODELIST": "192.0.2.[1-2]"}, "evener keys DIR job"),
        ({"SLURM_PROCID": "two"}, "SLURM_PROCID is 'two', which is no whole number"),
        ({"EVENER_KEYS": "/nowhere"}, "there is no worker.key in /nowhere"),
        ({"EVENER_SERVE": "--policy fastest"}, "fastest"),
        ({"EVENER_JOIN": "nowhere.invalid:4000"}, "the host 'nowhere.invalid' is not known here"),
    ],
)
def test_what_cannot_begin(tasks: Tasks, changes: dict[str, str], said: str) -> None:
    tasks.start(0, **changes)
    assert tasks.codes() != [0]
    assert said in tasks.said()
    assert "Traceback" not in tasks.said()
