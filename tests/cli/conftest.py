"""A stand-in for a training script: its server writes the record of a simulated run; its workers do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

STAND_IN = """
import json, os, sys
from evener.core import commands as c
from evener.core.policies import POLICIES
from evener.core.state import Settings
from evener.runtime.place import Place
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.trace import Writer

place = Place.here()
if place.role == "server":
    settings = Settings(batch=64, epochs=2, workers=place.workers, seed=place.seed)
    policy = POLICIES[place.policy.name](**place.policy.options)
    cluster = Cluster(tuple(Host(pace=800 / 2**i) for i in range(place.workers)))
    outcome = Simulation(cluster, settings, policy, 640).run()
    fresh = POLICIES[place.policy.name](**place.policy.options)
    with Writer(place.record) as writer:
        writer.header(run=place.run, settings=settings, policy=fresh, parameters=9, script=sys.argv[0],
                      notes=place.notes)
        for t, event, commands in outcome.log:
            writer.event(t, event, commands)
            for command in commands:
                if isinstance(command, c.EndEpoch):
                    about = {"epoch": command.epoch, "version": command.version, "samples": 640, "at": t}
                    writer.note(t, "log", **about, values={"test_accuracy": 0.5 + 0.2 * command.epoch})
        writer.end(t, ok=True, reason="complete", server_cpu_s=0.1)
    print("the server was given", sys.argv[1:])
elif place.role == "limit":
    with open(os.path.join(place.record, f"rate-{place.index}.json"), "w") as file:
        json.dump({"worker": place.index, "sizes": {"16": 1000.0}}, file)
elif "fail" in sys.argv:
    raise SystemExit("this worker fails")
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in's file, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "train.py"
    path.write_text(STAND_IN)
    return path
