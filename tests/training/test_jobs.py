"""Jobs that others start: torchrun for real, Slurm by what it sets. The same script, and all counts once."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch.distributed import TCPStore

from evener.runtime import keys
from evener.trace import EndLine, check, parts, read

from .harness import free_port
from .jobs import Tasks, workers

LONG = 250.0
"""Seconds that torchrun may take, which loads torch in every process."""

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
    print(f"all weights are {set(model.weight.view(-1).tolist())}", flush=True)  # two print at once: one write each
"""


Agent = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def torchrun(folder: Path) -> Iterator[Agent]:
    """Starts agents of torchrun."""
    agents: list[subprocess.Popen[str]] = []

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "torch.distributed.run", *options, "train.py"]
        agent = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        agents.append(agent)
        return agent

    yield start
    for agent in agents:
        if agent.poll() is None:
            agent.terminate()  # it ends its own processes
            agent.communicate(timeout=40)


@pytest.fixture(autouse=True)
def script(folder: Path) -> None:
    (folder / "train.py").write_text(SCRIPT)


@pytest.mark.timeout(300)
def test_two_agents_of_torchrun_with_keys(torchrun: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys.make(folder / "keys", ["job"])
    monkeypatch.setenv("EVENER_KEYS", str(folder / "keys"))
    monkeypatch.setenv("EVENER_SERVE", "--policy asynchronous --record 'the record'")
    common = ["--nnodes", "2", "--master-addr", "127.0.0.1", "--master-port", str(free_port()), "--rdzv-id", "twins"]
    agents = [torchrun(*common, "--node-rank", str(node), "--nproc-per-node", "1") for node in range(2)]
    said = [agent.communicate(timeout=LONG)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert workers(folder / "the record") == {0, 1}


@pytest.mark.timeout(300)
def test_torchrun_begins_all_anew_and_they_go_on_from_the_last_checkpoint(
    torchrun: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies = """
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and epoch == 1 and not session.is_server:
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()
"""
    # The run is so short that one could end it before the other is there: the second time each waits for the other.
    meet = """
again = os.environ["TORCHELASTIC_RESTART_COUNT"] == "1" and not session.is_server
if again and os.environ["RANK"] == "0":
    let("here")
waits = again and os.environ["RANK"] == "1"
"""
    os.mkfifo(folder / "here")
    text = SCRIPT.replace("session.epochs(1)", "session.epochs(3)").replace("    for x in", f"{dies}    for x in")
    text = text.replace("for epoch", f"{meet}for epoch", 1).replace(
        "        optimizer.zero", "        if waits: wait_for('here'); waits = False\n        optimizer.zero"
    )
    (folder / "train.py").write_text(text)
    monkeypatch.setenv("EVENER_SERVE", "--policy asynchronous")  # nobody sits out
    job = torchrun("--nproc-per-node", "2", "--max-restarts", "1")
    said, _ = job.communicate(timeout=LONG)
    assert job.returncode == 0, said
    assert said.count("all weights are {-3.0}") == 2, said
    (run,) = (folder / "runs").iterdir()
    assert parts(run) == 1
    assert check(run).complete
    assert check(run).counted_once
    assert "epoch 1/3" in said


# Without torchrun, processes that have torch already --------------------------------------------------------


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


def test_who_comes_second_to_serve_or_too_late_to_work_is_told_so_and_disturbs_nobody(tasks: Tasks) -> None:
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
    assert workers(tasks.run) == {0}
    tasks.start(1)
    assert tasks.codes(2) == [1]
    assert re.fullmatch(
        r"evener: the run in /[^\n]+ is complete: this worker has come too late\. A new run needs another [^\n]+\n",
        tasks.said(2),
    )


def test_without_a_folder_to_look_into_torchruns_store_tells_who_is_too_late(tasks: Tasks) -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)

    def agent(rank: int, **more: str) -> dict[str, str]:
        run = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "WORLD_SIZE": "2"}
        return {**run, "RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), **more}

    tasks.start(0, **agent(0, EVENER_SERVE="--workers 1"))
    assert tasks.codes(0) == [0], tasks.said()
    tasks.start(1, **agent(1))
    assert tasks.codes(1) == [1]
    assert re.fullmatch(
        r"evener: the run of this job is complete: this worker has come too late\. [^\n]+\n", tasks.said(1)
    )


def test_where_rank_0_is_refused_its_server_does_not_wait_for_others(tasks: Tasks) -> None:
    (tasks.folder / "train.py").write_text(SCRIPT.replace("(64, 1)", "(64, 1 + session.is_server)"))
    tasks.start(0, EVENER_SERVE="--workers 1")
    assert tasks.codes(0) == [1], tasks.said()
    assert "evener: the model differs" in tasks.said(0)


def test_with_rank_0_its_server_ends(tasks: Tasks) -> None:
    tasks.gate("here", "go on")
    (tasks.folder / "train.py").write_text(HELD)
    first = tasks.start(0, EVENER_SERVE="--workers 1")
    tasks.wait_for("here")
    tasks.kill(first)
    with (tasks.run / "record.jsonl").open("rb") as record:
        fcntl.flock(record, fcntl.LOCK_SH)  # until its writer is gone
    # It is told once for each thread that rank 0 had, and yet takes the time to keep where the run stands.
    *_, last = read(tasks.run)
    assert isinstance(last, EndLine)
    assert "goes on from checkpoint" in last.end.reason
    assert not check(tasks.run).complete


def test_a_task_that_does_not_find_its_data_is_told_where_they_are(tasks: Tasks) -> None:
    (tasks.folder / "train.py").write_text(SCRIPT.replace("data = ", "open('nowhere.npz'); data = "))
    assert tasks.codes(tasks.start(1)) == [1]
    assert "FileNotFoundError" in tasks.said()
    assert "every machine of a run reads its own copy of the data" in tasks.said().splitlines()[-1]


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
