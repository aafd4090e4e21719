"""A run of real processes that compresses what goes over TCP, and meets what such a run may meet."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from evener.core import commands as c
from evener.core import events as e
from evener.runtime.place import Place
from evener.trace import HeaderLine, StartNote
from evener.training.errors import ScriptValueError
from evener.training.store import FlatStore, packing_of
from training.harness import Launch, says

from .proxy import Proxy

PLAIN = 681_000
"""Bytes of a contribution of the model below that is not packed."""

DIGITS = """
import evener.data
torch.manual_seed(1)
train, test = evener.data.digits()
session = evener.join()
model = nn.Sequential(
    nn.Flatten(), nn.Linear(64, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
data = TensorDataset(torch.from_numpy(train.x[:1408]), torch.from_numpy(train.y[:1408]))  # whole batches
loader = DataLoader(data, batch_size=64, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader)
steps = 0
for epoch in session.epochs(3):
    for x, y in loader:
        steps += 1
        if index == 1 and steps == 2:
            let("here")
            wait_for("go on")
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        if index == 1 and steps == 5:
            loss = loss + model[1].weight[5, 5] * float("nan")
        loss.backward()
        optimizer.step()
        session.log(loss=loss)
    if session.is_server:
        model.eval()
        with torch.no_grad():
            right = model(torch.from_numpy(test.x)).argmax(1) == torch.from_numpy(test.y)
        session.log(test_accuracy=right.float().mean())
        model.train()
keep(**state(model))
"""


def test_a_slow_link_is_packed_and_the_run_is_as_good(launch: Launch) -> None:
    """One worker's link is slow, ends for a moment, and carries a gradient that is not finite."""
    place = {"tcp": True, "compress": "auto"}
    run = launch(DIGITS, policy="synchronous", gates=["here", "go on"], start=False, place=place)
    proxy = Proxy(int(run.place.address.rpartition(":")[2]))
    proxy.rate = 1e6
    run.server()
    run.worker(0)
    run.worker(1, address=proxy.address)
    run.wait_line(says(e.Joined, 1))
    proxy.rate = None
    run.wait_for("here")
    proxy.cut()
    run.wait_line(says(e.Joined, 1), count=2)
    run.let("go on")
    run.succeed()
    proxy.close()
    run.proved()

    header = run.lines()[0]
    assert isinstance(header, HeaderLine)
    assert header.header.notes["compress"] == "auto"
    first, again = (note for note in run.notes(StartNote) if note.worker == 1)
    assert first.bulk == again.bulk == "tcp int8"
    assert first.transfer_s > 0.5  # of 0.7 MB at 1 MB/s, whatever else this machine does
    assert 0 < first.packing_s < 0.5 * first.transfer_s
    pushes = [event for event in run.events(e.Arrived) if event.worker == 1]
    assert proxy.up / len(pushes) < PLAIN / 3
    refused = [command.why for command in run.commands(c.Discard) if command.refused]
    assert len(refused) == 1
    assert "not finite" in refused[0]
    accuracy = run.logs("server")[-1].values["test_accuracy"]
    assert accuracy is not None
    assert accuracy > 0.9
    here = run.kept("server")
    for name in ("worker0", "worker1"):  # at the end all hold what the server has, to the bit
        there = run.kept(name)
        assert all(torch.equal(there[key], here[key]) for key in here)


def test_what_cannot_be_packed_is_refused() -> None:
    def packing(model: nn.Module, **settings: object) -> object:
        place = Place("server", "", "", "", **settings)  # type: ignore[arg-type]
        return packing_of(place, FlatStore(model, list(model.parameters())))

    assert packing(nn.Linear(2, 2).double()) is None
    assert packing(nn.Linear(2, 2), compress="auto") is not None
    for compress in ("bf16", "int8", "auto"):
        with pytest.raises(ScriptValueError, match=f"--compress {compress} packs float32 .* are float64"):
            packing(nn.Linear(2, 2).double(), compress=compress)
        with pytest.raises(ScriptValueError, match="leave one of the two out"):
            packing(nn.Linear(2, 2), compress=compress, micro_batch=8)
