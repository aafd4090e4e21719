"""Run a script as a simulated cluster, in one process: real gradients, virtual time."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ..runtime.place import DETERMINISTIC, Place, PolicyChoice
from ..simulation.cluster import Cluster
from ..trace import record_path
from ._opening import opened
from ._places import THREADS
from ._signals import Signals
from .crew import Child, Crew
from .ending import STOP_NOW, RunResult, see_above
from .options import LaunchError, check_policy, check_record, check_script, check_targets
from .screen import Screen

NEVER_JOINED = (
    "{script} ended without training in 'for epoch in session.epochs(n):', so there was nothing to simulate. Call "
    "session = evener.join(), then model, optimizer, loader = session.prepare(model, optimizer, loader)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateOptions:
    """A simulated run.

    Attributes:
        script: the Python file that the process runs.
        cluster: what to simulate. The run's seed is added to that of its noise.
        arguments: the script's.
        policy: by name, with the options that differ from the policy's own defaults.
        seed: of the run; the same seed gives the same record, to the byte.
        micro_batch: samples of a micro-batch in a reproducible run, which ends with the same parameters, to the bit, as
            a real one (:class:`~evener.launch.RunOptions`). 0: not reproducible in this sense.
        targets: metrics whose reaching is noted, with the value to reach.
        record: folder for the run's record; ``None``: ``runs/<run id>`` below the current folder.
        threads: of torch. More than one is faster for large models, and sums in another order.
    """

    script: Path
    cluster: Cluster
    arguments: tuple[str, ...] = ()
    policy: PolicyChoice = field(default_factory=PolicyChoice)
    seed: int = 0
    micro_batch: int = 0
    targets: dict[str, float] = field(default_factory=dict)
    record: Path | None = None
    threads: int = 1

    def check(self) -> None:
        """Find out what can be found out before anything is started.

        Raises:
            LaunchError: with the first thing that is wrong.
        """
        check_script(self.script)
        check_policy(self.policy, self.micro_batch)
        check_targets(self.targets)
        check_record(self.record)
        if self.threads < 1:
            raise LaunchError(f"torch needs at least 1 thread, not {self.threads}.")
        if self.micro_batch and self.threads > 1:
            raise LaunchError("a reproducible run has 1 torch thread: several add up in another order. Leave them out.")

    def place(self, folder: Path) -> Place:
        """The place of the run's process. All of it but ``folder`` is the same for the same options."""
        cluster = dataclasses.replace(self.cluster, seed=self.cluster.seed + self.seed)
        place = Place(
            role="simulated",
            address="",
            token="",
            run="",
            workers=cluster.at_start,
            policy=self.policy,
            seed=self.seed,
            micro_batch=self.micro_batch,
            targets=self.targets,
            threads=self.threads,
            device="cpu",
            cluster=msgspec.to_builtins(cluster),
            notes={"script": self.script.name, **cluster_notes(cluster)},
        )
        what = msgspec.json.encode((place, self.script.name, self.arguments))
        run = f"simulated-{hashlib.blake2b(what, digest_size=4).hexdigest()}"
        return msgspec.structs.replace(place, run=run, record=str(folder))


def cluster_notes(cluster: Cluster) -> dict[str, Any]:
    """What a record's header notes of the hosts."""
    return {"speeds": [host.pace for host in cluster.hosts], "slowness": "simulated"}


def simulate(options: SimulateOptions, screen: Screen | None = None) -> RunResult:
    """Run a script as a simulated cluster, and wait for its end.

    Several may run at once, each from a process of its own. Ctrl-C, SIGTERM and SIGHUP end the run.

    Args:
        options: what to simulate.
        screen: where output goes; by default as the process prints it.

    Raises:
        LaunchError: the run cannot be started; nothing was.
    """
    with opened(options, screen) as run:
        place = options.place(run.folder)
        threads = dict.fromkeys(THREADS, str(options.threads))
        environment = {
            **(DETERMINISTIC if options.micro_batch else {}),
            **os.environ,
            **threads,
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
            **place.environment(),
        }
        command = [sys.executable, str(options.script), *options.arguments]
        with run.crew() as crew:
            child = crew.start("the simulated run", command, environment)
            _attend(crew, child, run.signals)
        problems = _problems(child, options, record_path(run.folder))
        for problem in problems:
            run.screen.note(problem)
        code = 0 if not problems else 1 if child.code else 2
        return RunResult(run.signals.exit_code or code, place.run, run.folder, problems)


def _attend(crew: Crew, child: Child, signals: Signals) -> None:
    asked = 0
    while crew.alive:
        crew.attend()
        if len(signals.received) > asked:
            asked = len(signals.received)
            if asked > 1:
                crew.kill()
                return
            crew.screen.note(f"stopping, as {signals.received[0].name} asks. Once more ends everything at once.")
            crew.end(child, STOP_NOW)
    crew.screen.tick()


def _problems(child: Child, options: SimulateOptions, record: Path) -> tuple[str, ...]:
    if child.asked:
        return ()
    if child.code:
        return (f"{child.name} {child.how}.{see_above(child)}",)
    if not record.exists():
        return (NEVER_JOINED.format(script=options.script),)
    return ()
