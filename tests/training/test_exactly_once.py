"""Every position counts once, proven by gradient and by the record, which replays to the same commands: each policy."""

from __future__ import annotations

import pytest
import torch

from evener.core import events as e
from evener.core.policies import POLICIES

from .harness import Launch, Run, says

RATE, BATCH, COUNT = 0.5, 48, 500
REMAINDER = COUNT % BATCH

OPTIONS: dict[str, tuple[dict[str, float], ...]] = {
    "balanced": ({"bound": 0}, {"bound": 1}, {"bound": 2}),
    "delayed": ({"delay": 2},),
}
"""Where the defaults alone are not enough."""

VARIANTS = [(name, options) for name in POLICIES for options in OPTIONS.get(name, ({},))]
NAMES = ["-".join((name, *(str(value) for value in options.values()))) for name, options in VARIANTS]

# The loss of a batch is the mean of the weights at its positions: they tell how often each position counted.
SCRIPT = f"""
session = evener.join()
weights = nn.ParameterList([nn.Parameter(torch.zeros({COUNT}, dtype=torch.float64))])
optimizer = torch.optim.SGD(weights.parameters(), lr={RATE})
loader = DataLoader(Positions({COUNT}), batch_size={BATCH}, shuffle=True)
model, optimizer, loader = session.prepare(weights, optimizer, loader)
for epoch in session.epochs(1):
    for number, positions in enumerate(loader):
        at_batch(number)
        time.sleep(0.01)  # what a model would take: so the workers' paces are alike, and none sits out
        optimizer.zero_grad()
        model[0][positions].mean().backward()
        optimizer.step()
keep(weights=model[0].detach().clone())
"""


def counted_once(run: Run, policy: str) -> None:
    weights = run.kept("server")["weights"]
    whole = torch.full((COUNT,), -RATE / BATCH, dtype=torch.float64)
    if POLICIES[policy].collects:
        # Which positions the remainder holds is the run's business, not how many.
        rest = torch.isclose(weights, torch.tensor(-RATE / REMAINDER, dtype=torch.float64), rtol=1e-9)
        assert int(rest.sum()) == REMAINDER
        whole[rest] = -RATE / REMAINDER
    torch.testing.assert_close(weights, whole, rtol=1e-9, atol=0)
    accounting = run.proved()
    assert accounting.complete
    assert accounting.total("applied") == COUNT


@pytest.mark.parametrize(("policy", "options"), VARIANTS, ids=NAMES)
def test_with_a_death_and_a_late_join(launch: Launch, policy: str, options: dict[str, float]) -> None:
    body = """
def at_batch(number):
    if number != 2 or index == 2:
        return
    let("here")
    wait_for("go on")
    if index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""
    run = launch(body + SCRIPT, policy=policy, gates=["here", "go on"], **options)
    run.wait_for("here")
    run.wait_for("here")
    run.worker(2)
    run.wait_line(says(e.Joined, 2))
    run.let("go on", 2)
    assert run.wait() == {"server": 0, "worker0": 0, "worker1": -9, "worker2": 0}
    counted_once(run, policy)
    assert run.applied_by().get(2, 0) > 0
    for name in ("worker0", "worker2"):
        assert torch.equal(run.kept(name)["weights"], run.kept("server")["weights"])


@pytest.mark.parametrize(("policy", "options"), VARIANTS, ids=NAMES)
def test_undisturbed(launch: Launch, policy: str, options: dict[str, float]) -> None:
    run = launch("at_batch = print" + SCRIPT, workers=3, policy=policy, **options)
    run.succeed()
    counted_once(run, policy)
    ends = [run.kept(name)["weights"] for name in run.pids]
    assert all(torch.equal(one, ends[0]) for one in ends)
