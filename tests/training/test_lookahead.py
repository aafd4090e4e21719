"""Look-ahead: where stale micro-batches are computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from evener.core import commands as c
from evener.core import events as e
from evener.simulation.cluster import Host
from evener.trace import EventLine
from evener.training.look_ahead import LookAhead, Trail
from evener.training.store import FlatStore

from .harness import Launch, Run
from .test_simulated import simulate

RATE = 0.02

# The loss of a position is (w - 1)² / 2; a worker keeps the positions and the parameter it saw.
SCRIPT = f"""
session = evener.join()
model = nn.ParameterList([nn.Parameter(torch.zeros(1, dtype=torch.float64))])
name, momentum = sys.argv[1], float(sys.argv[2])
if name == "sgd":
    optimizer = torch.optim.SGD(model.parameters(), lr={RATE}, momentum=momentum)
else:
    optimizer = torch.optim.Adam(model.parameters(), lr={RATE}, betas=(momentum, 0.5))
loader = DataLoader(Positions(960), batch_size=16)
model, optimizer, loader = session.prepare(model, optimizer, loader)
seen = []
for epoch in session.epochs(1):
    for positions in loader:
        optimizer.zero_grad()
        seen.append((positions[0].item(), model[0].item()))
        model[0].sum().sub(1).square().mul(0.5).backward()
        if role == "worker":
            time.sleep(0.01)
        optimizer.step()
    evaluated = model[0].item()
keep(seen=dict(seen), evaluated=evaluated, after=model[0].item())
"""

SLOW_LINKS = (Host(100.0, uplink=0.1, downlink=0.1), Host(60.0, uplink=0.15, downlink=0.1))


def check(run: Run, seen: dict[int, float], name: str, mu: float, look_ahead: bool = True) -> list[float]:
    """Compare what was seen with the formula, the run being told by its record.

    Returns:
        The parameter after each step.
    """
    grants = {grant.ticket: grant for grant in run.commands(c.Grant)}
    pushes = {(push.worker, push.push): push for push in run.events(e.Arrived)}
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer: torch.optim.Optimizer = torch.optim.SGD([weight], lr=RATE, momentum=mu)
    if name == "adam":
        optimizer = torch.optim.Adam([weight], lr=RATE, betas=(mu, 0.5))
    values, stale = [0.0], 0
    gradients: dict[int, float] = {}
    had: dict[int, list[int]] = {}
    for line in run.lines():
        if isinstance(line, EventLine) and isinstance(line.event, e.Started):
            started = line.event
            versions = had.setdefault(started.worker, [0])
            if started.version != versions[-1]:
                versions.append(started.version)
            expected, grant = values[started.version], grants[started.ticket]
            early = grant.step - started.version
            if look_ahead and early > 0 and len(versions) > 1:
                before, now = versions[-2:]
                expected += sum(mu**k for k in range(1, early + 1)) * (values[now] - values[before]) / (now - before)
                stale += 1
            assert seen[grant.ranges[0][0]] == pytest.approx(expected, abs=1e-12)
        for command in line.commands if isinstance(line, EventLine) else []:
            if isinstance(command, c.Accumulate):
                push = pushes[command.worker, command.push]
                sizes = [sum(b - a for a, b in grants[ticket].ranges) for ticket in push.tickets]
                firsts = [grants[ticket].ranges[0][0] for ticket in push.tickets]
                total = sum(size * (seen[first] - 1.0) for size, first in zip(sizes, firsts, strict=True))
                mean = total / sum(sizes)
                gradients[command.step] = gradients.get(command.step, 0.0) + command.factor * mean
            if isinstance(command, c.Step):
                weight.grad = torch.full_like(weight, gradients[command.step] * command.rescale)
                optimizer.step()
                values.append(weight.item())
    assert stale > 3 or not look_ahead
    return values


@pytest.mark.parametrize(("name", "mu"), [("sgd", 0.6), ("adam", 0.9)])
@pytest.mark.parametrize("bound", [1, 2])
def test_stale_batches_are_computed_ahead(launch: Launch, name: str, mu: float, bound: int) -> None:
    options = {"bound": bound, "stale_fraction": 1.0, "look_ahead": True}
    run = simulate(launch, SCRIPT, name, str(mu), hosts=SLOW_LINKS, **options)
    kept = run.kept("server")
    values = check(run, kept["seen"], name, mu)
    assert kept["after"] == kept["evaluated"] == pytest.approx(values[-1], abs=1e-12)


def test_without_momentum_nothing_changes(launch: Launch) -> None:
    saw = []
    for look_ahead in (False, True):
        options = {"bound": 2, "stale_fraction": 1.0, "look_ahead": look_ahead}
        run = simulate(launch, SCRIPT, "sgd", "0", hosts=SLOW_LINKS, **options)
        saw.append(run.kept("server"))
        check(run, saw[-1]["seen"], "sgd", 0.0, look_ahead)
    assert saw[0] == saw[1]


def test_it_is_an_option(launch: Launch) -> None:
    run = simulate(launch, SCRIPT, "sgd", "0.6", hosts=SLOW_LINKS, bound=1, stale_fraction=1.0)
    check(run, run.kept("server")["seen"], "sgd", 0.6, look_ahead=False)


def test_in_a_run_of_processes(launch: Launch) -> None:
    run = launch(SCRIPT, "sgd", "0.6", bound=1, stale_fraction=1.0, look_ahead=True)
    run.succeed()
    kept = [run.kept(f"worker{index}") for index in range(2)]
    values = check(run, {**kept[0]["seen"], **kept[1]["seen"]}, "sgd", 0.6)
    assert run.proved().complete
    assert run.kept("server")["after"] == pytest.approx(values[-1], abs=1e-12)
    for one in kept:
        assert one["after"] == run.kept("server")["after"]


def test_groups_have_their_own_momentum() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1), nn.Linear(1, 4))
    groups = [
        {"params": [*model[0].parameters(), *model[1].parameters()], "momentum": 0.5},
        {"params": [*model[2].parameters()], "momentum": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1)
    store = FlatStore(model, [p for group in optimizer.param_groups for p in group["params"]])
    look_ahead, trail = LookAhead(store, optimizer), Trail()
    values = [torch.randn(store.size) for _ in range(2)]
    for version, value in zip((3, 5), values, strict=True):
        store.flat.copy_(value)
        trail.move(version, value)
    look_ahead.shift(trail, 2)
    change = (values[1] - values[0]) / 2
    split = sum(p.numel() for p in groups[0]["params"])
    torch.testing.assert_close(store.flat[:split], values[1][:split] + 0.75 * change[:split])
    assert torch.equal(store.flat[split:], values[1][split:])
    look_ahead.restore(trail)
    assert torch.equal(store.flat, values[1])
