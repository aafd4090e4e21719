"""Logs, targets, snapshots, and ways to leave."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.trace import EventLine, Line, TargetNote, WorkerNote

from .harness import Launch, commands

LOGGED = """
session = evener.join()
model = nn.Linear(1, 1, dtype=torch.float64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loader = DataLoader(Positions(100), batch_size=20, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader)
same = True
for epoch in session.epochs(5):
    for positions in loader:
        optimizer.zero_grad()
        mean = positions.double().mean()
        session.log(before=mean, twice=1.0)
        model(positions[:, None].double() / 100).mean().backward()
        session.log(twice=mean.item())
        optimizer.step()
        session.log(after=mean, error=2.0 - epoch)
    if session.is_server:
        now = state(model)
        if epoch == 0:
            let("evaluating")
            wait_for("evaluated")
        same = same and all(torch.equal(now[name], tensor) for name, tensor in state(model).items())
        session.log(quality=torch.tensor(epoch + 1.0), none=float("nan"))
keep(same=same, after=state(model))
"""


def holds(epoch: int) -> Callable[[Line], bool]:
    """Whether a line has all hold before this epoch."""

    def found(line: Line) -> bool:
        said = line.commands if isinstance(line, EventLine) else ()
        return any(isinstance(one, c.Hold) and one.epoch == epoch for one in said)

    return found


def test_metrics_targets_and_snapshots(launch: Launch) -> None:
    targets = {"quality": 2.5, "error": 1.0, "never": 1.0}
    run = launch(LOGGED, gates=["evaluating", "evaluated"], place={"targets": targets})
    run.wait_for("evaluating")
    # Two more epochs' snapshots may wait for a slow evaluation; then all hold, and the record says so.
    run.wait_line(commands(c.EndEpoch), count=3)
    run.wait_line(holds(3))
    assert {hold.epoch for hold in run.commands(c.Hold)} <= {2, 3}  # 2: the server began with the first one late
    assert [end.epoch for end in run.commands(c.EndEpoch)] == [0, 1, 2]
    run.let("evaluated")
    run.succeed()

    assert run.kept("server")["same"]
    ours, theirs = run.kept("server")["after"], run.kept("worker1")["after"]
    assert all((ours[name] == theirs[name]).all() for name in ours)
    workers = run.logs("workers")
    assert [note.epoch for note in workers] == [0, 1, 2, 3, 4]
    for note in workers:
        assert (note.version, note.samples) == (5 * (note.epoch + 1), 100 * (note.epoch + 1))
        # Logged before or after the step, what counts is the mean over the samples.
        means = {name: note.values[name] for name in ("before", "after", "twice")}
        assert means == pytest.approx(dict.fromkeys(means, 49.5))
        assert note.values["error"] == 2.0 - note.epoch
    server = run.logs("server")
    assert [(note.epoch, note.version, note.samples) for note in server] == [
        (epoch, 5 * (epoch + 1), 100 * (epoch + 1)) for epoch in range(5)
    ]
    assert [note.at for note in server] == [note.at for note in workers]
    assert server[1].values == {"quality": 2.0, "none": None}
    # Each target once: an error is to be small, a quality great.
    reached = {note.name: (note.value, note.reached, note.at) for note in run.notes(TargetNote)}
    assert reached == {"error": (1.0, 1.0, workers[1].at), "quality": (2.5, 3.0, server[2].at)}
    assert len(run.notes(TargetNote)) == 2
    assert {note.worker: note.pid for note in run.notes(WorkerNote)} == {
        0: run.pids["worker0"],
        1: run.pids["worker1"],
    }
    assert run.end() == (True, "complete")
    assert run.proved().complete


LEAVING = """
session = evener.join()
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loader = DataLoader(Positions(600), batch_size=30)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(2):
    for number, positions in enumerate(loader):
        optimizer.zero_grad()
        model(positions[:, None].float()).mean().backward()
        optimizer.step()
        if number == 3 and index == 0:
            raise KeyError("a mistake in the script")
        if number == 3 and index == 1:
            break
    if index == 1:
        break
keep(after=state(model))
"""


def test_the_others_finish_when_workers_leave(launch: Launch) -> None:
    run = launch(LEAVING, workers=3, policy="synchronous")
    assert run.wait() == {"server": 0, "worker0": 1, "worker1": 0, "worker2": 0}
    assert "KeyError: 'a mistake in the script'" in run.err("worker0")
    assert run.err("worker1") == run.err("worker2") == ""
    reasons = {event.worker: event.reason for event in run.events(e.Left)}
    assert (reasons[0], reasons[1]) == ("its script left the loop",) * 2
    assert run.end() == (True, "complete")
    accounting = run.proved()
    assert (accounting.complete, accounting.total("applied")) == (True, 1200)


STOPPED = """
session = evener.join()
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loader = DataLoader(Positions(60), batch_size=30)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(100_000):
    for positions in loader:
        optimizer.zero_grad()
        model(positions[:, None].float()).mean().backward()
        optimizer.step()
    if session.is_server and epoch == 1:
        if sys.argv[1] == "raise":
            raise KeyError("a mistake in the evaluation")
        break
keep(after=state(model))
"""


@pytest.mark.parametrize(
    ("how", "code", "reason"),
    [("break", 0, "the script on the server left the loop"), ("raise", 1, "the script on the server ")],
)
def test_leaving_the_loop_on_the_server_ends_the_run(launch: Launch, how: str, code: int, reason: str) -> None:
    run = launch(STOPPED, how)
    assert run.wait() == {"server": code, "worker0": 0, "worker1": 0}
    assert run.end()[1].startswith(reason)
    assert not run.end()[0]
    assert run.proved().counted_once
    assert ("a mistake in the evaluation" in run.err("server")) == (how == "raise")
    ends = [run.kept(name)["after"] for name in ("worker0", "worker1")]
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])
