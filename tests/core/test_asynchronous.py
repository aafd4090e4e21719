"""Steps per push: sizes and learning rates."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core.coordinator import Coordinator
from evener.core.policies import Asynchronous, Delayed, Dynamic, PerPush, Stale
from evener.core.state import Settings

from .script import Script

KINDS = [Asynchronous, Delayed, Dynamic, Stale]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("push", "size"), [("auto", 4), (3, 3), (8, 8)])
def test_a_push_is_its_part_of_a_batch_unless_told_otherwise(kind: type[PerPush], push: int | str, size: int) -> None:
    run = Script(kind(push=push), positions=16, batch=8, workers=2)
    run.join(0, 1)
    assert run.samples(run.held(0)[0]) == size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("push", "batch", "valid"), [(9, 8, "2 to 8"), (1, 8, "2 to 8"), (2, 1, "1 to 1")])
def test_a_push_that_does_not_fit_the_batch_is_refused_at_once(
    kind: type[PerPush], push: int, batch: int, valid: str
) -> None:
    with pytest.raises(ValueError, match=f"push must be {valid} samples"):
        Coordinator(Settings(batch, 1), kind(push=push))


@pytest.mark.parametrize(("scaling", "rates"), [("none", [0.5, 0.5, 0.5]), ("staleness", [0.5, 0.5, 0.25])])
def test_the_learning_rate_may_fall_with_staleness(scaling: str, rates: list[float]) -> None:
    run = Script(Asynchronous(rate_scaling=scaling), positions=40, batch=8, workers=2)
    run.join(0, 1)
    for staleness in (0, 1, 2):
        run.push(0, run.held(0)[0], version=run.coordinator.state.version - staleness)
    assert [add.staleness for add in run.of(c.Accumulate)] == [0, 1, 2]
    assert [step.rate_scale for step in run.of(c.Step)] == rates
