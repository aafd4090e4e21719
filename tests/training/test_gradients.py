"""Gradients that are missing, cleared either way, tied, weighted, scaled or skipped."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from evener.core import commands as c
from evener.core import events as e

from .harness import Launch

# `rare` is reached only by batches that hold position 3, `never` by none; `tied` is one tensor, two names.
MODEL = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.used = nn.Parameter(torch.randn(5, dtype=torch.float64))
        self.rare = nn.Parameter(torch.randn(4, dtype=torch.float64))
        self.never = nn.Parameter(torch.randn(3, dtype=torch.float64))
        self.frozen = nn.Parameter(torch.randn(2, dtype=torch.float64), requires_grad=False)
        self.register_buffer("plain", torch.randn(2, dtype=torch.float64))
        self.tied, self.also = nn.Linear(5, 5, dtype=torch.float64), nn.Linear(5, 5, dtype=torch.float64)
        self.also.weight = self.tied.weight

    def loss(self, positions):
        x = positions.double()[:, None] / 50
        out = self.also(torch.tanh(self.tied(x * self.used))).square().sum(1) + self.frozen.sum() * x.sum(1)
        total = out.mean()
        here = (positions == 3).sum()
        if here:
            total = total + (self.rare.square().sum() * here) / len(positions)
        return total

def clear(how, model, optimizer, number):
    if how == "keep":
        optimizer.zero_grad(set_to_none=False)
    elif number % 2:
        model.zero_grad()
    else:
        optimizer.zero_grad()
"""

SCRIPT = (
    MODEL
    + """
session = evener.join()
torch.manual_seed(50 + index)
model = Net()
before = state(model)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
loader = DataLoader(Positions(100), batch_size=20)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(3):
    for number, positions in enumerate(loader):
        clear(sys.argv[1], model, optimizer, number)
        model.loss(positions).backward()
        optimizer.step()
keep(before=before, after=state(model))
"""
)


@pytest.mark.parametrize("how", ["none", "keep"])
def test_as_in_a_plain_loop(launch: Launch, how: str) -> None:
    run = launch(SCRIPT, how, policy="synchronous")
    space = {"nn": nn, "torch": torch}
    exec(MODEL, space)
    model = space["Net"]()  # type: ignore[operator]
    run.succeed()
    server = run.kept("server")
    model.load_state_dict(server["before"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    for _ in range(3):
        for number, positions in enumerate(torch.arange(100).split(20)):
            space["clear"](how, model, optimizer, number)  # type: ignore[operator]
            model.loss(positions).backward()
            optimizer.step()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(server["after"][name], tensor, rtol=1e-9, atol=1e-12)
    # Without a gradient anywhere the optimizer leaves it alone, weight decay included.
    assert torch.equal(server["after"]["never"], server["before"]["never"])
    for name in ("worker0", "worker1"):
        worker = run.kept(name)
        assert not torch.equal(worker["before"]["plain"], server["before"]["plain"])
        assert all(torch.equal(worker["after"][key], tensor) for key, tensor in server["after"].items())


WEIGHTED = """
session = evener.join()
model = nn.ParameterList([nn.Parameter(torch.zeros(60, dtype=torch.float64))])
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
loader = DataLoader(Positions(60), batch_size=60, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(1):
    for positions in loader:
        optimizer.zero_grad()
        tokens = positions + 1
        ((tokens * model[0][positions]).sum() / tokens.sum()).backward()
        optimizer.step(weight=tokens.sum())
        session.log(mean_position=(tokens * positions).sum() / tokens.sum())
keep(weights=model[0].detach().clone())
"""


def test_losses_that_are_means_over_something_else(launch: Launch) -> None:
    run = launch(WEIGHTED, workers=3)
    run.succeed()
    tokens = torch.arange(1, 61, dtype=torch.float64)
    torch.testing.assert_close(run.kept("server")["weights"], -tokens / tokens.sum(), rtol=1e-9, atol=0)
    (note,) = run.logs("workers")
    assert note.values["mean_position"] == pytest.approx(float((tokens * (tokens - 1)).sum() / tokens.sum()))
    run.proved()


SCALED = """
session = evener.join()
model = nn.ParameterList([nn.Parameter(torch.zeros(400))])
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
loader = DataLoader(Positions(400), batch_size=40, shuffle=True)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
model, optimizer, loader = session.prepare(model, optimizer, loader)
skipped = []
for epoch in session.epochs(1):
    for positions in loader:
        optimizer.zero_grad()
        loss = model[0][positions].mean()
        if (positions % 100 == 7).any():
            loss = loss * float("inf")
            skipped += positions.tolist()
        session.log(bad=float((positions % 100 == 7).any()))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
keep(weights=model[0].detach().clone(), skipped=skipped)
"""


def test_steps_that_a_gradient_scaler_skips_are_declined(launch: Launch) -> None:
    run = launch(SCALED, bound=1)
    run.succeed()
    weights: Tensor = run.kept("server")["weights"]
    skipped = run.kept("worker0")["skipped"] + run.kept("worker1")["skipped"]
    assert {7, 107, 207, 307} <= set(skipped)
    assert sorted((weights == 0).nonzero().flatten().tolist()) == sorted(skipped)
    # A step is divided by what was applied of it, so what it moved sums to the learning rate.
    steps = [step for step in run.commands(c.Step) if step.samples]
    assert float(weights.sum()) == pytest.approx(-0.5 * len(steps), rel=1e-5)
    accounting = run.proved()
    assert (accounting.total("declined"), accounting.total("applied")) == (len(skipped), 400 - len(skipped))
    (note,) = run.logs("workers")
    assert note.values == {"bad": 0.0}


BY_HAND = """
session = evener.join()
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
loader = DataLoader(TensorDataset(torch.randn(4000, 1)), batch_size=40)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(1):
    for number, (x,) in enumerate(loader):
        model(x).mean().backward()
        if number % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
"""


def test_accumulating_by_hand_is_refused(launch: Launch) -> None:
    run = launch(BY_HAND, workers=1)
    assert run.wait("worker0")["worker0"] == 1
    assert "a batch before, which was left without optimizer.step()" in run.err("worker0")
    assert "accumulating gradients by hand is not supported: raise batch_size instead" in run.err("worker0")
    assert not run.events(e.Arrived)
