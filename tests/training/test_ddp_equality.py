"""`synchronous` computes what PyTorch's DDP computes: to the bit with two workers, up to rounding with more.

DDP multiplies each gradient by 1/n and then adds; so does evener. Adding
two numbers commutes, so with two workers it does not matter which of them computes which half. With more, gloo adds in
an order of its own, bucket by bucket.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from .harness import Launch, Run

SCRIPT = """
from training import ddp
system, name, dtype, rate = sys.argv[1], sys.argv[2], getattr(torch, sys.argv[3]), float(sys.argv[4])
model, optimizer, loader = ddp.make(name, dtype, rate)
seen = optimizer.__dict__.setdefault("seen", [])
if system == "ddp":
    rank, world = int(sys.argv[5]), int(sys.argv[6])
    ddp.join(rank, world)
    ddp.train(rank, world, model, optimizer, loader)
    torch.save({"state": ddp.state(model), "seen": seen}, f"rank{rank}.pt")
    ddp.leave()
else:
    session = evener.join()
    model, optimizer, loader = session.prepare(model, optimizer, loader, channels_last=False)
    for epoch in session.epochs(ddp.EPOCHS):
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    keep(state=ddp.state(model), seen=seen)
"""


def by_ddp(launch: Launch, ranks: int, *arguments: str) -> Run:
    run = launch(SCRIPT, start=False)
    for rank in range(ranks):
        run.alone("ddp", *arguments, str(rank), str(ranks), name=f"rank{rank}")
    return run


def by_evener(launch: Launch, workers: int, *arguments: str) -> Run:
    return launch(SCRIPT, "evener", *arguments, workers=workers, policy="synchronous")


def gradients(run: Run, name: str) -> Tensor:
    """Of all steps, shape ``(steps, parameters)``."""
    return torch.stack(run.kept(name)["seen"])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_two_workers_for_a_hundred_steps(launch: Launch, optimizer: str) -> None:
    theirs = by_ddp(launch, 2, optimizer, "float32", "1")
    theirs.succeed()
    ours = by_evener(launch, 2, optimizer, "float32", "1")
    ours.succeed()
    expected, found = gradients(theirs, "rank0"), gradients(ours, "server")
    assert found.shape == expected.shape
    assert len(found) == 100
    assert torch.equal(found, expected)
    end = theirs.kept("rank0")["state"]
    for name in ("server", "worker0", "worker1"):
        state = ours.kept(name)["state"]
        assert state.keys() == end.keys()
        assert all(torch.equal(state[key], tensor) for key, tensor in end.items())
    assert ours.proved().complete


def test_four_workers_in_float64(launch: Launch) -> None:
    theirs = by_ddp(launch, 4, "sgd", "float64", "1")
    theirs.succeed()
    ours = by_evener(launch, 4, "sgd", "float64", "1")
    ours.succeed()
    assert len(gradients(ours, "server")) == 100
    end, state = theirs.kept("rank0")["state"], ours.kept("server")["state"]
    distance = max(float((state[key] - end[key]).norm() / end[key].norm()) for key in end)
    assert distance < 1e-10


def test_gradients_of_four_workers_in_float32(launch: Launch) -> None:
    # With a rate of 0 each step starts from the same weights, so no difference of rounding grows.
    theirs = by_ddp(launch, 4, "sgd", "float32", "0")
    theirs.succeed()
    ours = by_evener(launch, 4, "sgd", "float32", "0")
    ours.succeed()
    expected, found = gradients(theirs, "rank0"), gradients(ours, "server")
    assert len(found) == 100
    assert float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max()) < 1e-6


# Halves and a half of the sum differ only where a half is rounded: of the smallest number above 0 it is 0.
SMALL = """
from training import ddp
model = nn.Linear(2, 1, bias=False)
nn.init.zeros_(model.weight)
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
samples = torch.tensor([[1e-45, 1.0], [1e-45, 1.0], [1e-45, 2.0], [1e-45, 2.0]])
if sys.argv[1] == "ddp":
    rank = int(sys.argv[2])
    ddp.join(rank, 2)
    parallel = ddp.DistributedDataParallel(model)
    parallel(samples[2 * rank]).sum().backward()
    optimizer.step()
    torch.save({"weight": model.weight.detach()}, f"rank{rank}.pt")
    ddp.leave()
else:
    session = evener.join()
    loader = DataLoader(TensorDataset(samples), batch_size=4)
    model, optimizer, loader = session.prepare(model, optimizer, loader, channels_last=False)
    for epoch in session.epochs(1):
        for (x,) in loader:
            optimizer.zero_grad()
            model(x[0]).sum().backward()
            optimizer.step()
    keep(weight=model.weight.detach().clone())
"""


def test_both_divide_before_they_add(launch: Launch) -> None:
    theirs = launch(SMALL, start=False)
    for rank in range(2):
        theirs.alone("ddp", str(rank), name=f"rank{rank}")
    theirs.succeed()
    expected = theirs.kept("rank0")["weight"]
    assert expected.tolist() == [[0.0, -1.5]]  # a half of the sum would be [-1e-45, -1.5]
    ours = launch(SMALL, "evener", policy="synchronous")
    ours.succeed()
    assert torch.equal(ours.kept("server")["weight"], expected)
