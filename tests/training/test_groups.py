"""Several processes of a node as one worker: what they compute together is what one would, and they end together."""

from __future__ import annotations

import json
import re

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.trace import EventLine, LogNote, NoteLine, check, read

from .jobs import Tasks, workers

SCRIPT = """
from training.kit import *
import json
torch.set_default_dtype(torch.float64)
rank = os.environ.get("SLURM_PROCID", "")
held = []

class Data(Dataset):
    def __len__(self):
        return 67

    def __getitem__(self, position):
        return torch.tensor([position / 67, (position % 7) / 7]), torch.tensor([float(position % 5)])

session = evener.join(group="node")
torch.manual_seed(1)
model = nn.Sequential(nn.Linear(2, 5), *MIDDLE, nn.Tanh(), nn.Linear(5, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
data = DataLoader(Data(), batch_size=16, shuffle=False, num_workers=LOADERS)
model, optimizer, loader = session.prepare(model, optimizer, data)
for epoch in session.epochs(2):
    for x, y in loader:
        if not held:
            held.append(True)
            START
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        session.log(loss=loss, samples=float(len(x)))
print(json.dumps({name: tensor.view(-1).tolist() for name, tensor in model.state_dict().items()}), flush=True)
"""


def script(tasks: Tasks, start: str = "pass", middle: str = "()", loaders: int = 0) -> None:
    text = SCRIPT.replace("START", start).replace("MIDDLE", middle).replace("LOADERS", str(loaders))
    (tasks.folder / "train.py").write_text(text)


def alone(tasks: Tasks) -> dict[str, list[float]]:
    """What plain training gives."""
    index = tasks.start(0, EVENER_ENGINE="none")
    assert tasks.codes(index) == [0], tasks.said()
    return weights(tasks, index)


def weights(tasks: Tasks, index: int) -> dict[str, list[float]]:
    (line,) = re.findall(r"^\{.*\}$", (tasks.folder / f"task{index}.out").read_text(), re.MULTILINE)[:1]
    found: dict[str, list[float]] = json.loads(line)
    return found


def test_a_group_computes_what_one_process_does(tasks: Tasks) -> None:
    script(tasks, loaders=1)
    expected = alone(tasks)
    for rank in range(3):
        tasks.start(rank, size=3, EVENER_SERVE="--policy synchronous")
    assert tasks.codes() == [0, 0, 0, 0], tasks.said()
    assert workers(tasks.run) == {0}
    for index in (1, 2, 3):
        for name, values in weights(tasks, index).items():
            assert values == pytest.approx(expected[name], rel=1e-10, abs=1e-12)


NODES = {"SLURM_STEP_TASKS_PER_NODE": "1,2", "SLURM_STEP_NUM_NODES": "2", "MASTER_ADDR": "127.0.0.1"}


def start_both(tasks: Tasks) -> None:
    """A single worker, and a group of two."""
    for rank, node, local in ((0, 0, 0), (1, 1, 0), (2, 1, 1)):
        tasks.start(rank, size=3, **NODES, SLURM_NODEID=str(node), SLURM_LOCALID=str(local))


def test_a_group_beside_a_single_worker_and_a_batch_that_one_of_the_group_skips(tasks: Tasks) -> None:
    tasks.gate("go on")  # the single worker leaves something for the group to do
    waits = "wait_for('go on') if rank == '0' else let('go on') if rank == '1' else None"
    script(tasks, f"{waits}\n            if rank == '2': continue", middle="[nn.BatchNorm1d(5)]")
    start_both(tasks)
    assert tasks.codes() == [0, 0, 0], tasks.said()
    accounting = check(tasks.run)
    assert accounting.complete
    lines = list(read(tasks.run))
    events = [line.event for line in lines if isinstance(line, EventLine)]
    declined = [event for event in events if isinstance(event, e.Declined)]
    assert [event.worker for event in declined] == [1]
    logs = [line.note for line in lines if isinstance(line, NoteLine) and isinstance(line.note, LogNote)]
    assert len(logs) == 2
    assert all(log.values["loss"] > 0 for log in logs)
    final = [weights(tasks, index) for index in range(3)]
    assert final[0] == final[1] == final[2]
    # A step of which all was skipped is none.
    commands = [command for line in lines if isinstance(line, EventLine) for command in line.commands]
    steps = len({command.step for command in commands if isinstance(command, c.Accumulate)})
    assert final[0]["1.num_batches_tracked"] == [steps]


def test_with_a_member_its_group_ends_and_no_other_worker(tasks: Tasks) -> None:
    tasks.gate("here", "go on")
    script(tasks, "let('here'); wait_for('go on')")
    start_both(tasks)
    for _ in range(3):
        tasks.wait_for("here")
    tasks.kill(2)
    tasks.codes(2)
    tasks.let("go on", 2)
    assert tasks.codes(0, 1) == [0, 1], tasks.said()
    assert "evener: the other processes of this node are gone, or one is. Together they are one worker" in tasks.said(1)
    assert "Traceback" not in tasks.said()
    assert workers(tasks.run) == {0, 1}
