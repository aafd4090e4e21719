"""Which run is recommended, and with which reason."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.observe import RunSummary, summarise
from evener.observe.compare import Compared, best, recommendation, to_dict
from evener.simulation.cluster import Cluster, Host
from tests.trace.simulated_records import simulate


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> RunSummary:
    folder = tmp_path_factory.mktemp("r") / "r"
    simulate(folder, Cluster((Host(400.0), Host(100.0))), Settings(batch=64, epochs=1, workers=2), Balanced(), 640)
    return dataclasses.replace(summarise(folder), test_accuracy=None)


def run(summary: RunSummary, label: str, rate: float, stale: float = 0.0, change: str = "", **more: Any) -> Compared:
    changed = dataclasses.replace(summary, samples_per_second=rate, stale_fraction=stale, **more)
    return Compared(label, changed, change)


def target(seconds: float) -> dict[str, Any]:
    return {"targets": ({"name": "test_accuracy", "value": 0.9, "reached": 0.91, "time_s": seconds},)}


def test_the_fastest_of_those_with_little_staleness(summary: RunSummary) -> None:
    runs = [run(summary, "synchronous", 100), run(summary, "balanced", 300, 0.05), run(summary, "wild", 330, 0.9)]
    said = recommendation(runs)
    assert said.startswith("Take balanced: 300 samples/s, 3 times as many as synchronous")
    assert "wild computes 10% more, but 90% of its samples are stale" in said


def test_of_equals_the_one_with_less_staleness(summary: RunSummary) -> None:
    taken = best([run(summary, "balanced", 300, 0.05), run(summary, "synchronous", 299)])
    assert taken is not None
    assert taken.label == "synchronous"


def test_where_accuracy_is_known_it_counts_and_not_staleness(summary: RunSummary) -> None:
    runs = [
        run(summary, "synchronous", 100, test_accuracy=0.90),
        run(summary, "wild", 330, 0.9, test_accuracy=0.895),
        run(summary, "wilder", 400, 0.9, test_accuracy=0.8),
    ]
    assert recommendation(runs).startswith("Take wild:")
    assert "wilder computes 21% more, but ends at 80.0%" in recommendation(runs)


def test_a_target_decides_where_somebody_reached_it(summary: RunSummary) -> None:
    runs = [
        run(summary, "synchronous", 100, **target(30.0)),
        run(summary, "balanced", 300, 0.05, **target(11.0)),
        run(summary, "wild", 400, 0.9),
    ]
    assert recommendation(runs) == "Take balanced: it reached 90.0% test accuracy in 11.0 s, synchronous in 30.0 s."
    assert "it alone reached" in recommendation(runs[1:])


def test_a_change_is_judged_by_what_it_changes(summary: RunSummary) -> None:
    runs = [run(summary, "balanced", 300), run(summary, "balanced", 240, change="without host 2")]
    taken = best(runs)
    assert taken is runs[1]
    assert "with the change (without host 2) that is 20% less than without it" in recommendation(runs)


def test_what_did_not_end_well_is_not_recommended(summary: RunSummary) -> None:
    runs = [run(summary, "balanced", 300, ok=False)]
    assert best(runs) is None
    assert "None of these runs ended well" in recommendation(runs)
    assert to_dict(runs)["recommended"] is None
