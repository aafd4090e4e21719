"""Set-ups that only real processes show: random numbers, and clipping under each policy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from evener.core import commands as c

from .harness import Launch, Run

RANDOM = """
import random
import numpy

torch.manual_seed(1)  # as scripts do, alike everywhere
numpy.random.seed(1)
random.seed(1)

class Augmented(Positions):
    def __getitem__(self, position):
        time.sleep(0.001)
        return super().__getitem__(position), torch.rand(()), random.random(), numpy.random.rand()

session = evener.join()
model = nn.Sequential(nn.Linear(1, 4), nn.Dropout(), nn.Linear(4, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
generator = torch.Generator().manual_seed(1)
loader = DataLoader(Augmented(96), batch_size=16, num_workers=int(sys.argv[1]), shuffle=True, generator=generator)
model, optimizer, loader = session.prepare(model, optimizer, loader)
drawn = [torch.rand(8).tolist(), [random.random()], [numpy.random.rand()]]
seen = []
for epoch in session.epochs(1):
    for positions, *noise in loader:
        seen += torch.stack(noise).flatten().tolist()
        optimizer.zero_grad()
        model(positions[:, None].float()).mean().backward()
        optimizer.step()
keep(drawn=drawn, seen=seen)
"""


def drawn(launch: Launch, seed: int, loaders: str) -> list[dict[str, Any]]:
    run = launch(RANDOM, loaders, policy="synchronous", place={"seed": seed})
    run.succeed()
    return [run.kept(name) for name in ("worker0", "worker1")]


def test_each_worker_has_random_numbers_of_its_own_and_each_run_the_same(launch: Launch) -> None:
    first, second = drawn(launch, 0, "0")
    assert all(one != other for one, other in zip(first["drawn"], second["drawn"], strict=True))
    assert not set(first["seen"]) & set(second["seen"])
    again, _ = drawn(launch, 0, "0")
    assert again["drawn"] == first["drawn"]
    others = drawn(launch, 1, "0")
    for other in others:
        assert other["drawn"] != first["drawn"]
        assert other["drawn"] != second["drawn"]


def test_so_have_the_loaders_processes(launch: Launch) -> None:
    first, second = drawn(launch, 0, "1")
    assert first["seen"]
    assert not set(first["seen"]) & set(second["seen"])


CLIPPED = """
session = evener.join()
model = nn.ParameterList([nn.Parameter(torch.zeros(64, dtype=torch.float64))])
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
loader = DataLoader(Positions(64), batch_size=16)
model, optimizer, loader = session.prepare(model, optimizer, loader, clip_norm=0.1)
for epoch in session.epochs(1):
    for positions in loader:
        optimizer.zero_grad()
        model[0][positions].mean().backward()
        optimizer.step()
keep(weights=model[0].detach().clone())
"""


def moved(run: Run) -> torch.Tensor:
    run.succeed()
    weights: torch.Tensor = run.kept("server")["weights"]
    return weights


@pytest.mark.parametrize("policy", ["synchronous", "balanced", "asynchronous"])
def test_what_is_clipped_is_the_gradient_of_a_step(launch: Launch, policy: str) -> None:
    run = launch(CLIPPED, policy=policy)
    weights = moved(run)
    # The gradient of k samples is 1/k at each of them: its norm is 1/√k, far above 0.1 for 16 and for 8. A step moves
    # the rate times 0.1, and where it is one push of k samples, the rate is scaled by k/16.
    steps = [step for step in run.commands(c.Step) if step.samples]
    assert all(step.rate_scale == (step.samples / 16 if policy == "asynchronous" else 1) for step in steps)
    expected = torch.cat([torch.full((s.samples,), s.rate_scale * 0.1 / s.samples**0.5) for s in steps])
    torch.testing.assert_close(weights.abs().sort()[0], expected.double().sort()[0], rtol=1e-5, atol=0)
    assert float(weights.max()) < 0
