"""The server is killed, and goes on from a checkpoint: real processes, exact accounts, the same parameters."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from evener.core import commands as c
from evener.core import events as e
from evener.launch import LaunchError, to_resume
from evener.runtime import keeping
from evener.trace import (
    CheckpointNote,
    Line,
    NoteLine,
    Resumed,
    StartNote,
    WarningNote,
    part_path,
    read,
    record_path,
    set_aside,
)

from .harness import Launch, Run, commands, free_port, says
from .test_exactly_once import SCRIPT, counted_once

OFTEN = 0.02
"""Seconds between two checkpoints."""


def checkpoint(number: int = 1, version: int = 0) -> Callable[[Line], bool]:
    """Whether a line tells of a checkpoint from this number, and this version, on."""

    def wanted(line: Line) -> bool:
        note = line.note if isinstance(line, NoteLine) else None
        return isinstance(note, CheckpointNote) and note.number >= number and note.version >= version

    return wanted


def kill_server(run: Run) -> None:
    run.signal("server", signal.SIGKILL)
    assert run.wait("server")["server"] == -signal.SIGKILL


def resume(run: Run, *arguments: str, **changes: object) -> None:
    set_aside(run.folder / "record")
    run.server(*arguments, resume=str(run.folder / "record"), **changes)
    run.read_anew()


def part(run: Run, number: int) -> Path:
    return part_path(record_path(run.folder / "record"), number)


GATED = """
def at_batch(number):
    if index == 1:
        time.sleep(0.1)  # so that it is not through before the other is back
    elif number == 2:
        let("here")
        wait_for("go on")
"""


@pytest.mark.parametrize(
    ("policy", "options"),
    [
        ("balanced", {"bound": 1}),
        ("balanced", {"bound": 0}),
        ("synchronous", {}),
        ("asynchronous", {}),
        ("delayed", {}),
    ],
)
def test_workers_go_on_with_the_server_that_goes_on(launch: Launch, policy: str, options: dict[str, float]) -> None:
    run = launch(GATED + SCRIPT, policy=policy, gates=["here", "go on"], start=False, **options)
    run.server(checkpoint_every=OFTEN)
    for index in range(2):
        run.worker(index)
    run.wait_for("here")
    run.wait_line(checkpoint(number=3))
    kill_server(run)
    resume(run, checkpoint_every=OFTEN)
    for index in range(2):
        run.wait_line(says(e.Joined, index))
    run.let("go on")
    run.succeed()  # the workers are those of before
    counted_once(run, policy)
    assert {event.worker for event in run.events(e.Joined)} == {0, 1}
    header = next(iter(read(run.folder / "record"))).header
    assert isinstance(header.resumed, Resumed)
    assert header.resumed.part == 1
    first = next(iter(read(part(run, 1)))).header
    assert header.run == first.run


def test_lost_again_and_again(launch: Launch) -> None:
    run = launch("at_batch = lambda number: time.sleep(0.1)" + SCRIPT, start=False, bound=1)
    run.server(checkpoint_every=OFTEN, keep_checkpoints=1)
    for index in range(2):
        run.worker(index)
    run.wait_line(checkpoint(version=1))
    for version in (2, 4):
        kill_server(run)
        resume(run, checkpoint_every=OFTEN, keep_checkpoints=1)
        run.wait_line(checkpoint(version=version))
    run.succeed()
    counted_once(run, "balanced")
    assert part(run, 2).exists()
    assert len(list((run.folder / "record").glob("checkpoint-*"))) == 1


JUMPING = """
import random

told = time.time
time.time = lambda: told() + random.choice((-1.0, 1.0)) * random.uniform(0.0, 1e8)  # years, back and forth


def at_batch(number):
    time.sleep(0.05)
"""


def test_a_clock_that_jumps_changes_nothing(launch: Launch) -> None:
    """Each look at the wall clock gives another year, in all processes; a server is lost meanwhile."""
    run = launch(JUMPING + SCRIPT, start=False, bound=1)
    run.server(checkpoint_every=OFTEN)
    for index in range(2):
        run.worker(index)
    run.wait_line(checkpoint(number=3, version=1))
    kill_server(run)
    resume(run, checkpoint_every=OFTEN)
    run.succeed()
    counted_once(run, "balanced")
    assert {left.reason for left in run.events(e.Left)} <= {"finished"}, "nobody was taken for silent"
    assert all(start.probe_s < 100 for start in run.notes(StartNote))


def test_lost_after_the_last_step_but_before_the_weights_are_there(launch: Launch) -> None:
    """Evaluating the last epoch takes the script's time: the record says complete, and the folder has no weights."""
    body = SCRIPT.replace("keep(", "    if session.is_server:\n        let('over')\n        wait_for('go on')\nkeep(")
    run = launch("at_batch = lambda number: None" + body, gates=["over", "go on"], start=False, bound=1)
    run.server(checkpoint_every=OFTEN)
    for index in range(2):
        run.worker(index)
    run.wait_for("over")
    run.wait_line(commands(c.Finish))
    run.wait("worker0", "worker1")
    kill_server(run)
    record = run.folder / "record"
    assert to_resume(record).standing.version > 0
    (record / "final.pt").write_bytes(b"of a server that was stopped before")
    resume(run, checkpoint_every=OFTEN)
    for index in range(2):
        run.worker(index)
    run.wait_for("over")
    assert not (record / "final.pt").exists()
    run.let("go on")
    run.succeed()
    counted_once(run, "balanced")
    final = torch.load(record / "final.pt", weights_only=True)
    assert torch.equal(*final.values(), run.kept("server")["weights"])
    with pytest.raises(LaunchError, match="is complete: there is nothing to resume"):
        to_resume(record)


# The same parameters to the bit ------------------------------------------------------------------------------

EXACT = """
session = evener.join()
torch.manual_seed(3)
hidden, count, batch, epochs, scale = (int(word) for word in (sys.argv[1:] or "8 200 40 4 1".split()))
data = TensorDataset(scale * torch.randn(count, 6), torch.randn(count, 1))
net = nn.Sequential(nn.Linear(6, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
loader = DataLoader(data, batch_size=batch, shuffle=True)
model, optimizer, loader = session.prepare(
    net,
    optimizer,
    loader,
    step_scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.9),
    epoch_scheduler=torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3], 0.5),
)
for epoch in session.epochs(epochs):
    for number, (x, y) in enumerate(loader):
        at_batch(epoch, number)
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        session.log(loss=loss)
    if session.is_server:
        model.eval()
        with torch.no_grad():
            print("epoch", epoch, flush=True)
            session.log(all_loss=nn.functional.mse_loss(model(data.tensors[0]), data.tensors[1]))
        model.train()
keep(weights=[tensor.clone() for tensor in model.state_dict().values()])
"""
REPRODUCIBLE = {"micro_batch": 8, "seed": 5}
HALF_WAY = """
def at_batch(epoch, number):
    if role == "worker" and epoch >= 1 and not os.path.exists(f"passed {index}"):  # the other may have done epoch 1
        let("here")
        wait_for("go on")
        open(f"passed {index}", "w").close()
"""


def half_way(launch: Launch, **changes: object) -> Run:
    """A run that stands still in its second epoch, with checkpoints of that."""
    run = launch(HALF_WAY + EXACT, gates=["here", "go on"], start=False, bound=0, place=REPRODUCIBLE)
    run.server(checkpoint_every=OFTEN, **changes)
    for index in range(2):
        run.worker(index)
    run.wait_for("here")
    run.wait_line(checkpoint(version=5))
    return run


def fingerprint(run: Run) -> str:
    end = list(read(run.folder / "record"))[-1].end
    assert end.ok
    return str(end.parameters_sha256)


def test_a_resumed_run_computes_what_an_undisturbed_one_does(launch: Launch) -> None:
    plain = launch("at_batch = lambda *_: None" + EXACT, bound=0, place=REPRODUCIBLE)
    plain.succeed()
    run = half_way(launch)
    kill_server(run)
    resume(run)
    for index in range(2):
        run.wait_line(says(e.Joined, index))
    run.let("go on", 2)
    run.succeed()
    assert run.proved().complete
    assert fingerprint(run) == fingerprint(plain)
    # Each epoch was evaluated, and to the same number.
    parts = [read(part(run, 1)), read(run.folder / "record")]
    logged = {
        line.note.epoch: line.note.values
        for lines in parts
        for line in lines
        if isinstance(line, NoteLine) and getattr(line.note, "source", "") == "server"
    }
    assert logged == {note.epoch: note.values for note in plain.logs("server")}
    # The final weights are there for programs that do not know evener.
    final = torch.load(run.folder / "record" / "final.pt", weights_only=True)
    for ours, theirs in zip(final.values(), run.kept("server")["weights"], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 1)])
def test_who_is_asked_to_leave_takes_a_last_checkpoint(launch: Launch, signum: int, code: int) -> None:
    run = launch(HALF_WAY + EXACT, gates=["here", "go on"], workers=1, start=False, bound=0, place=REPRODUCIBLE)
    run.server(checkpoint_every=1000.0)  # one at the beginning
    run.worker(0)
    run.wait_for("here")
    run.signal("server", signum)
    codes = run.wait("server")
    assert codes["server"] in (code, -signum)
    ok, reason = run.end()
    assert not ok
    assert "; --resume goes on from checkpoint 2" in reason, run.told(reason)
    found = keeping.newest(run.folder / "record")
    assert found.head.number == 2
    assert found.head.standing.version >= 5
    run.let("go on", 2)
    run.wait()
    resume(run)
    run.worker(1)
    assert run.wait("server", "worker1") | {"worker0": 0} == {"server": 0, "worker0": 0, "worker1": 0}
    assert run.proved().complete


WHILE_IT_LOGS = """
if role == "server":
    from evener.trace import Writer
    usual = Writer.note

    def note(self, t, kind, **values):
        if kind == "log" and values["source"] == "server":
            with self._changed:  # as it is held for moments while a line is written
                os.kill(os.getpid(), signal.SIGTERM)
        usual(self, t, kind, **values)

    Writer.note = note
"""


def test_a_signal_that_comes_while_the_script_logs_costs_no_checkpoint(launch: Launch) -> None:
    script = WHILE_IT_LOGS + HALF_WAY + EXACT
    run = launch(script, gates=["here", "go on"], workers=1, start=False, bound=0, place=REPRODUCIBLE)
    run.server(checkpoint_every=1000.0)
    run.worker(0)
    assert run.wait("server")["server"] in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert "; --resume goes on from checkpoint 2" in run.end()[1], run.told("the server has ended")
    run.let("go on")
    run.wait()


def test_sigusr1_asks_for_one(launch: Launch) -> None:
    run = launch(HALF_WAY + EXACT, gates=["here", "go on"], workers=1, start=False, bound=0, place=REPRODUCIBLE)
    run.server(checkpoint_every=1000.0)
    run.worker(0)
    run.wait_for("here")
    run.signal("server", signal.SIGUSR1)
    run.wait_line(checkpoint(number=2, version=5))
    run.let("go on")
    run.succeed()


# Refused in words --------------------------------------------------------------------------------------------


@pytest.fixture
def lost(launch: Launch) -> Run:
    """A run whose server is lost, with nobody left."""
    run = half_way(launch)
    kill_server(run)
    for index in range(2):
        run.signal(f"worker{index}", signal.SIGKILL)
    run.wait()
    return run


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "9 200 40 4 1",
            "is of another model: '0.weight' is float32 (8, 6), trained, in the checkpoint but float32 (9,",
        ),
        (
            "8 240 40 4 1",
            "the checkpoint is of a data set with 200 samples an epoch, here are 240: a run goes on with the data that "
            "it began with. Give the script those, or begin another run.",
        ),
        (
            "8 200 40 4 2",
            "the checkpoint is of another data set of the same size (its samples differ): a run goes on with the data "
            "that it began with. Give the script those, or begin another run.",
        ),
        ("8 200 50 4 1", "the run began with batch 40, but here it is 50"),
        ("8 200 40 5 1", "the run began with epochs 4, but here it is 5"),
    ],
)
def test_something_else_is_refused(lost: Run, words: str, said: str) -> None:
    record = lost.folder / "record"
    lost.server(*words.split(), resume=str(record))
    assert lost.wait("server")["server"] == 1
    assert said in lost.err("server"), lost.err("server")
    assert "Traceback" not in lost.err("server")
    assert record_path(record).exists(), "nothing was moved"


def test_a_flipped_bit_costs_one_checkpoint(lost: Run) -> None:
    record = lost.folder / "record"
    newest = keeping.newest(record).path
    whole = bytearray(newest.read_bytes())
    whole[-100] ^= 4
    newest.write_bytes(whole)
    last = keeping.newest(record).head.number
    resume(lost)
    for index in range(2):
        lost.worker(index)
    lost.let("go on", 2)
    lost.wait("server", "worker0", "worker1")
    assert lost.proved().complete
    warned = [note.text for note in lost.notes(WarningNote)]
    why = "its checksum is wrong: it is damaged, or cut short"
    assert f"a newer checkpoint was of no use: {newest.name}: {why}. The run goes on from checkpoint {last}." in warned


def test_nothing_sound(lost: Run) -> None:
    for path in (lost.folder / "record").glob("checkpoint-*"):
        path.write_bytes(path.read_bytes()[:-1])
    lost.server(resume=str(lost.folder / "record"))
    assert lost.wait("server")["server"] == 1
    assert "is sound: checkpoint-" in lost.err("server")
    assert "Put a copy of one into its place, if there is any, or begin another run.\n" in lost.err("server")
    assert "Traceback" not in lost.err("server")


def test_a_second_server_on_the_same_folder(launch: Launch) -> None:
    run = half_way(launch)
    first = run.pids["server"]
    run.server(resume=str(run.folder / "record"), address=f"tcp://127.0.0.1:{free_port()}")
    assert run.wait("server")["server"] == 1
    assert "a server of this run is alive" in run.err("server")
    run.pids["server"] = first
    run.let("go on", 2)
    run.succeed()
    assert run.proved().complete
    assert run.commands(c.Finish)[0].reason == "complete"
