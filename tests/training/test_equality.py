"""Synchronous training, and balanced training without staleness, compute what one process computes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from evener.core import commands as c

from . import problem
from .harness import Launch

SCRIPT = """
from training import problem
name, drop_last, clip = sys.argv[1], sys.argv[2] == "drop", float(sys.argv[3]) or None
session = evener.join()
model, optimizer, loader, each_step, each_epoch = problem.make(name, drop_last)
if role == "worker":
    for parameter in model.parameters():
        parameter.data.normal_()
model, optimizer, loader = session.prepare(
    model, optimizer, loader, step_scheduler=each_step, epoch_scheduler=each_epoch, clip_norm=clip
)
for epoch in session.epochs(problem.EPOCHS):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
keep(state=state(model), rates=[group["lr"] for group in optimizer.param_groups])
"""


def distance(ours: dict[str, Tensor], model: nn.Module) -> float:
    """The largest relative norm of a difference between tensors."""
    theirs = model.state_dict()
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in theirs)


@pytest.mark.parametrize(
    ("policy", "optimizer", "remainder", "clip", "workers"),
    [
        ("synchronous", "sgd", "keep", 0.5, 2),
        ("synchronous", "adamw", "drop", 0.0, 3),
        ("balanced", "sgd", "drop", 0.0, 2),
        ("balanced", "adamw", "keep", 0.5, 3),
    ],
)
def test_fifty_steps(launch: Launch, policy: str, optimizer: str, remainder: str, clip: float, workers: int) -> None:
    options = {"bound": 0} if policy == "balanced" else {}
    run = launch(SCRIPT, optimizer, remainder, str(clip), workers=workers, policy=policy, **options)
    expected = problem.plain(optimizer, remainder == "drop", clip or None)
    run.succeed()
    ours = run.kept("server")
    assert distance(ours["state"], expected) < 1e-10
    # The schedulers were stepped as often, and in the same order.
    assert ours["rates"] == pytest.approx([0.0, 0.0], abs=1e-12)
    for index in range(workers):
        theirs = run.kept(f"worker{index}")["state"]
        assert all(torch.equal(theirs[name], tensor) for name, tensor in ours["state"].items())
    accounting = run.proved()
    dropped = 10 if remainder == "drop" else 0
    assert accounting.total("dropped") == dropped * problem.EPOCHS
    assert accounting.steps == 50
    assert {add.staleness for add in run.commands(c.Accumulate)} == {0}


# One step, from weights that are equal to the bit.
ONE_STEP = """
session = evener.join()
torch.manual_seed(1)
x, y = torch.randn(96, 20), torch.randint(0, 5, (96,))
model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
before = state(model)
loader = DataLoader(TensorDataset(x, y), batch_size=96)
model, optimizer, loader = session.prepare(model, optimizer, loader)
parts = []
for epoch in session.epochs(1):
    for a, b in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(a), b).backward()
        parts.append([p.grad.clone() for p in model.parameters()])
        optimizer.step()
gradient = [p.grad for p in optimizer.param_groups[0]["params"]] if session.is_server else None
keep(x=x, y=y, before=before, after=state(model), parts=parts, gradient=gradient)
"""


@pytest.mark.parametrize(("policy", "workers"), [("synchronous", 3), ("balanced", 2)])
def test_the_gradient_of_the_first_batch(launch: Launch, policy: str, workers: int) -> None:
    run = launch(ONE_STEP, policy=policy, workers=workers, **({"bound": 0} if policy == "balanced" else {}))
    run.succeed()
    ours = run.kept("server")
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    model.load_state_dict(ours["before"])
    nn.functional.cross_entropy(model(ours["x"]), ours["y"]).backward()
    whole = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    mine = torch.cat([gradient.flatten() for gradient in ours["gradient"]])
    assert float((mine - whole).norm() / whole.norm()) < 1e-6


def test_two_synchronous_workers_compute_what_ddp_computes_to_the_bit(launch: Launch) -> None:
    run = launch(ONE_STEP.replace("batch_size=96", "batch_size=32"), policy="synchronous")
    run.succeed()
    first, second = run.kept("worker0")["parts"], run.kept("worker1")["parts"]
    assert len(first) == len(second) == 3
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    model.load_state_dict(run.kept("server")["before"])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for ours, theirs in zip(first, second, strict=True):
        for parameter, one, other in zip(model.parameters(), ours, theirs, strict=True):
            parameter.grad = one / 2 + other / 2
        optimizer.step()
    after = run.kept("server")["after"]
    assert all(torch.equal(after[name], tensor) for name, tensor in model.state_dict().items())
