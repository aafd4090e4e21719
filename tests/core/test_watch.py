"""The convergence watch: it names what is wrong, and is silent about what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.script import Script
from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import Balanced, Synchronous
from evener.core.series import WINDOW
from evener.core.watch import REFUSED, REPEAT, Contribution, Watch

NOT_FINITE = "its gradient has values that are not finite"


@dataclass(frozen=True)
class Training:
    """A made-up run: every sample has a loss with a heavy tail and a gradient that goes with it; both fall.

    ``shares`` are the workers' parts of a batch, ``spread`` is the standard deviation of the logarithm of a sample's
    loss, ``half`` the steps in which the mean loss halves, down to ``floor`` times where it began. ``shift`` is added
    to all losses. ``stale``: part of each contribution that is one step old.
    """

    shares: tuple[int, ...] = (64, 32, 16)
    spread: float = 1.0
    half: float = 20.0
    floor: float = 1e-4
    shift: float = 0.0
    stale: float = 0.0
    steps: int = 200
    seed: int = 0
    collects: bool = True

    def contributions(self) -> list[list[Contribution]]:
        """Those of each step."""
        rng = np.random.default_rng(self.seed)
        found = []
        for step in range(self.steps):
            level = max(2.0 ** (-step / self.half), self.floor)
            added = []
            for worker, k in enumerate(self.shares):
                losses = level * np.exp(self.spread * rng.standard_normal(k) - self.spread**2 / 2)
                gradients = losses[:, None] * (rng.standard_normal((k, 8)) + 1.0)
                norm, loss = float(np.linalg.norm(gradients.mean(0))), float(losses.mean()) + self.shift
                stale = round(self.stale * k)
                added.append(Contribution(worker, max(0, step - (stale > 0)), k, stale, norm, loss))
            if self.collects:
                found.append(added)
            else:
                found += [[one] for one in added]
        return found

    def warnings(
        self,
        change: Callable[[int, Contribution], Contribution] = lambda step, one: one,
        options: Mapping[str, object] | None = None,
    ) -> list[tuple[int, c.Warn]]:
        """What the watch says, and at which step, if ``change`` happens to the contributions."""
        watch = Watch(sum(self.shares), self.collects, options)
        said = []
        for step, added in enumerate(self.contributions()):
            for one in added:
                watch.accepted(step, change(step, one))
            said += [(step, warning) for warning in watch.stepped(step)]
        return said


trainings = st.builds(
    Training,
    shares=st.lists(st.sampled_from((1, 2, 8, 16, 64, 200)), min_size=1, max_size=5).map(tuple),
    spread=st.sampled_from((0.0, 0.5, 1.0, 1.5)),
    half=st.sampled_from((1.0, 5.0, 50.0, 1e9)),
    floor=st.sampled_from((1.0, 1e-2, 1e-6)),
    shift=st.sampled_from((0.0, -0.5, -100.0, 1e3)),
    stale=st.sampled_from((0.0, 0.1, 1.0)),
    seed=st.integers(0, 10_000),
    collects=st.booleans(),
)


@settings(max_examples=150, deadline=None)
@given(trainings)
def test_noise_is_no_alarm(training: Training) -> None:
    assert training.warnings() == []


@settings(max_examples=50, deadline=None)
@given(trainings, st.integers(0, 150), st.sampled_from((0.0, 1e3, 1e12)))
def test_a_spike_is_no_alarm(training: Training, at: int, height: float) -> None:
    def spike(step: int, one: Contribution) -> Contribution:
        assert one.loss is not None
        return replace(one, norm=one.norm + height, loss=one.loss + height) if at <= step < at + 2 else one

    assert training.warnings(spike) == []


def _risen(factor: float) -> Callable[[int, Contribution], Contribution]:
    """The loss goes back to ``factor`` times where it began, from step 60 on."""
    return lambda step, one: replace(one, loss=factor) if step >= 60 else one


@pytest.mark.parametrize("factor", [1.0, 3.0, 1e9])
def test_a_loss_that_loses_all_it_gained_is_told_of_once(factor: float) -> None:
    ((step, warning),) = Training().warnings(_risen(factor))
    assert 60 < step < 60 + WINDOW
    assert warning.cause == "learning rate"
    assert "clip_norm=" in warning.text


def test_a_loss_that_never_fell_must_rise_far_above_its_beginning() -> None:
    flat = Training(half=1e9, spread=0.1, steps=120)
    assert flat.warnings(_risen(2.7)) == []
    assert [warning.cause for _, warning in flat.warnings(_risen(3.3))] == ["learning rate"]


def test_a_norm_that_explodes_is_told_of_without_a_loss() -> None:
    def explode(step: int, one: Contribution) -> Contribution:
        return replace(one, loss=None, norm=one.norm * (1e6 if step >= 60 else 1.0))

    ((step, warning),) = Training(half=1e9).warnings(explode)
    assert step < 60 + WINDOW
    assert "gradient norm" in warning.text
    assert warning.cause == "learning rate"


@pytest.mark.parametrize("blind", [False, True])
def test_a_network_that_blows_up_and_dies_is_told_of(blind: bool) -> None:
    def die(step: int, one: Contribution) -> Contribution:
        loss = None if blind else 1.0 if step > 6 else 10.0**step
        return replace(one, norm=0.1 if step > 6 else 50.0**step, loss=loss)

    assert [warning.cause for _, warning in Training().warnings(die)] == ["learning rate"]


def test_gradients_that_grow_while_the_loss_falls_are_healthy() -> None:
    def leave(step: int, one: Contribution) -> Contribution:
        return replace(one, norm=min(10.0, 1e-6 * 1.5**step))

    assert Training().warnings(leave) == []


def test_it_is_said_again_only_much_later() -> None:
    training = Training(shares=(32,), steps=REPEAT + 200, spread=0.1)
    first, second = (step for step, _ in training.warnings(_risen(5.0)))
    assert second == first + REPEAT


@pytest.mark.parametrize(
    ("collects", "options", "advice"),
    [
        (True, {"bound": 1, "stale_fraction": 0.5}, "lower --stale-fraction or set a smaller --bound"),
        (True, {"bound": 1, "stale_fraction": 0.0}, "set a smaller --bound"),
        (False, {}, "use --policy balanced"),
        (False, {"rate_scaling": "none"}, "set --option rate_scaling=staleness or use --policy balanced"),
        (False, {"rate_scaling": "staleness"}, "use --policy balanced"),
        (False, {"s_min": 1, "s_max": 9}, "set a smaller --option s_max or use --policy balanced"),
        (False, {"delay": "auto"}, "set a smaller --delay or use --policy balanced"),
    ],
)
def test_staleness_is_named_with_the_options_that_the_policy_has(
    collects: bool, options: dict[str, object], advice: str
) -> None:
    training = Training(stale=0.5, collects=collects)
    (warning,) = (warning for _, warning in training.warnings(_risen(5.0), options))
    assert warning.cause == "staleness"
    assert "50% of the last samples" in warning.text
    assert f" on old parameters. {advice[:1].upper()}{advice[1:]}. If --policy synchronous " in warning.text
    names = ("--stale-fraction", "--bound", "--delay", "s_max", "rate_scaling")
    assert [name in warning.text for name in names] == [name in advice for name in names]


@pytest.mark.parametrize("stale", [0.1, 0.2])
def test_the_little_staleness_that_is_usual_is_not_the_cause(stale: float) -> None:
    training = Training(shares=(100, 100), stale=stale)
    assert [warning.cause for _, warning in training.warnings(_risen(5.0))] == ["learning rate"]


# One worker -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collects", [True, False])
@pytest.mark.parametrize("shares", [(64, 64), (200, 16, 16), (16, 200, 200, 200)])
def test_a_worker_with_larger_gradients_is_named(shares: tuple[int, ...], collects: bool) -> None:
    training = Training(shares=shares, spread=0.5, half=50.0, collects=collects)
    said = training.warnings(lambda _, one: replace(one, norm=one.norm * 1e3) if one.worker == 0 else one)
    assert {warning.cause for _, warning in said} == {"worker"}
    assert all("worker 0" in warning.text.lower() for _, warning in said)


def test_eight_samples_are_enough_to_be_compared() -> None:
    training = Training(shares=(8, 8), spread=0.5, half=50.0)
    said = training.warnings(lambda _, one: replace(one, norm=one.norm * 1e3) if one.worker == 0 else one)
    assert {(warning.cause, "worker 0" in warning.text) for _, warning in said} == {("worker", True)}


def test_a_worker_that_does_not_learn_is_named() -> None:
    said = Training(spread=0.5).warnings(lambda _, one: replace(one, loss=1.5) if one.worker == 1 else one)
    assert [(warning.cause, "worker 1" in warning.text) for _, warning in said] == [("worker", True)]


def test_a_worker_is_the_cause_of_what_it_does_to_the_run() -> None:
    def ruin(step: int, one: Contribution) -> Contribution:
        return replace(one, norm=1e4 if one.worker == 2 else 10.0, loss=1e3 if step else one.loss, stale=0)

    (warning,) = (warning for _, warning in Training(steps=40).warnings(ruin))
    assert warning.cause == "worker"
    assert "worker 2" in warning.text


def test_parameters_far_apart_are_not_compared() -> None:
    """In a run that diverges, a slow worker's gradients are of another time, not of another kind."""

    def growing(step: int, one: Contribution) -> Contribution:
        version = step if one.worker else max(0, step - 10)
        return replace(one, version=version, norm=2.0**version, loss=None)

    said = Training(shares=(64, 64), steps=40).warnings(growing)
    assert {warning.cause for _, warning in said} == {"learning rate"}


def test_who_comes_back_is_judged_anew() -> None:
    watch = Watch(64, True)
    said: list[c.Warn] = []
    for step in range(40):
        if step % 5 == 0:
            watch.left(0)
        watch.accepted(step, Contribution(0, step, 32, 0, 50.0 if step else 1.0))
        watch.accepted(step, Contribution(1, step, 32, 0, 1.0))
        said += watch.stepped(step)
    assert said == []


# What was refused -------------------------------------------------------------------------------------------


def _refusing(watch: Watch, step: int) -> list[c.Warn]:
    said = watch.refused(1, 32, NOT_FINITE)
    watch.accepted(step, Contribution(0, step, 32, 0, 1.0))
    return said + watch.stepped(step)


def test_refused_contributions_are_told_of_by_worker_and_count() -> None:
    watch = Watch(64, True)
    said = [(step, warning) for step in range(99) for warning in _refusing(watch, step)]
    assert [(step, warning.cause) for step, warning in said] == [(0, "refused"), (9, "refused")]
    first, second = (warning.text for _, warning in said)
    assert first.startswith(f"worker 1: 1 contribution was refused (32 samples): {NOT_FINITE}")
    assert second.startswith("worker 1: 10 contributions were refused (320 samples)")


def _all_refused(watch: Watch, workers: Sequence[int]) -> list[c.Warn]:
    return [warning for number in range(20 * REFUSED) for warning in watch.refused(workers[number % 2], 32, NOT_FINITE)]


def test_when_all_are_refused_the_run_has_diverged() -> None:
    watch = Watch(64, True)
    for worker in (0, 1):
        watch.accepted(0, Contribution(worker, 0, 32, 0, 1.0))
    watch.stepped(0)
    (warning,) = _all_refused(watch, (0, 1))
    assert warning.cause == "learning rate"
    assert NOT_FINITE in warning.text
    (warning,) = _all_refused(watch, (0, 1)) or [warning]
    watch.accepted(1, Contribution(1, 1, 32, 0, 1.0))
    (warning,) = _all_refused(watch, (0, 0))
    assert (warning.cause, "worker 0" in warning.text) == ("worker", True)


def test_when_nothing_was_ever_finite_it_is_not_the_learning_rate() -> None:
    (warning,) = _all_refused(Watch(64, True), (0, 1))
    assert warning.cause == "refused"
    assert "not the learning rate" in warning.text


# In a run ---------------------------------------------------------------------------------------------------


def _run(script: Script, norm: Callable[[int, int], float], verdict: Callable[[int], str] = lambda _: "ok") -> None:
    """Each worker in turn does its first ticket; ``norm(worker, step)`` of what it pushes."""
    number = 0
    while not script.coordinator.finished:
        for worker in sorted(script.coordinator.state.members):
            version = script.coordinator.state.version
            may = [t for t in script.held(worker) if script.granted[t].min_version <= version]
            if may and not script.coordinator.finished:
                number += 1
                script.start(worker, may[0])
                weight = float(script.samples(may[0]))
                push = e.Arrived(worker, number, (may[0],), (version,), weight, verdict(worker), norm(worker, version))
                script.tell(push)


@pytest.mark.parametrize("policy", [Synchronous, Balanced])
def test_the_coordinator_says_it(policy: type[Synchronous] | type[Balanced]) -> None:
    script = Script(policy(), positions=64 * 40, batch=64, workers=2)
    script.join(0, 1)
    _run(script, lambda worker, step: 1e3 if worker else 1.0)
    assert {(warning.cause, "worker 1" in warning.text) for warning in script.of(c.Warn)} == {("worker", True)}
    assert script.of(c.Finish) == [c.Finish("complete", True)]


def test_numbers_that_nobody_measured_say_nothing() -> None:
    script = Script(Synchronous(), positions=64 * 40, batch=64, workers=2)
    script.join(0, 1)
    script.work(0, 1)
    assert script.coordinator.finished
    assert script.of(c.Warn) == []


def test_the_coordinator_tells_who_was_refused() -> None:
    script = Script(Synchronous(), positions=64 * 4, batch=64, workers=2)
    script.join(0, 1)
    _run(script, lambda *_: 1.0, lambda worker: NOT_FINITE if worker else "ok")
    (warning,) = script.of(c.Warn)
    assert warning.text.startswith(f"worker 1: 1 contribution was refused (32 samples): {NOT_FINITE}.")


def test_a_run_that_is_given_up_says_first_what_it_may_be() -> None:
    script = Script(Synchronous(), positions=64 * 40, batch=64, workers=2)
    script.join(0, 1)
    _run(script, lambda *_: 0.0, lambda _: NOT_FINITE)
    (warning,), (finish,) = script.of(c.Warn), script.of(c.Finish)
    assert script.said.index(warning) < script.said.index(finish)
    assert not finish.ok
