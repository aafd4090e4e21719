"""The server is killed again and again in one training: ``make chaos-server``. Minutes, mostly of starting it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from evener.launch import RunOptions, RunResult, run
from evener.observe import summarise
from evener.trace import check, parts

from .conftest import Kept

KILLS = 20
EPOCHS = 60
POINT = 0.01

LIVES = 0.3, 2.0
"""Seconds from a server's first step to its death: far less than from one checkpoint to the next by default."""

SCRIPT = """
import json, os, random, signal, sys, threading, time
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import evener, evener.data

kills, epochs, shortest, longest = (float(word) for word in sys.argv[1:])
parts = evener.data.digits()
x = torch.cat([torch.from_numpy(part.x).float().flatten(1) for part in parts])
y = torch.cat([torch.from_numpy(part.y) for part in parts])
mixed = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
train, test = mixed.chunk(2)  # so that a point of accuracy is nine samples

session = evener.join()
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(epochs))
loader = DataLoader(TensorDataset(x[train], y[train]), batch_size=64, shuffle=True)

if session.is_server:
    folder = Path(json.loads(os.environ["EVENER_PLACE"])["record"])
    life = len(list(folder.glob("record-*.jsonl")))
    begun = threading.Event()

    def end():
        begun.wait()
        time.sleep(random.Random(life).uniform(shortest, longest))
        os.kill(os.getpid(), signal.SIGKILL)  # whatever the other threads are doing

    if life < kills:
        threading.Thread(target=end, daemon=True).start()
        optimizer.register_step_post_hook(lambda *_: begun.set())

model, optimizer, loader = session.prepare(net, optimizer, loader, epoch_scheduler=scheduler)
for epoch in session.epochs(int(epochs)):
    for some, labels in loader:
        time.sleep(0.0009 * len(some))  # a model that takes its time
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(some), labels)
        loss.backward()
        optimizer.step()
    if session.is_server:
        with torch.no_grad():
            session.log(test_accuracy=(model(x[test]).argmax(1) == y[test]).float().mean().item())
"""


def train(folder: Path, kills: int) -> tuple[RunResult, Kept]:
    script = folder.with_suffix(".py")
    script.write_text(SCRIPT)
    arguments = tuple(str(word) for word in (kills, EPOCHS, *LIVES))
    screen = Kept()
    return run(RunOptions(script=script, arguments=arguments, workers=2, record=folder), screen), screen


@pytest.mark.chaos
@pytest.mark.timeout(600)
def test_a_server_that_is_killed_twenty_times(tmp_path: Path) -> None:
    plain, _ = train(tmp_path / "undisturbed", kills=0)
    disturbed, screen = train(tmp_path / "killed", kills=KILLS)
    assert (plain.code, disturbed.code) == (0, 0), screen.notes + screen.err
    assert parts(disturbed.folder) == KILLS
    assert len([note for note in screen.notes if "it goes on from checkpoint" in note]) == KILLS
    accounting = check(disturbed.folder)
    assert accounting.counted_once, accounting
    assert accounting.complete
    assert [epoch.applied for epoch in accounting.epochs] == [epoch.applied for epoch in check(plain.folder).epochs]
    one, other = summarise(plain.folder), summarise(disturbed.folder)
    assert (other.resumed, other.samples) == (KILLS, one.samples)
    accuracies = f"accuracy {one.test_accuracy} undisturbed, {other.test_accuracy} killed {KILLS} times"
    print(f"\n{accuracies}; {other.recomputed_samples} of {other.samples} samples were computed again")
    assert one.test_accuracy is not None
    assert other.test_accuracy is not None
    assert abs(one.test_accuracy - other.test_accuracy) <= POINT
