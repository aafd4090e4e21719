"""The convergence watch, limit by limit, each from both sides: contributions written down, not drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import pytest

from evener.core.commands import Warn
from evener.core.series import WINDOW
from evener.core.watch import FAR, JUDGED, REFUSED, REPEAT, Contribution, Watch

Step = Sequence[Contribution]
STEPS = 40
CURE = "Look at worker 0's data, device and precision, or run without it."


def one(
    worker: int = 0,
    norm: float = 0.0,
    loss: float | None = None,
    version: int = 0,
    samples: int = 32,
    stale: int = 0,
) -> Contribution:
    return Contribution(worker, version, samples, stale, norm, loss)


def said_at(steps: Callable[[int], Step], number: int = STEPS, watch: Watch | None = None) -> list[tuple[int, Warn]]:
    """What is said at which step, if ``steps(t)`` is what is applied in step ``t``."""
    watch, said = watch or Watch(64, True), []
    for step in range(number):
        for contribution in steps(step):
            watch.accepted(step, contribution)
        said += [(step, warning) for warning in watch.stepped(step)]
    return said


def told(steps: Callable[[int], Step], number: int = STEPS) -> list[tuple[int, str]]:
    """When, and which causes."""
    return [(step, warning.cause) for step, warning in said_at(steps, number)]


# One worker beside another ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "at"),
    [(10.0, None), (10.1, FAR - 1), (100.0, FAR - 1), (100.1, FAR // 2 - 1)],
    ids=["near", "far", "still far", "very far"],
)
def test_a_norm_is_far_beyond_ten_times_the_others_and_very_beyond_a_hundred(norm: float, at: int | None) -> None:
    assert told(lambda _: (one(1, 1.0), one(0, norm))) == ([] if at is None else [(at, "worker")])


@pytest.mark.parametrize(("loss", "at"), [(3.0, None), (3.1, FAR - 1), (1e6, FAR - 1)])
def test_a_loss_is_far_beyond_three_times_the_others_though_no_norm_is_known(loss: float, at: int | None) -> None:
    assert told(lambda _: (one(1, loss=1.0), one(0, loss=loss))) == ([] if at is None else [(at, "worker")])


@pytest.mark.parametrize(
    ("odd", "usual", "words"),
    [
        (one(0, 12.345), one(1, 1.0), "its gradient norm is 12.3, that of the others 1"),
        (one(0, loss=5.4321), one(1, loss=0.5), "its loss is 5.43, that of the others 0.5"),
        (one(0, 12.0, 9.0), one(1, 1.0, 1.0), "its gradient norm is 12, that of the others 1"),
        (one(0, 1.0, 9.0), one(1, 1.0, 1.0), "its loss is 9, that of the others 1"),
    ],
)
def test_how_a_worker_differs_is_said_and_what_to_do(odd: Contribution, usual: Contribution, words: str) -> None:
    ((_, warning),) = said_at(lambda _: (odd, usual))
    assert warning.text == f"worker 0 differs from the others on the same parameters: {words}. {CURE}"


def test_the_usual_is_the_median_of_the_others() -> None:
    ((_, warning),) = said_at(lambda _: (one(0, 40.0), one(1, 1.0), one(2, 3.0), one(3, 9.0)))
    assert "its gradient norm is 40, that of the others 3." in warning.text


@pytest.mark.parametrize(
    ("mine", "norm", "theirs", "named"),
    [(8, 12.0, 128, False), (128, 12.0, 8, True), (128, 9.0, 8, False), (32, 12.0, 32, True), (8, 41.0, 128, True)],
)
def test_fewer_samples_excuse_a_larger_norm_by_the_root_of_their_number(
    mine: int, norm: float, theirs: int, named: bool
) -> None:
    assert bool(told(lambda _: (one(0, norm, samples=mine), one(1, 1.0, samples=theirs)))) is named


@pytest.mark.parametrize(("mine", "theirs", "named"), [(8, 8, True), (7, 64, False), (64, 7, False)])
@pytest.mark.parametrize("by_loss", [False, True])
def test_fewer_than_eight_samples_are_compared_with_nothing(mine: int, theirs: int, named: bool, by_loss: bool) -> None:
    high, low = ((0.0, 500.0), (0.0, 1.0)) if by_loss else ((500.0, None), (1.0, None))
    assert bool(told(lambda _: (one(0, *high, samples=mine), one(1, *low, samples=theirs)))) is named


@pytest.mark.parametrize(("apart", "named"), [(0, True), (1, True), (2, True), (3, False)])
@pytest.mark.parametrize("ahead", [False, True])
def test_versions_up_to_two_apart_are_compared(apart: int, ahead: bool, named: bool) -> None:
    mine, theirs = (5 + apart, 5) if ahead else (5, 5 + apart)
    assert bool(told(lambda _: (one(0, 50.0, version=mine), one(1, 1.0, version=theirs)))) is named


def test_only_the_nearest_version_is_compared() -> None:
    def named(*versions: int) -> bool:
        norms = (1.0, 50.0, 50.0)
        return bool(
            told(lambda _: [one(2 - at, norms[at], version=version) for at, version in enumerate(versions)], 20)
        )

    assert not named(6, 5, 5)
    assert not named(6, 4, 5)  # both are as near, and 25.5 is their median
    assert named(5, 4, 5)


@pytest.mark.parametrize(("version", "named"), [(WINDOW - 1, True), (WINDOW, False)])
def test_where_it_began_is_known_from_the_first_versions_only(version: int, named: bool) -> None:
    assert bool(told(lambda _: (one(0, 50.0, version=version), one(1, 1.0, version=version)))) is named
    assert bool(told(lambda _: (one(0, 0.0, 50.0, version), one(1, 0.0, 1.0, version)))) is named


@pytest.mark.parametrize(("now", "named"), [(50.0, False), (50.1, True)])
def test_who_is_no_higher_than_where_the_run_began_is_behind_not_wrong(now: float, named: bool) -> None:
    def by_norm(step: int) -> Step:
        return one(0, now if step else 70.0), one(1, 1.0 if step else 50.0), one(2)  # the last measures nothing

    def by_loss(step: int) -> Step:
        return one(0, loss=now if step else 70.0), one(1, loss=1.0 if step else 50.0), one(2)

    assert bool(told(by_norm)) is named
    assert bool(told(by_loss)) is named


@pytest.mark.parametrize(("lowest", "named"), [(0.0, True), (-0.1, False)])
def test_losses_that_may_be_negative_are_not_compared(lowest: float, named: bool) -> None:
    assert bool(told(lambda step: (one(0, loss=50.0), one(1, loss=1.0 if step else lowest)))) is named


@pytest.mark.parametrize(("often", "named"), [(FAR - 1, False), (FAR, True)])
@pytest.mark.parametrize("known", ["norms", "losses", "both"])
def test_it_must_be_far_in_six_of_eight(often: int, named: bool, known: str) -> None:
    norm, loss = known != "losses", known != "norms"

    def steps(step: int) -> Step:
        mine = 50.0 if step % JUDGED < often else 1.0
        return (
            one(0, mine if norm else 0.0, mine if loss else None),
            one(1, 1.0 if norm else 0.0, 1.0 if loss else None),
        )

    assert bool(told(steps)) is named


def test_what_cannot_be_compared_does_not_count() -> None:
    assert told(lambda step: (one(1, 1.0), one(0, 50.0, samples=4 if step % 3 else 32))) == [(3 * (FAR - 1), "worker")]


def test_each_odd_worker_is_named_and_again_only_much_later() -> None:
    def steps(step: int) -> Step:
        return *(one(worker, 1.0) for worker in (2, 3, 4, 5)), one(0, 50.0), one(1, 60.0)

    said = [(step, warning.text[:8]) for step, warning in said_at(steps, REPEAT + FAR + 5)]
    again = FAR - 1 + REPEAT
    assert said == [(at, f"worker {worker}") for at, worker in product((FAR - 1, again), (0, 1))]


def test_who_left_without_a_contribution_is_nobody() -> None:
    watch = Watch(64, True)
    watch.left(7)
    assert said_at(lambda _: (one(0, 50.0), one(1, 1.0)), watch=watch)


# The cause of what a run does -------------------------------------------------------------------------------

BEGAN = 16  # the loss is 1, then 1000: it is told of after three rounds


def rising(odd: Callable[[int], float] = lambda _: 1.0, stale: Callable[[int], int] = lambda _: 0) -> list[Warn]:
    """A run of two workers whose losses rise alike; worker 0 has the norms ``odd`` and so many stale samples of 64."""

    def steps(step: int) -> Step:
        loss = 1.0 if step < BEGAN else 1000.0
        mine = one(0, odd(step), loss, version=step, samples=64, stale=stale(step))
        return mine, one(1, 1.0, loss, version=step, samples=64)

    said = said_at(steps, BEGAN + 5)
    assert {step for step, _ in said} <= {BEGAN + 2}
    return [warning for _, warning in said]


def test_without_another_cause_it_is_the_learning_rate() -> None:
    (warning,) = rising()
    assert warning.cause == "learning rate"
    assert warning.text.startswith("the loss began at 1 and rose to 1e+03. The likely cause is the learning rate.")
    assert warning.text.endswith("or set clip_norm= in session.prepare.")


@pytest.mark.parametrize(("often", "cause"), [(3, "learning rate"), (4, "worker")])
def test_half_of_the_last_eight_make_a_worker_the_cause(often: int, cause: str) -> None:
    # Of the eight steps up to 18, at which it is told, the first are far.
    (warning,) = rising(lambda step: 50.0 if BEGAN + 3 - JUDGED <= step < BEGAN + 3 - JUDGED + often else 1.0)
    assert warning.cause == cause
    differs = "Worker 0 differs from the others on the same parameters: its gradient norm is 50, that of the others 1. "
    assert (differs + CURE in warning.text) is (cause == "worker")


def test_very_far_is_one_of_the_last_eight_too() -> None:
    (warning,) = rising(lambda step: 500.0 if step in (14, 15) else 1.0)
    assert warning.cause == "learning rate"


@pytest.mark.parametrize(("since", "cause"), [(18, "learning rate"), (17, "worker")])
def test_one_far_contribution_is_no_suspicion_and_two_are(since: int, cause: str) -> None:
    watch, said = Watch(64, True), []
    for step in range(BEGAN + 3):
        if step <= since:
            watch.left(0)
        for worker in (0, 1):
            loss = 1.0 if step < BEGAN else 1000.0
            norm = 1.0 if worker or not step else 50.0
            watch.accepted(step, one(worker, norm, loss, version=step, samples=64))
        said += watch.stepped(step)
    assert [warning.cause for warning in said] == [cause]


@pytest.mark.parametrize(
    ("stale", "cause", "words"),
    [
        (0, "learning rate", "session.prepare."),
        (24, "learning rate", "session.prepare. (19% of the last samples were stale, which narrows what is stable.)"),
        (26, "staleness", "20% of the last samples were computed on old parameters"),
    ],
)
def test_a_fifth_of_the_samples_makes_staleness_the_cause(stale: int, cause: str, words: str) -> None:
    (warning,) = rising(stale=lambda _: stale)
    assert (warning.cause, words in warning.text) == (cause, True)
    assert ("stale" in warning.text) is (stale > 0)


def test_staleness_of_long_ago_is_not_the_cause() -> None:
    (warning,) = rising(stale=lambda step: 64 if step < BEGAN + 3 - WINDOW else 0)
    assert "stale" not in warning.text
    (warning,) = rising(stale=lambda step: 64 if step <= BEGAN + 3 - WINDOW else 0)
    assert "(3% of the last samples" in warning.text


def test_norms_count_while_the_loss_does_not_fall() -> None:
    def steps(loss: Callable[[int], float | None]) -> Callable[[int], Step]:
        return lambda step: (one(0, 1.0 if step < BEGAN else 1e5, loss(step), samples=64),)

    assert [cause for _, cause in told(steps(lambda _: None))] == ["learning rate"]
    assert [cause for _, cause in told(steps(lambda _: 1.0))] == ["learning rate"]
    assert told(steps(lambda step: 1.0 / (1 + step))) == []
    ((_, warning),) = said_at(steps(lambda _: 1.0))
    assert warning.text.startswith("the gradient norm began at 1 and rose to 1e+05. ")


def test_a_step_without_contributions_is_none() -> None:
    watch = Watch(64, True)
    assert watch.stepped(0) == []
    for number in range(2 * REFUSED):
        said = watch.refused(0, 32, "not finite")
        assert bool(said) is (number == 2 * REFUSED - 1)
    assert [warning.cause for warning in said] == ["refused"]  # not one step yet


# Refusals ---------------------------------------------------------------------------------------------------


def refusals(watch: Watch, worker: int, number: int) -> list[tuple[int, Warn]]:
    return [(count, warning) for count in range(1, number + 1) for warning in watch.refused(worker, 32, f"no {count}")]


@pytest.mark.parametrize(
    ("workers", "cause"), [((0,), "learning rate"), ((0, 1), "worker"), ((0, 1, 2), "worker")], ids=str
)
def test_four_batches_refused_in_a_row_are_told_of_once(workers: Sequence[int], cause: str) -> None:
    watch = Watch(64, True)
    said_at(lambda _: [one(worker, 1.0) for worker in workers], 1, watch)
    ((count, warning),) = refusals(watch, 0, 50)
    assert (count, warning.cause) == (8, cause)
    assert warning.text.startswith("every contribution of the last 256 samples was refused: no 8. ")
    assert ("All were worker 0's. " + CURE in warning.text) is (cause == "worker")


def test_what_is_accepted_in_between_ends_the_row() -> None:
    watch = Watch(64, True)
    said_at(lambda _: (one(0, 1.0), one(1, 1.0)), 1, watch)
    assert refusals(watch, 1, 7) == []
    watch.accepted(1, one(1, 1.0))
    assert refusals(watch, 0, 7) == []
    (warning,) = watch.refused(0, 32, "not finite")
    assert (warning.cause, "All were worker 0's" in warning.text) == ("worker", True)


def test_refusals_before_the_first_step_do_not_hide_what_comes_later() -> None:
    watch = Watch(64, True)
    ((_, first),) = refusals(watch, 0, 8)
    assert first.cause == "refused"
    later = said_at(lambda step: (one(0, loss=1.0 if step < BEGAN else 1000.0, samples=64),), BEGAN + 5, watch)
    assert [(step, warning.cause) for step, warning in later] == [(0, "refused"), (BEGAN + 2, "learning rate")]


def test_refusals_are_counted_by_worker_and_told_of_at_ten_times_as_many() -> None:
    watch, said = Watch(10_000, True), []
    for step in range(120):
        watch.refused(1, 32, f"why {step}")
        if step % 2:
            watch.refused(0, 8, "other")
        watch.accepted(step, one(2, 1.0))
        said += [(step, warning.text.partition(": If")[0]) for warning in watch.stepped(step)]
    cure = ". If there are more, look at its data, device and precision."
    assert said == [
        (0, f"worker 1: 1 contribution was refused (32 samples): why 0{cure}"),
        (1, f"worker 0: 1 contribution was refused (8 samples): other{cure}"),
        (9, f"worker 1: 10 contributions were refused (320 samples): why 9{cure}"),
        (19, f"worker 0: 10 contributions were refused (80 samples): other{cure}"),
        (99, f"worker 1: 100 contributions were refused (3200 samples): why 99{cure}"),
    ]
