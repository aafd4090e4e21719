"""Records for tests, written from simulated runs: no processes, no sleeping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evener.core import commands as c
from evener.core.policies import Policy
from evener.core.state import Settings
from evener.simulation.cluster import Cluster
from evener.simulation.drive import Simulation
from evener.trace import Writer


def simulate(
    folder: Path,
    cluster: Cluster,
    settings: Settings,
    policy: Policy,
    positions: int,
    notes: dict[str, Any] | None = None,
    target: float | None = None,
    end: bool = True,
) -> Path:
    """Run a simulation and write its record into ``folder``, with made-up accuracies; returns ``folder``."""
    simulation = Simulation(cluster, settings, policy, positions)
    outcome = simulation.run()
    applied = 0
    reached = False
    with Writer(folder) as writer:
        writer.header(
            run=folder.name,
            settings=settings,
            policy=policy,
            script="har.py",
            positions=positions,
            parameters=1234,
            notes=notes,
        )
        for worker in range(len(cluster.hosts)):
            who = {"worker": worker, "name": f"worker {worker}", "pid": 100 + worker}
            writer.note(0.0, "worker", **who, host="here", device="cpu")
        for t, event, commands in outcome.log:
            writer.event(t, event, commands)
            for command in commands:
                if isinstance(command, c.Accumulate):
                    applied += command.samples
                if isinstance(command, c.EndEpoch):
                    accuracy = 1 - 0.4 / (command.epoch + 1)
                    about: dict[str, Any] = {"epoch": command.epoch, "version": command.version, "at": t}
                    about["samples"] = applied
                    writer.note(t, "log", **about, values={"loss": 1 - accuracy}, source="workers")
                    writer.note(t, "log", **about, values={"test_accuracy": accuracy}, source="server")
                    if target is not None and accuracy >= target and not reached:
                        reached = True
                        wanted = {"name": "test_accuracy", "value": target}
                        writer.note(t, "target", **wanted, reached=accuracy, at=t)
        if end:
            finish = outcome.finish
            assert finish is not None
            t = outcome.log[-1][0]
            cpu = dict.fromkeys(range(len(cluster.hosts)), 0.5)
            writer.end(t, ok=finish.ok, reason=finish.reason, server_cpu_s=0.05 * t, workers_cpu_s=cpu)
    return folder
