"""Runs of real processes under scripted faults, and whether each kept the promises of ``docs/reliability.md``.

The script trains a small network on the digits and, beside it, one number for each sample, whose loss is the mean of
the numbers in the batch: with plain SGD each must end at ``-epochs * lr / B``, or a sample was lost or counted twice.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import torch

from evener.core import commands as c
from evener.core import events as e
from evener.launch.faults import Injector
from evener.launch.folders import finished
from evener.runtime.place import Place, PolicyChoice
from evener.simulation.sentences import parse_faults
from evener.trace import EventLine, Line, RecordError, record_path
from training.harness import Forge, Run, free_port

PACES = (2000.0, 2000.0, 1000.0, 700.0)
"""Samples/s of the workers, by pauses: they need little of the machine, so a death makes nobody else faster."""

FAST, SLOW = 0, 3

EPOCHS, BATCH, COUNT, RATE = 24, 256, 1280, 1.0
"""Some five seconds. No step is a remainder, so each sample counts the same in each epoch."""

SCRIPT = f"""
import math

from evener.data import digits

PACES, EPOCHS, BATCH, COUNT, RATE = {PACES}, {EPOCHS}, {BATCH}, {COUNT}, {RATE}

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                                  nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
        self.times = nn.Parameter(torch.zeros(COUNT))

torch.manual_seed(0)
train, test = digits()
x, y = (torch.as_tensor(part)[:COUNT] for part in (train.x, train.y))
net = Net()
groups = [{{"params": net.body.parameters(), "momentum": 0.9}}, {{"params": [net.times], "lr": RATE}}]
optimizer = torch.optim.SGD(groups, lr=0.1)
falling = [lambda epoch: 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS)), lambda epoch: 1.0]
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, falling)
loader = DataLoader(TensorDataset(x, y, torch.arange(COUNT)), batch_size=BATCH, shuffle=True)
session = evener.join()
net, optimizer, loader = session.prepare(net, optimizer, loader, epoch_scheduler=schedule)
for epoch in session.epochs(EPOCHS):
    for images, labels, where in loader:
        time.sleep(len(where) / PACES[index])
        optimizer.zero_grad()
        (nn.functional.cross_entropy(net.body(images), labels) + net.times[where].mean()).backward()
        optimizer.step()
net.eval()
with torch.no_grad():
    right = net.body(torch.as_tensor(test.x)).argmax(1) == torch.as_tensor(test.y)
keep(times=net.times.detach().clone(), accuracy=right.float().mean().item())
"""

HANGS = 90.0
"""Seconds in which any of these runs must be over."""

FAREWELL, FAREWELL_LATE = 30.0, 3.0
"""Seconds that workers get to end by themselves after the server: who was stopped until then must find out that it is
gone. Who is started again too late to join never will, and would be ended by a launcher."""

RESTART = 0.5
"""Seconds after which a worker that was killed is started again, where the trial says so."""

BACK = 2.0
"""Seconds after a death in which the others must be as fast as before."""

WINDOW = 1.0
"""Seconds over which throughput is measured."""

AS_BEFORE = 0.75
"""Part of the throughput before that counts as the same: a window has some twenty steps, and they vary."""


@dataclass(frozen=True)
class Trial:
    """What is done to one run. ``policy`` by name; ``restart``: who is killed is started again."""

    name: str
    faults: tuple[str, ...]
    policy: str = "balanced"
    restart: bool = False
    options: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """All of it, to run it by hand."""
        return f"{self.policy}{' --restart' if self.restart else ''}: {'; '.join(self.faults) or 'nothing happens'}"


@dataclass
class Result:
    """What came of it. ``problems`` are broken promises; ``hit`` is what was done.

    In seconds: how long the others needed to be as fast as before, after each death; the longest time in which nothing
    of theirs was applied; and that in which not even we ran (``stood``), which is the machine's doing.
    """

    trial: Trial
    problems: list[str] = field(default_factory=list)
    hit: list[str] = field(default_factory=list)
    deaths: int = 0
    accuracy: float = 0.0
    seconds: float = 0.0
    recovery: list[float] = field(default_factory=list)
    longest: float = 0.0
    stood: float = 0.0


class Process:
    """A process of the forge, as the injector sees a launcher's child."""

    def __init__(self, forge: Forge, name: str, pid: int) -> None:
        self.name, self.pid, self.struck, self.asked, self.exited = name, pid, False, False, None
        self.process = self
        self._exits = forge.exits

    @property
    def code(self) -> int | None:
        return self._exits.get(self.pid)


class Arena:
    """Runs trials, one after the other.

    Args:
        forge: starts the processes.
        folder: of the runs; that of a trial that kept all promises is removed.
        workers: how many.
    """

    def __init__(self, forge: Forge, folder: Path, workers: int = len(PACES)) -> None:
        self._forge = forge
        self._folder = folder
        self._workers = workers
        self._count = 0

    def run(self, trial: Trial, accuracy: float = 0.0) -> Result:
        """Run it, and judge it; ``accuracy``: the least that will do."""
        folder = self._folder / f"{self._count:03d}-{'-'.join(trial.name.split())}"
        self._count += 1
        folder.mkdir(parents=True)
        place = Place(
            role="worker",
            address=f"tcp://127.0.0.1:{free_port()}",
            token="secret",
            run=folder.name,
            workers=self._workers,
            policy=PolicyChoice(trial.policy, dict(trial.options)),
            threads=1,
            device="cpu",
            patience=5.0,  # who dies at join is not waited for any longer
        )
        result, processes, before = Result(trial), list[Process](), shared_memory()
        run = Run(self._forge, folder, SCRIPT, place)
        try:
            processes = self._let_run(run, trial, result)
            if not result.problems:
                self._judge(run, processes, result, accuracy)
        except (AssertionError, RecordError) as error:
            result.problems.append(str(error).split("\n")[0] or type(error).__name__)
        finally:
            run.close()
        result.problems += left_behind(folder, {run.pids["server"], *(process.pid for process in processes)}, before)
        if not result.problems:
            shutil.rmtree(folder)
        return result

    # One run ------------------------------------------------------------------------------------------------

    def _let_run(self, run: Run, trial: Trial, result: Result) -> list[Process]:
        faults = parse_faults("\n".join(trial.faults))
        record = record_path(run.folder / "record")
        latest: list[Process] = []
        everyone: list[Process] = []
        again: dict[int, float] = {}
        with Injector(faults, record, time.monotonic, result.hit.append) as injector:
            ways = injector.ways(run.place.address)

            def start(index: int) -> Process:
                run.worker(index, address=ways.get(index, run.place.address))
                everyone.append(Process(self._forge, f"worker {index}", run.pids[f"worker{index}"]))
                return everyone[-1]

            run.server(prompt=True)
            server = run.pids["server"]
            latest = [start(index) for index in range(self._workers)]
            now = time.monotonic()
            until = now + HANGS
            while server not in self._forge.exits:
                self._forge.hear(lambda: server in self._forge.exits, 0.005)
                injector.attend(latest)  # type: ignore[arg-type]
                before, now = now, time.monotonic()
                result.stood = max(result.stood, now - before)
                if now > until:
                    result.problems.append(f"it hangs: not over after {HANGS:.0f} s")
                    return everyone
                for index, process in enumerate(latest):
                    if trial.restart and process.code is not None and process.struck:
                        process.struck = False  # counted
                        result.deaths += 1
                        again[index] = now + RESTART
                for index in [index for index, at in again.items() if at <= now]:
                    del again[index]
                    if not finished(record):
                        latest[index] = start(index)
        if not trial.restart:
            result.deaths = sum(process.struck for process in everyone)
        farewell = FAREWELL_LATE if trial.restart else FAREWELL
        ended = self._forge.hear(lambda: all(process.code is not None for process in everyone), farewell)
        for process in everyone:
            if not ended and process.code is None:
                if not trial.restart:
                    result.problems.append(f"{process.name} does not end")
                process.asked = True
                os.killpg(process.pid, signal.SIGKILL)
        self._forge.hear(lambda: all(process.code is not None for process in everyone), 5.0)
        return everyone

    # What must be -------------------------------------------------------------------------------------------

    def _judge(self, run: Run, processes: Sequence[Process], result: Result, accuracy: float) -> None:
        problems, struck = result.problems, {fault.worker for fault in parse_faults("\n".join(result.trial.faults))}
        if code := self._forge.exits[run.pids["server"]]:
            problems.append(f"the server ended with exit code {code}: {run.err('server').strip()[-300:]}")
            return
        for process in processes:
            if process.code and not process.asked and int(process.name.split()[1]) not in struck:
                problems.append(f"{process.name}, to which nothing was done, ended with {process.code}")
        accounting = run.proved()
        if not accounting.complete or accounting.total("applied") != COUNT * EPOCHS:
            problems.append(f"the record: {accounting}")
        kept = run.kept("server")
        times = kept["times"] / (-RATE / BATCH)
        wrong = ~torch.isclose(times, torch.tensor(float(EPOCHS)), rtol=1e-3)
        if wrong.any():
            which = [(int(at), round(float(times[at]), 3)) for at in wrong.nonzero()[:5, 0]]
            problems.append(f"{int(wrong.sum())} samples do not count {EPOCHS} times: {which} …")
        result.accuracy = kept["accuracy"]
        # Others are told apart from undisturbed training by their staleness, whatever happens.
        if result.trial.policy in ("balanced", "synchronous") and result.accuracy < accuracy:
            problems.append(f"test accuracy {result.accuracy:.3f}, below {accuracy:.3f}")
        if not result.trial.restart:  # a cell that hit nobody proves nothing
            problems += [line for line in result.hit if not line.startswith("as scripted")]
        lines = run.lines()
        result.seconds = lines[-1].t  # type: ignore[union-attr]
        if result.trial.policy in ("balanced", "asynchronous") and not result.trial.restart:
            result.recovery, result.longest = recovery(lines, struck), longest_gap(lines, struck)
            allowed = BACK + result.stood
            if result.longest > allowed:
                problems.append(f"the others stalled for {result.longest:.1f} s")
            if any(seconds > allowed for seconds in result.recovery):
                late = f"the others are not as fast as before {allowed:.1f} s after a death"
                problems.append(f"{late}: {result.recovery}")


def applied(lines: Sequence[Line], struck: set[int]) -> list[tuple[float, int]]:
    """When how many samples were applied of those to whom nothing is done."""
    return [
        (line.t, command.samples)
        for line in lines
        if isinstance(line, EventLine)
        for command in line.commands
        if isinstance(command, c.Accumulate) and command.worker not in struck
    ]


def longest_gap(lines: Sequence[Line], struck: set[int]) -> float:
    """Seconds, at most, in which nothing was applied of those to whom nothing is done."""
    times = [t for t, _ in applied(lines, struck)]
    return max((after - before for before, after in pairwise(times)), default=0.0)


def recovery(lines: Sequence[Line], struck: set[int]) -> list[float]:
    """For each death, the seconds until those to whom nothing is done apply as many samples per second as before.

    Deaths too near the beginning or the end to be measured are left out.
    """
    added = applied(lines, struck)
    if not added:
        return []
    first, last = added[0][0], added[-1][0]

    def rate(start: float) -> float:
        return sum(samples for t, samples in added if start <= t < start + WINDOW) / WINDOW

    found = []
    for line in lines:
        if not (isinstance(line, EventLine) and isinstance(line.event, e.Left) and line.event.worker in struck):
            continue
        if line.t - WINDOW < first or line.t + BACK + WINDOW > last:
            continue
        before = rate(line.t - WINDOW)
        starts = [line.t + 0.05 * step for step in range(200)]
        back = next((start for start in starts if rate(start) >= AS_BEFORE * before), None)
        found.append(round(back - line.t, 2) if back is not None else 99.0)
    return found


def shared_memory() -> set[str]:
    """The names of all shared memory of this machine."""
    with contextlib.suppress(OSError):
        return set(os.listdir("/dev/shm"))
    return set()


def left_behind(folder: Path, pids: set[int], before: set[str]) -> list[str]:
    """What is left of a run that is over: processes, sockets, shared memory that was not there ``before``."""
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, 0)
            found.append(f"somebody of the process group {pid} is left")
    # Other programs make some meanwhile; the name has its maker's process id.
    made = {name for name in shared_memory() - before if pids & set(map(int, re.findall(r"\d+", name)))}
    found += [f"shared memory is left: {name}" for name in sorted(made)]
    found += [f"a socket is left: {path}" for path in folder.rglob("*") if path.is_socket()]
    return found
