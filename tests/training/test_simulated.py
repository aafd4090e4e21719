"""Simulated runs with real gradients: what they compute, and what they do when."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import torch

from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import POLICIES
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.trace import EventLine, HeaderLine, TargetNote

from . import problem
from .harness import Launch, Run
from .test_batchnorm import AFTER
from .test_equality import SCRIPT as FIFTY_STEPS
from .test_equality import distance
from .test_exactly_once import COUNT, NAMES, counted_once
from .test_exactly_once import SCRIPT as WEIGHTS
from .test_exactly_once import VARIANTS as ALL

UNEQUAL = (Host(400.0, noise=0.2), Host(100.0, noise=0.2))


def start(launch: Launch, body: str, *arguments: str, hosts: Sequence[Host] = UNEQUAL, **options: Any) -> Run:
    """A simulated run under way: its one process is called the server."""
    policy = options.pop("policy", "balanced")
    seed = options.pop("seed", 0)
    place = options.pop("place", {})
    cluster = Cluster(tuple(hosts), seed=seed)
    run = launch(body, policy=policy, start=False, **options)
    data = msgspec.to_builtins(cluster)
    run.server(*arguments, role="simulated", run="r", workers=cluster.at_start, seed=seed, cluster=data, **place)
    return run


def simulate(launch: Launch, body: str, *arguments: str, **options: Any) -> Run:
    """A simulated run that has ended well; what its script kept is the server's."""
    run = start(launch, body, *arguments, **options)
    run.succeed()
    kept = run.folder / "simulated.pt"
    if kept.exists():
        kept.rename(run.folder / "server.pt")
    return run


# The same each time -----------------------------------------------------------------------------------------

CHANCE = """
session = evener.join()
model = nn.Sequential(nn.Linear(8, 16), nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
loader = DataLoader(TensorDataset(torch.randn(300, 8)), batch_size=32, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(2):
    for (x,) in loader:
        optimizer.zero_grad()
        loss = (model(x + 0.1 * torch.randn_like(x)) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        session.log(loss=loss)
    session.log(chance=torch.rand(1))
keep(after=state(model))
"""


def test_the_same_seed_gives_the_same_bytes(launch: Launch) -> None:
    records, ends = [], []
    for seed in (1, 1, 2):
        run = simulate(launch, CHANCE, seed=seed)
        # All but the header's name of the script, which is in another folder each time.
        header, rest = (run.folder / "record" / "record.jsonl").read_bytes().split(b"\n", 1)
        records.append(header.replace(str(run.folder).encode(), b"") + rest)
        ends.append(run.kept("server")["after"])
    assert records[0] == records[1]
    assert all(torch.equal(ends[0][name], tensor) for name, tensor in ends[1].items())
    assert records[0] != records[2]
    assert not torch.equal(ends[0]["0.weight"], ends[2]["0.weight"])


def bare(event: e.Event) -> e.Event:
    """An event without what only gradients tell."""
    return dataclasses.replace(event, norm=0.0, loss=None) if isinstance(event, e.Arrived) else event


@pytest.mark.parametrize("policy", ["synchronous", "asynchronous", "balanced"])
def test_what_happens_when_is_what_happens_with_timing_alone(launch: Launch, policy: str) -> None:
    hosts = (Host(300.0, noise=0.2, stalls=((0.2, 0.5),)), Host(100.0, noise=0.1, dies=1.0), Host(80.0, joins=0.7))
    run = simulate(launch, CHANCE, hosts=hosts, policy=policy, seed=3)
    lines = run.lines()
    assert isinstance(lines[0], HeaderLine)
    settings = lines[0].header.settings
    cluster = Cluster(hosts, seed=3)
    assert msgspec.convert(lines[0].header.notes["cluster"], Cluster) == cluster
    alone = Simulation(cluster, settings, POLICIES[policy](), positions=300).run()
    ours = [(line.t, bare(line.event), line.commands) for line in lines if isinstance(line, EventLine)]
    assert ours == alone.log


# What is computed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "optimizer", "remainder", "clip"),
    [("synchronous", "sgd", "keep", 0.5), ("balanced", "adamw", "drop", 0.0), ("balanced", "sgd", "keep", 0.0)],
)
def test_without_staleness_it_is_plain_training(
    launch: Launch, policy: str, optimizer: str, remainder: str, clip: float
) -> None:
    options = {"bound": 0} if policy == "balanced" else {}
    run = simulate(launch, FIFTY_STEPS, optimizer, remainder, str(clip), policy=policy, **options)
    ours = run.kept("server")
    assert distance(ours["state"], problem.plain(optimizer, remainder == "drop", clip or None)) < 1e-10
    # Outside the loop over the loader the optimizer shows the server's groups, which the schedulers change.
    assert ours["rates"] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert run.proved().steps == 50


@pytest.mark.parametrize(("policy", "options"), ALL, ids=NAMES)
def test_every_position_counts_once(launch: Launch, policy: str, options: dict[str, float]) -> None:
    hosts = (Host(100.0, noise=0.2), Host(100.0, dies=1.1), Host(100.0, joins=1.0, repeats=3))
    run = simulate(launch, "at_batch = abs\n" + WEIGHTS, hosts=hosts, policy=policy, **options)
    counted_once(run, policy)
    assert sum(run.applied_by().values()) == COUNT
    assert run.applied_by()[2] > 0
    assert [event.reason for event in run.events(e.Left)] == ["died"]


STALE = """
session = evener.join()
model = nn.ParameterList([nn.Parameter(torch.zeros(1, dtype=torch.float64))])
optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
loader = DataLoader(Positions(64), batch_size=16)
model, optimizer, loader = session.prepare(model, optimizer, loader)
seen = []
for epoch in session.epochs(1):
    for positions in loader:
        optimizer.zero_grad()
        seen.append((positions[0].item(), len(positions), model[0].item()))
        model[0].sum().sub(1).square().mul(0.5).backward()
        optimizer.step()
keep(seen=seen, after=model[0].item())
"""


@pytest.mark.parametrize("policy", ["asynchronous", "balanced"])
def test_each_batch_is_computed_on_what_its_worker_has(launch: Launch, policy: str) -> None:
    options = {"bound": 2, "stale_fraction": 1.0} if policy == "balanced" else {}
    hosts = (Host(100.0, uplink=0.05, downlink=0.05), Host(60.0, uplink=0.05, downlink=0.05))
    run = simulate(launch, STALE, hosts=hosts, policy=policy, **options)
    # The run told by its record: the parameters after each step, from the versions that were reported.
    grants = {grant.ticket: grant for grant in run.commands(c.Grant)}
    pushes = {(push.worker, push.push): push for push in run.events(e.Arrived)}
    values, stale = [0.0], 0
    gradients: dict[int, float] = {}
    for line in run.lines():
        for command in line.commands if isinstance(line, EventLine) else []:
            if isinstance(command, c.Accumulate):
                push = pushes[command.worker, command.push]
                sizes = [sum(b - a for a, b in grants[ticket].ranges) for ticket in push.tickets]
                means = [size * (values[version] - 1.0) for size, version in zip(sizes, push.versions, strict=True)]
                mean = sum(means) / sum(sizes)
                gradients[command.step] = gradients.get(command.step, 0.0) + command.factor * mean
                stale += command.staleness > 0
            if isinstance(command, c.Step):
                values.append(values[-1] - 0.25 * command.rate_scale * gradients[command.step])
    assert stale > 0
    kept = run.kept("server")
    assert kept["after"] == pytest.approx(values[-1], abs=1e-12)
    started = {grants[event.ticket].ranges[0][0]: values[event.version] for event in run.events(e.Started)}
    assert {first: value for first, _, value in kept["seen"]} == pytest.approx(started, abs=1e-12)


def test_running_statistics_are_pooled(launch: Launch) -> None:
    body = """
session = evener.join()
torch.manual_seed(0)
model = nn.BatchNorm1d(3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = 2 * torch.randn(64, 3) + 1
loader = DataLoader(TensorDataset(x), batch_size=64)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(1):
    for (a,) in loader:
        optimizer.zero_grad()
        model(a).square().sum().backward()
        optimizer.step()
    model.train()
    evaluated = state(model)
    momentum = model.momentum
keep(x=x, after=state(model), evaluated=evaluated, momentum=momentum)
"""
    kept = simulate(launch, body, policy="synchronous").kept("server")
    assert kept["momentum"] == 0.1
    for after in (kept["after"], kept["evaluated"]):
        torch.testing.assert_close(after["running_mean"], 0.1 * kept["x"].mean(0))
        torch.testing.assert_close(after["running_var"], 0.9 + 0.1 * kept["x"].var(0))
        assert after["num_batches_tracked"] == 1


def test_forward_passes_after_the_step_leave_no_trace_in_running_statistics(launch: Launch) -> None:
    train, server = [simulate(launch, AFTER, again).kept("server")["after"] for again in ("yes", "no")]
    assert all(torch.equal(train[name], tensor) for name, tensor in server.items())


def test_a_layer_may_be_frozen_half_way(launch: Launch) -> None:
    body = """
session = evener.join()
model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
loader = DataLoader(TensorDataset(torch.randn(64, 3)), batch_size=16)
model, optimizer, loader = session.prepare(model, optimizer, loader)
seen = [state(model)]
for epoch in session.epochs(3):
    if epoch >= 1:
        model[0].requires_grad_(False)
    for (x,) in loader:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    seen.append(state(model))
keep(seen=seen)
"""
    seen = simulate(launch, body, policy="synchronous").kept("server")["seen"]
    for layer, epoch in (("0", 0), ("1", 0), ("1", 1), ("1", 2)):
        assert not torch.equal(seen[epoch][f"{layer}.weight"], seen[epoch + 1][f"{layer}.weight"])
    assert torch.equal(seen[1]["0.weight"], seen[3]["0.weight"])


# What scripts do --------------------------------------------------------------------------------------------

LOGS = """
session = evener.join()
model = nn.ParameterList([nn.Parameter(torch.zeros(1))])
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(Positions(100), batch_size=10)
model, optimizer, loader = session.prepare(model, optimizer, loader)
print("roles", session.is_server)
for epoch in session.epochs(2):
    for positions in loader:
        optimizer.zero_grad()
        model[0].sum().backward()
        session.log(position=positions.double().mean())
        if 50 in positions and skip:
            continue
        optimizer.step()
        session.log(after=2.0)
    session.log(test_accuracy=0.4 * (epoch + 1))
"""


COUNTED = """        odd = not odd
        optimizer.zero"""


def test_metrics_are_averaged_and_targets_noted_at_virtual_times(launch: Launch) -> None:
    run = simulate(launch, "skip = False\n" + LOGS, place={"targets": {"test_accuracy": 0.7}})
    ends = [line.t for line in run.lines() if isinstance(line, EventLine) and any_end(line)]
    workers, server = run.logs("workers"), run.logs("server")
    assert [note.values for note in workers] == [pytest.approx({"position": 49.5, "after": 2.0})] * 2
    assert [note.values["test_accuracy"] for note in server] == pytest.approx([0.4, 0.8])
    assert [note.at for note in server] == [note.at for note in workers] == ends
    (target,) = run.notes(TargetNote)
    assert (target.at, target.reached) == (ends[1], pytest.approx(0.8))
    assert run.out("server") == "roles True\n"


def any_end(line: EventLine) -> bool:
    return any(isinstance(command, c.EndEpoch) for command in line.commands)


def test_a_batch_without_a_step_is_declined(launch: Launch) -> None:
    run = simulate(launch, "skip = True\n" + LOGS)
    accounting = run.proved()
    assert accounting.total("declined") > 0
    assert accounting.total("declined") + accounting.total("applied") == 200


def test_what_the_cluster_skips_counts_in_no_metric(launch: Launch) -> None:
    body = LOGS.replace("position=positions.double().mean()", "odd=float(odd)").replace(
        "        optimizer.zero", COUNTED
    )
    run = simulate(launch, "skip = False\nodd = True\n" + body, hosts=[Host(100.0, declines=2)])
    accounting = run.proved()
    assert accounting.total("declined") > 0
    assert [note.values for note in run.logs("workers")] == [pytest.approx({"odd": 0.0, "after": 2.0})] * 2


def test_a_second_pass_over_the_loader_yields_nothing(launch: Launch) -> None:
    run = simulate(launch, "skip = False\n" + LOGS + "    again = [len(p) for p in loader]\n    keep(again=again)\n")
    assert run.kept("server")["again"] == []
    assert run.proved().total("applied") == 200


def test_workers_do_not_see_the_servers_eval(launch: Launch) -> None:
    body = CHANCE.replace(
        "        optimizer.zero", "        modes.append([m.training for m in model])\n        optimizer.zero"
    )
    body = body.replace("    session.log(chance", "    model.eval()\n    session.log(chance")
    body = (
        body.replace("for epoch", "modes = []\nmodel[2].eval()\nfor epoch", 1) + "keep(modes=modes, end=model.training)"
    )
    kept = simulate(launch, body).kept("server")
    assert {tuple(modes) for modes in kept["modes"]} == {(True, True, False, True)}
    assert kept["end"] is False


def test_nothing_is_kept_for_workers_that_are_gone(launch: Launch) -> None:
    hosts = (Host(100.0), Host(100.0), Host(90.0, uplink=0.3, dies=1.1), Host(60.0, dies=0.9))
    body = CHANCE.replace("keep(", "keep(kept=session._workers.kept, ")
    kept = 0
    for policy in ("balanced", "asynchronous"):
        run = simulate(launch, body, hosts=hosts, policy=policy)
        assert len(run.events(e.Left)) == 2
        kept += run.kept("server")["kept"]
    assert kept == 0


def test_a_break_out_of_the_epochs_ends_the_run(launch: Launch) -> None:
    run = simulate(launch, CHANCE.replace("    session.log(chance", "    break\n    session.log(chance"))
    assert run.end() == (False, "the script left the loop")
    assert len(run.commands(c.EndEpoch)) == 1


@pytest.mark.parametrize(
    ("change", "says", "begun"),
    [
        (("        optimizer.step()", "        raise OSError('the disk is full')"), "OSError: the disk is full", True),
        (("        optimizer.step()", "        break"), "left before the end of epoch 0", True),
        (("    for (x,) in loader:", "    for (x,) in []:"), "left before the end of epoch 0", True),
        (("        optimizer.step()", "        optimizer.step(); optimizer.step()"), "without a new batch", True),
        (("        loss.backward()", "        optimizer.param_groups[0]['lr'] = 1.0"), "changed on a worker", True),
        (("for epoch in", "next(iter(loader))\nfor epoch in"), "iterate over the loader inside", False),
    ],
    ids=["an error", "a break", "no loop", "two steps", "groups", "too early"],
)
def test_a_script_that_goes_wrong_is_told(launch: Launch, change: tuple[str, str], says: str, begun: bool) -> None:
    assert change[0] in CHANCE
    run = start(launch, CHANCE.replace(*change))
    assert run.wait()["server"] == 1
    assert says in run.err("server")
    assert (run.folder / "record" / "record.jsonl").exists() == begun
    if begun:
        assert run.end()[0] is False


def test_a_policy_that_does_not_fit_the_batch_is_told_of(launch: Launch) -> None:
    run = start(launch, CHANCE, policy="asynchronous", push=33)
    assert run.wait()["server"] == 1
    assert "push must be 2 to 32 samples (the batch), not 33" in run.err("server")
    assert not (run.folder / "record").exists()


def test_a_cluster_without_survivors_says_so(launch: Launch) -> None:
    run = start(launch, CHANCE, hosts=[Host(100.0, dies=1.0)])
    assert run.wait()["server"] == 1
    assert "the simulated run cannot go on" in run.err("server")
    assert "Traceback" not in run.err("server")


def test_contributions_that_are_not_finite_are_refused(launch: Launch) -> None:
    body = CHANCE.replace("        loss.backward()", "        (loss * float('nan')).backward()")
    run = start(launch, body)
    assert run.wait()["server"] == 1
    assert "every contribution was refused" in run.err("server")
    assert run.end()[0] is False
