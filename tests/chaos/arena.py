"""Runs of real processes under scripted faults, and whether each kept the promises of ``docs/reliability.md``."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from evener.launch.faults import Injector
from evener.launch.folders import finished
from evener.runtime.place import Place, PolicyChoice
from evener.simulation.faults import SERVER, Fault
from evener.simulation.sentences import parse_faults
from evener.trace import RecordError, part_path, record_path, replay, set_aside
from training.harness import Forge, Run, free_port

from .judging import WITHIN, all_lines, deaths, left_behind, longest_gap, recovery, shared_memory
from .script import BATCH, COUNT, RATE, body

PACES = (2000.0, 2000.0, 1000.0, 700.0)
"""Samples/s of the workers, by pauses: they need little of the machine, so a death makes nobody else faster."""

FAST, SLOW = 0, 3

HANGS = 90.0
"""Seconds in which any of these runs must be over, and how long it takes and what happens to it beside."""

FAREWELL, FAREWELL_LATE = 30.0, 3.0
"""Seconds that workers get to end by themselves after the server: who was stopped until then must find out that it is
gone. Who is started again too late to join never will, and would be ended by a launcher."""

RESTART = 0.5
"""Seconds after which a worker that was killed is started again, where the trial says so."""

RESTORED = 5.0
"""Seconds after what happened to the server in which all must be as fast as before."""

BUSY = 2.0
"""Processes for each core that want to run, on average of a minute, from which on times say nothing of the run."""

CHECKPOINTS = 0.25
"""Seconds from one to the next."""


@dataclass(frozen=True)
class Trial:
    """What is done to one run.

    Attributes:
        name: of the trial.
        faults: in sentences. A server that is killed goes on from its newest checkpoint, as ``evener run`` lets it.
        policy: by name.
        restart: workers that are killed are started again.
        epochs: how many; 24 take some five seconds.
        part: of their paces at which the workers work.
        jumps: every process's wall clock jumps, by years, whenever it is read.
        dies_in: what the server is about to do to a checkpoint's file when it is killed; see ``Files``.
    """

    name: str
    faults: tuple[str, ...] = ()
    policy: str = "balanced"
    restart: bool = False
    epochs: int = 24
    part: float = 1.0
    jumps: bool = False
    dies_in: str = ""

    @property
    def plain(self) -> Trial:
        """The same without anything happening."""
        return Trial(f"undisturbed {self.policy}", (), self.policy, epochs=self.epochs, part=self.part)

    @property
    def fates(self) -> tuple[Fault, ...]:
        """What happens."""
        return parse_faults("\n".join(self.faults))

    @property
    def seconds(self) -> float:
        """Roughly how long it takes."""
        longest = max((fault.seconds or 0.0 for fault in self.fates), default=0.0)
        return self.epochs * COUNT / sum(PACES) / self.part + longest

    @property
    def words(self) -> str:
        """All of it, to run it by hand."""
        return f"{self.policy}{' --restart' if self.restart else ''}: {'; '.join(self.faults) or 'nothing is done'}"


@dataclass
class Result:
    """What came of it. ``problems`` are broken promises; ``hit`` is what was done.

    In seconds: how long the others needed to be as fast as before, after each death, and all after each time that
    something was done to the server (``restored``); the longest time in which nothing of the others' was applied; and
    that in which not even we ran (``stood``), which is the machine's doing. Times are judged where others left it
    alone; ``load`` is that of the machine.
    """

    trial: Trial
    problems: list[str] = field(default_factory=list)
    hit: list[str] = field(default_factory=list)
    deaths: int = 0
    accuracy: float = 0.0
    seconds: float = 0.0
    recovery: list[float] = field(default_factory=list)
    restored: list[float] = field(default_factory=list)
    longest: float = 0.0
    stood: float = 0.0
    load: float = 0.0

    @property
    def busy(self) -> bool:
        """Whether others used the machine, so that times are measured but not judged."""
        return self.load > BUSY * (os.cpu_count() or 1)


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
            policy=PolicyChoice(trial.policy),
            threads=1,
            device="cpu",
            patience=5.0,  # who dies at join is not waited for any longer
        )
        paces = tuple(pace * trial.part for pace in PACES)
        run = Run(self._forge, folder, body(trial.policy, trial.epochs, paces, trial.jumps, trial.dies_in), place)
        result, before = Result(trial), shared_memory()
        bout = Bout(self._forge, run, result)
        try:
            bout.go(self._workers)
            if not result.problems:
                bout.judge(accuracy)
        except (AssertionError, RecordError) as error:
            result.problems.append(str(error).split("\n")[0] or type(error).__name__)
        finally:
            run.close()
        result.problems += left_behind(folder, {process.pid for process in bout.everyone}, before)
        if not result.problems:
            shutil.rmtree(folder)
        return result


class Bout:
    """One run.

    Attributes:
        everyone: all processes that there were.
    """

    def __init__(self, forge: Forge, run: Run, result: Result) -> None:
        self.everyone: list[Process] = []
        self._forge = forge
        self._run = run
        self._trial = result.trial
        self._result = result
        self._struck = {fault.worker for fault in self._trial.fates}
        self._record = record_path(run.folder / "record")
        self._began: list[float] = []  # when each part of the record did
        self._records = False  # the server that there is now; it may be killed before it does
        self._done_at: list[float] = []  # when each of result.hit was said
        self._late = False

    # What is done -------------------------------------------------------------------------------------------

    def go(self, workers: int) -> None:
        """Until it is over."""
        trial, result, forge, run = self._trial, self._result, self._forge, self._run
        server = self._start_server("first")
        again: dict[int, float] = {}
        with Injector(trial.fates, self._record, time.monotonic, self._note) as injector:
            ways = injector.ways(run.place.address)
            latest = [self._start(index, ways) for index in range(workers)]
            now = time.monotonic()
            until = now + HANGS + 2 * trial.seconds
            while True:
                forge.hear(lambda: server.pid in forge.exits, 0.005)  # noqa: B023  it is called at once
                before, now = now, time.monotonic()
                result.stood = max(result.stood, now - before)
                injector.attend([server, *latest])  # type: ignore[list-item]
                if not self._records and self._record.exists():
                    self._records = True
                    self._began.append(now)
                if now > until:
                    result.problems.append(f"it hangs: not over after {until - now + HANGS:.0f} s")
                    return
                for index, process in enumerate(latest):
                    if trial.restart and process.code is not None and process.struck:
                        process.struck = False  # counted
                        result.deaths += 1
                        again[index] = now + RESTART
                if server.code is not None:
                    if not self._goes_on(server):
                        break
                    injector.follow_on([server, *latest])  # type: ignore[list-item]
                    set_aside(run.folder / "record")
                    server = self._start_server("again", resume=str(run.folder / "record"))
                for index in [index for index, at in again.items() if at <= now]:
                    del again[index]
                    if not finished(self._record):
                        latest[index] = self._start(index, ways)
        if server.code and not server.struck:
            result.problems.append(f"the server ended with {server.code}: {run.err('server').strip()[-300:]}")
            return
        if not trial.restart:
            result.deaths += sum(process.struck for process in self.everyone if process.name != "the server")
        self._let_end()

    def _start_server(self, life: str, **changes: str) -> Process:
        self._records = False
        every = CHECKPOINTS if SERVER in self._struck or self._trial.dies_in else 0.0
        self._run.server(life, prompt=True, checkpoint_every=every, **changes)
        return self._add("the server", "server")

    def _start(self, index: int, ways: dict[int, str]) -> Process:
        self._run.worker(index, address=ways.get(index, self._run.place.address))
        return self._add(f"worker {index}", f"worker{index}")

    def _add(self, name: str, key: str) -> Process:
        self.everyone.append(Process(self._forge, name, self._run.pids[key]))
        return self.everyone[-1]

    @property
    def _servers(self) -> int:
        return sum(process.name == "the server" for process in self.everyone)

    def _goes_on(self, server: Process) -> bool:
        """Whether this server was killed before the run was over."""
        if self._trial.dies_in and self._servers == 1 and server.code == -signal.SIGKILL:
            self._note(f"as scripted: the server dies before it could {self._trial.dies_in} a checkpoint")
            server.struck = True
        if not server.struck:
            return False
        self._result.deaths += 1
        self._late = finished(self._record)
        return not self._late

    def _note(self, text: str) -> None:
        self._result.hit.append(text)
        self._done_at.append(time.monotonic())

    def _let_end(self) -> None:
        """The workers find out that it is over."""
        forge, everyone, restart = self._forge, self.everyone, self._trial.restart
        farewell = FAREWELL_LATE if restart or self._late else FAREWELL
        ended = forge.hear(lambda: all(process.code is not None for process in everyone), farewell)
        for process in everyone:
            if not ended and process.code is None:
                if not restart and not self._late:
                    self._result.problems.append(f"{process.name} does not end")
                process.asked = True
                os.killpg(process.pid, signal.SIGKILL)
        forge.hear(lambda: all(process.code is not None for process in everyone), 5.0)

    # What must be -------------------------------------------------------------------------------------------

    def judge(self, accuracy: float) -> None:
        """Whether all promises were kept."""
        trial, result, run = self._trial, self._result, self._run
        problems, meant = result.problems, {fault.who for fault in trial.fates}
        for process in self.everyone:
            struck = process.asked or process.struck
            if process.code and not struck and process.name not in meant and not self._late:
                problems.append(f"{process.name}, to which nothing was done, ended with {process.code}")
        accounting = run.proved()
        number = 1
        while (part := part_path(self._record, number)).exists():
            if (difference := replay(part)) is not None:
                problems.append(f"part {number} of the record: {difference}")
            number += 1
        if not accounting.complete or accounting.total("applied") != COUNT * trial.epochs:
            problems.append(f"the record: {accounting}")
        if not self._late:  # a server that was killed after the end has nothing to show
            self._judge_result(accuracy)
        if not trial.restart:  # a cell that hit nobody proves nothing
            problems += [line for line in result.hit if not line.startswith("as scripted")]
            if trial.dies_in and not result.deaths:
                problems.append(f"no checkpoint came to {trial.dies_in}")
        self._judge_times()

    def _judge_result(self, accuracy: float) -> None:
        kept, epochs, problems = self._run.kept("server"), self._trial.epochs, self._result.problems
        times = kept["times"] / (-RATE / BATCH)
        wrong = ~torch.isclose(times, torch.tensor(float(epochs)), rtol=1e-3)
        if wrong.any():
            which = [(int(at), round(float(times[at]), 3)) for at in wrong.nonzero()[:5, 0]]
            problems.append(f"{int(wrong.sum())} samples do not count {epochs} times: {which} …")
        self._result.accuracy = kept["accuracy"]
        if self._result.accuracy < accuracy:
            problems.append(f"test accuracy {self._result.accuracy:.3f}, below {accuracy:.3f}")

    def _judge_times(self) -> None:
        trial, result, problems = self._trial, self._result, self._result.problems
        lines = all_lines(self._record, self._began)
        result.load = os.getloadavg()[0]
        result.seconds = lines[-1].t - lines[0].t  # type: ignore[union-attr]
        if trial.restart:
            return
        if outages := self._outages():
            result.restored = recovery(lines, self._struck, outages, RESTORED)
            if any(seconds > RESTORED + result.stood for seconds in result.restored) and not result.busy:
                problems.append(f"not as fast as before {RESTORED:.0f} s after what was done: {result.restored}")
        elif trial.policy in ("balanced", "asynchronous"):
            spans = [(at, at) for at in deaths(lines, self._struck)]
            result.recovery, result.longest = recovery(lines, self._struck, spans), longest_gap(lines, self._struck)
            allowed = WITHIN + result.stood
            if result.busy:
                return
            if result.longest > allowed:
                problems.append(f"the others stalled for {result.longest:.1f} s")
            if any(seconds > allowed for seconds in result.recovery):
                late = f"the others are not as fast as before {allowed:.1f} s after a death"
                problems.append(f"{late}: {result.recovery}")

    def _outages(self) -> Sequence[tuple[float, float]]:
        """From when to when something was done to the server."""
        length = {
            f"as scripted: {fault}": fault.seconds or 0.0 for fault in self._trial.fates if fault.worker == SERVER
        }
        done = list(zip(self._result.hit, self._done_at, strict=True))
        found = [(at, at + length[text]) for text, at in done if text in length]
        return found + [(at, at) for text, at in done if text.startswith("as scripted: the server dies")]
