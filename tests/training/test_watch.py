"""The convergence watch, in runs of real processes on real digits."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from evener.core import commands as c
from evener.core import events as e
from evener.runtime.protocol import Push
from evener.simulation.cluster import Host
from evener.training.master import Master
from evener.training.setup import Setup

from .harness import Launch
from .test_simulated import simulate

DIGITS = """
import evener.data
rate, spoilt, logs, epochs = float(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
session = evener.join()
torch.manual_seed(0)
train, test = evener.data.digits()
x, y = torch.from_numpy(train.x), torch.from_numpy(train.y)
if role == "worker" and index == spoilt:
    x = x * 1000
model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
# Of a large batch everybody has a part: one worker alone can be compared with nobody.
loader = DataLoader(TensorDataset(x, y), batch_size=128 if spoilt < 0 else 512, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(epochs):
    for a, b in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(a), b)
        loss.backward()
        optimizer.step()
        if logs:
            session.log(**{logs: loss})
    if session.is_server:
        with torch.no_grad():
            right = model(torch.from_numpy(test.x)).argmax(1) == torch.from_numpy(test.y)
        session.log(test_accuracy=right.float().mean())
"""
POLICIES = ("synchronous", "balanced", "asynchronous")


def _warned(
    launch: Launch, policy: str, workers: int, rate: float, spoilt: int = -1, logs: str = "loss", epochs: int = 6
) -> tuple[list[c.Warn], float]:
    """What was warned of, and the test accuracy at the end."""
    run = launch(DIGITS, str(rate), str(spoilt), logs, str(epochs), policy=policy, workers=workers)
    run.succeed()
    run.proved()
    accuracy = run.logs("server")[-1].values["test_accuracy"]
    assert accuracy is not None
    return run.commands(c.Warn), accuracy


@pytest.mark.parametrize("policy", POLICIES)
def test_a_healthy_run_is_not_warned_of(launch: Launch, policy: str) -> None:
    warnings, accuracy = _warned(launch, policy, 3, 0.02)
    assert warnings == []
    assert accuracy > 0.25  # far from chance, however stale


@pytest.mark.parametrize("logs", ["loss", "train_loss", ""])
def test_a_rate_that_is_much_too_large_is_told_of(launch: Launch, logs: str) -> None:
    ((warning), *more), accuracy = _warned(launch, "synchronous", 2, 5.0, logs=logs)
    assert accuracy < 0.5
    assert warning.cause == "learning rate"
    assert ("the loss began at 2.3" in warning.text) == bool(logs)
    assert {one.cause for one in more} <= {"refused"}


@pytest.mark.parametrize("policy", POLICIES)
def test_a_worker_with_bad_data_is_told_of(launch: Launch, policy: str) -> None:
    warnings, _ = _warned(launch, policy, 3, 0.02, spoilt=1)
    assert warnings[0].cause == "worker"
    assert "orker 1 differs from the others" in warnings[0].text
    assert {one.cause for one in warnings[1:]} <= {"refused"}


def test_staleness_that_makes_training_diverge_is_told_of(launch: Launch) -> None:
    """On a virtual clock: how stale the contributions are is then no matter of chance."""

    def run(policy: str) -> tuple[list[c.Warn], float]:
        hosts = [Host(1000.0, noise=0.2)] * 10
        done = simulate(launch, DIGITS, "0.3", "-1", "loss", "10", policy=policy, hosts=hosts)
        accuracy = done.logs("server")[-1].values["test_accuracy"]
        assert accuracy is not None
        return done.commands(c.Warn), accuracy

    warnings, accuracy = run("synchronous")
    assert (warnings, accuracy > 0.8) == ([], True)
    (warning, *more), accuracy = run("asynchronous")
    assert accuracy < 0.5
    assert warning.cause == "staleness"
    assert "--policy balanced" in warning.text
    assert {one.cause for one in more} <= {"refused"}


def test_the_numbers_that_are_watched_are_the_contributions(launch: Launch) -> None:
    """With one worker and no momentum, a step moves the parameters by rate × norm."""
    run = launch(
        """
        session = evener.join()
        torch.manual_seed(0)
        model = nn.Linear(5, 1)
        before = state(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        loader = DataLoader(TensorDataset(torch.randn(8, 5), torch.randn(8, 1)), batch_size=8)
        model, optimizer, loader = session.prepare(model, optimizer, loader)
        for epoch in session.epochs(1):
            for x, y in loader:
                optimizer.zero_grad()
                loss = nn.functional.mse_loss(model(x), y)
                loss.backward()
                optimizer.step()
                session.log(other=1.0, loss_a=loss, loss_b=-1.0)
                keep(loss=float(loss))
        if session.is_server:
            after = state(model)
            keep(moved=float(sum(((after[k] - before[k]) ** 2).sum() for k in before) ** 0.5))
        """,
        workers=1,
        bound=0,
    )
    run.succeed()
    (arrived,) = run.events(e.Arrived)
    assert arrived.norm == pytest.approx(run.kept("server")["moved"] / 0.5, rel=1e-4)
    assert arrived.loss == pytest.approx(run.kept("worker0")["loss"], rel=1e-6)


def test_a_refused_contribution_has_no_norm() -> None:
    model = nn.Linear(3, 1)
    loader = DataLoader(TensorDataset(torch.zeros(4, 3)), batch_size=2)
    master = Master(Setup(model, torch.optim.SGD(model.parameters(), lr=0.1), loader), lambda epoch: range(4))
    head = Push(0, (0,), (0,), 2.0)
    good, bad = torch.tensor([3.0, 0.0, 0.0, -4.0]), torch.tensor([3.0, 0.0, float("nan"), -4.0])
    assert master.verdict(head, memoryview(good.numpy()).cast("B")) == ("ok", 5.0)
    word, norm = master.verdict(head, memoryview(bad.numpy()).cast("B"))
    assert "not finite" in word
    assert norm == 0.0
