"""Running statistics are pooled over the micro-batches of a step, and the momentum is applied once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from .harness import Launch

SCRIPT = """
batch, epochs = int(sys.argv[1]), int(sys.argv[2])
session = evener.join()
torch.manual_seed(11)
x = torch.randn(250, 6) * 3 + torch.arange(6.0)
torch.manual_seed(100 + index)  # everybody begins with other weights; the server's count

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm1d(6, momentum=0.3)
        self.into = nn.Linear(6, 4)
        self.twice = nn.BatchNorm1d(4)
        self.average = nn.BatchNorm1d(4, momentum=None)
        self.frozen = nn.BatchNorm1d(4)
        self.frozen.running_mean.normal_()
        self.frozen.running_var.uniform_(0.5, 2)
        self.seen = []

    def forward(self, x):
        h = self.into(self.first(x))
        again = torch.tanh(self.twice(h))
        if recording:
            self.seen += [h.detach().clone(), again.detach().clone()]
        return self.frozen(self.average(self.twice(again)))

recording = False
model = Net()
model.frozen.eval()
before = state(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
sampler = torch.utils.data.RandomSampler(x, generator=torch.Generator().manual_seed(5))
loader = DataLoader(TensorDataset(x), batch_size=batch, sampler=sampler)
model, optimizer, loader = session.prepare(model, optimizer, loader)
recording = True
modes = [model.training, model.first.training, model.frozen.training]
for epoch in session.epochs(epochs):
    for (a,) in loader:
        optimizer.zero_grad()
        model(a).square().mean().backward()
        optimizer.step()
momenta = [model.first.momentum, model.twice.momentum, model.average.momentum]
keep(x=x, before=before, after=state(model), seen=model.seen, momenta=momenta, modes=modes)
"""


def test_as_the_whole_batch_would_have_it(launch: Launch) -> None:
    run = launch(SCRIPT, "60", "2", policy="balanced", bound=0)
    run.succeed()
    server = run.kept("server")
    # The first layer sees the data whatever the weights are, so a plain loop has the same statistics.
    x: Tensor = server["x"]
    layer = nn.BatchNorm1d(6, momentum=0.3)
    sampler = torch.utils.data.RandomSampler(x, generator=torch.Generator().manual_seed(5))  # type: ignore[arg-type]
    for _ in range(2):
        for positions in torch.tensor(list(sampler)).split(60):
            layer(x[positions])
    after = server["after"]
    torch.testing.assert_close(after["first.running_mean"], layer.running_mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(after["first.running_var"], layer.running_var, rtol=1e-5, atol=1e-5)
    assert after["first.num_batches_tracked"] == layer.num_batches_tracked == 10
    for statistic in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(after[f"frozen.{statistic}"], server["before"][f"frozen.{statistic}"])
    for name in ("worker0", "worker1"):
        worker = run.kept(name)
        assert worker["momenta"] == [0.3, 0.1, None]
        assert worker["modes"] == [True, True, False]
        assert not torch.equal(worker["before"]["into.weight"], server["before"]["into.weight"])
        assert all(torch.equal(worker["after"][key], tensor) for key, tensor in after.items())


@pytest.mark.parametrize("policy", ["synchronous", "balanced"])
def test_by_the_law_of_total_variance(launch: Launch, policy: str) -> None:
    run = launch(SCRIPT, "250", "1", policy=policy, workers=3 if policy == "synchronous" else 2)
    run.succeed()
    # One step, in which a layer was called twice a micro-batch: all its inputs together have these moments.
    inputs = torch.cat([part for name in run.pids for part in run.kept(name)["seen"]]).double()
    assert len(inputs) == 500
    before, after = run.kept("server")["before"], run.kept("server")["after"]
    mean, variance = inputs.mean(0), inputs.var(0)
    ours, theirs = after["twice.running_mean"].double(), 0.9 * before["twice.running_mean"] + 0.1 * mean
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    ours, theirs = after["twice.running_var"].double(), 0.9 * before["twice.running_var"] + 0.1 * variance
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert after["twice.num_batches_tracked"] == 1


AFTER = """
again = sys.argv[1] == "yes"
session = evener.join()
torch.manual_seed(0)
model = nn.BatchNorm1d(3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(TensorDataset(torch.randn(64, 3)), batch_size=16)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(2):
    for (x,) in loader:
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
        if again:
            model(x + 100)
    if again and role == "worker":
        model(x + 100)
keep(after=state(model))
"""


def test_forward_passes_after_the_step_leave_no_trace(launch: Launch) -> None:
    runs = [launch(AFTER, again, policy="synchronous", workers=1) for again in ("yes", "no")]
    for run in runs:
        run.succeed()
    ours, theirs = (run.kept("server")["after"] for run in runs)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


LAST_WORD_IS_DECLINED = """
session = evener.join()
model = nn.BatchNorm1d(3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(TensorDataset(torch.randn(64, 3)), batch_size=32)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(1):
    for number, (x,) in enumerate(loader):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        if number == 0:
            optimizer.step()
keep(after=state(model))
"""


@pytest.mark.parametrize("policy", ["asynchronous", "balanced"])
def test_a_micro_batch_that_was_not_contributed_leaves_no_trace(launch: Launch, policy: str) -> None:
    run = launch(LAST_WORD_IS_DECLINED, policy=policy, workers=1)
    run.succeed()
    ours, theirs = run.kept("server")["after"], run.kept("worker0")["after"]
    assert run.proved().total("declined") > 0
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
