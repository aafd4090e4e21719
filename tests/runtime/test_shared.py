"""Runs of real processes that share memory: the same results, and nothing left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch

from evener.core import commands as c
from evener.core import events as e
from evener.runtime.bulk.memory import probe
from evener.trace import EndLine, EventLine, StartNote
from training.harness import Launch, Run, says

pytestmark = pytest.mark.skipif(probe() is None, reason="no anonymous shared memory here")

# Big enough for several chunks; each worker's contributions add up in the order of their ranks.
SCRIPT = """
torch.manual_seed(1)
session = evener.join()
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 9000), nn.BatchNorm1d(9000), nn.ReLU(), nn.Linear(9000, 2))
data = TensorDataset(torch.randn(96, 64), torch.randint(0, 2, (96,)))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
loader = DataLoader(data, batch_size=16, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(2):
    for number, (x, y) in enumerate(loader):
        at_batch(epoch, number)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
keep(**state(model))
"""
UNDISTURBED = "def at_batch(epoch, number): pass\n"


def ways(run: Run) -> dict[int, str]:
    return {note.worker: note.bulk for note in run.notes(StartNote) if note.worker >= 0}


def fingerprint(run: Run) -> str:
    last = run.lines()[-1]
    assert isinstance(last, EndLine)
    return last.end.parameters_sha256


def mapped(pid: int) -> int:
    """Segments that a process maps."""
    return (Path("/proc") / str(pid) / "maps").read_text().count("/memfd:evener")


def held(pid: int) -> int:
    """Descriptors of segments that it has."""
    folder = Path("/proc") / str(pid) / "fd"
    return sum(os.readlink(folder / fd).startswith("/memfd:evener") for fd in os.listdir(folder))


def test_the_way_makes_no_difference(launch: Launch) -> None:
    runs = [launch(UNDISTURBED + SCRIPT, policy="synchronous", place={"tcp": tcp}) for tcp in (False, True)]
    mixed = launch(UNDISTURBED + SCRIPT, policy="synchronous", start=False)
    mixed.server()
    mixed.worker(0)
    mixed.worker(1, tcp=True)
    for run in (*runs, mixed):
        run.succeed()
        run.proved()
    assert [ways(run) for run in (*runs, mixed)] == [
        {0: "memory", 1: "memory"},
        {0: "tcp", 1: "tcp"},
        {0: "memory", 1: "tcp"},
    ]
    assert len({fingerprint(run) for run in (*runs, mixed)}) == 1
    ends = [run.kept(name) for run in (*runs, mixed) for name in ("server", "worker0", "worker1")]
    assert all(torch.equal(one[name], ends[0][name]) for one in ends for name in ends[0])


DYING = """
def at_batch(epoch, number):
    if number == 1:
        if index:
            let("here")
            os.kill(os.getpid(), signal.SIGKILL)
        if epoch == 0:
            let("here")
            wait_for("go on")
"""


def test_of_the_dead_nothing_is_left(launch: Launch) -> None:
    before = set(os.listdir("/dev/shm"))
    run = launch(DYING + SCRIPT, policy="asynchronous", workers=1, gates=["here", "go on"])
    run.wait_for("here")
    found = []
    server, survivor = run.pids["server"], run.pids["worker0"]
    for number in range(1, 7):
        run.worker(number)
        run.wait_for("here")
        run.wait_line(says(e.Left, number))
        found.append((mapped(server), held(server), mapped(survivor), held(survivor)))
    assert {ways(run)[number] for number in range(1, 7)} == {"memory"}
    assert found[0][0] > 0
    # Each of the dead had segments of its own: were they kept, there would be more with each.
    for later in found[1:]:
        assert all(now <= then + 3 for now, then in zip(later, found[0], strict=True)), found
    run.let("go on")
    codes = run.wait()
    assert (codes["server"], codes["worker0"]) == (0, 0), run.told("they did not end well")
    assert set(os.listdir("/dev/shm")) <= before


WAITING = """
def at_batch(epoch, number):
    if number == 1 and epoch == 0:
        let("here")
        wait_for("go on")
"""


def test_a_killed_server_leaves_nothing(launch: Launch) -> None:
    before = set(os.listdir("/dev/shm"))
    run = launch(WAITING + SCRIPT, policy="asynchronous", gates=["here", "go on"])
    run.wait_for("here")
    run.wait_for("here")
    assert mapped(run.pids["worker0"]) > 0
    run.signal("server", signal.SIGKILL)
    run.signal("worker0", signal.SIGKILL)
    run.signal("worker1", signal.SIGKILL)
    run.wait()
    assert set(os.listdir("/dev/shm")) <= before


PARTNERS = """
def at_batch(epoch, number):
    if number == 1 and epoch == 0:
        if index == 1:
            let("pushed")
            wait_for("die")
        wait_for("go on")
"""


def test_what_a_worker_gave_before_it_was_killed_counts(launch: Launch) -> None:
    """The server holds contributions until the step, in the memory of who has made them."""
    options = {"policy": "balanced", "bound": 0, "place": {"micro_batch": 4}}
    plain = launch(UNDISTURBED + SCRIPT, **options)
    plain.succeed()
    # Worker 1 has given its first micro-batches, worker 0 holds up the rest of a step.
    run = launch(PARTNERS + SCRIPT, gates=["pushed", "die", "go on"], **options)
    run.wait_for("pushed")
    run.wait_line(says(e.Arrived, 1))
    run.signal("worker1", signal.SIGKILL)
    run.wait_line(says(e.Left, 1))
    run.let("go on")
    codes = run.wait()
    assert (codes["server"], codes["worker0"]) == (0, 0), run.told("they did not end well")
    assert ways(run) == {0: "memory", 1: "memory"}
    assert fingerprint(run) == fingerprint(plain)
    heard = [line for line in run.lines() if isinstance(line, EventLine)]
    left = next(at for at, line in enumerate(heard) if line.event == run.events(e.Left)[0])
    adds = [command for line in heard[left:] for command in line.commands if isinstance(command, c.Accumulate)]
    assert 1 in {add.worker for add in adds}, "it was added before the worker died: nothing was held"
