"""The course through the epochs: which lots are open, and when an order is asked for, held and ended."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core.course import Course
from evener.core.ledger import Fate, Lot
from evener.core.policies import Asynchronous, Policy, Synchronous
from evener.core.state import RunState, Settings


class Wide(Synchronous):
    """So many lots ahead."""

    def __init__(self, lots_ahead: int) -> None:
        super().__init__()
        self.lots_ahead = lots_ahead


def course(policy: Policy | None = None, epochs: int = 3, drop_last: bool = False) -> tuple[Course, RunState]:
    state = RunState(Settings(8, epochs, drop_last=drop_last))
    return Course(state, policy or Synchronous()), state


def opened(run: Course, said: list[c.Command] | None = None) -> list[Lot]:
    out: list[c.Command] = []
    lots = list(run.open_lots(out))
    if said is None:
        assert out == []
    else:
        said += out
    return lots


def asked(run: Course) -> list[c.Command]:
    out: list[c.Command] = []
    assert opened(run, out) == []
    return out


def finish(state: RunState, lot: Lot) -> None:
    """All of it is applied, in one step."""
    state.ledger.settle(state.ledger.issue(lot, 0, lot.quota, 0, None), Fate.APPLIED)
    state.ledger.close_lot(lot)
    state.version = state.issued = lot.index + 1


def test_an_order_is_asked_for_once() -> None:
    run, _ = course()
    assert asked(run) == [c.DrawEpoch(0)]
    assert asked(run) == []
    run.drawn(0, 20)
    assert opened(run)


@pytest.mark.parametrize("ahead", [0, 1, 2])
def test_so_many_lots_are_open_beyond_the_oldest(ahead: int) -> None:
    run, state = course(Wide(ahead), epochs=1)
    asked(run)
    run.drawn(0, 44)
    first = opened(run)
    assert [(lot.index, lot.quota) for lot in first] == [(index, 8) for index in range(ahead + 1)]
    assert opened(run) == []
    finish(state, first[0])
    assert [lot.index for lot in opened(run)] == [ahead + 1]
    for index in range(1, 6):
        finish(state, state.ledger.lots[index])
        last = opened(run)
        assert [lot.quota for lot in last] == ([8] if ahead + 1 + index < 5 else [4] if ahead + 1 + index == 5 else [])


def test_the_next_epochs_order_is_asked_for_when_its_first_lot_may_open() -> None:
    run, state = course()
    asked(run)
    run.drawn(0, 16)
    first, _ = opened(run)
    assert asked(run) == []
    finish(state, first)
    assert asked(run) == [c.DrawEpoch(1)]
    run.drawn(1, 16)
    assert [(lot.index, lot.epoch) for lot in opened(run)] == [(2, 1)]


@pytest.mark.parametrize(("positions", "quotas", "dropped"), [(20, [8, 8], 4), (16, [8, 8], 0), (7, [], 7)])
def test_a_remainder_is_dropped_when_it_is_reached(positions: int, quotas: list[int], dropped: int) -> None:
    run, state = course(Wide(9), epochs=1, drop_last=True)
    asked(run)
    run.drawn(0, positions)
    said: list[c.Command] = []
    assert [lot.quota for lot in opened(run, said)] == quotas
    assert said == ([c.Dropped(0, ((positions - dropped, positions),))] if dropped else [])
    assert state.ledger.epochs[0].ends[Fate.DROPPED] == dropped


def test_without_batches_to_collect_an_epoch_is_one_lot_of_whole_batches() -> None:
    run, _ = course(Asynchronous(), epochs=2, drop_last=True)
    asked(run)
    run.drawn(0, 29)
    said: list[c.Command] = []
    (lot,) = opened(run, said)
    assert lot.quota == 24
    assert said == [c.Dropped(0, ((24, 29),)), c.DrawEpoch(1)]
    run.drawn(1, 29)
    assert [lot.quota for lot in opened(run, [])] == [24]
    assert not run.over


def test_an_epoch_is_settled_when_all_its_positions_and_lots_are() -> None:
    run, state = course(epochs=1)
    asked(run)
    assert run.settled() is None
    run.drawn(0, 16)
    first, second = opened(run)
    ledger = state.ledger
    finish(state, first)
    assert run.settled() is None
    ledger.settle(ledger.issue(second, 0, 5, 0, None), Fate.DECLINED)
    ledger.settle(ledger.issue(second, 0, 3, 0, None), Fate.REFUSED)
    assert run.settled() is None, "its last lot has not been stepped"
    ledger.close_lot(second)
    state.version = 2
    assert asked(run) == []  # asked at every event, before epochs are ended
    epoch = run.settled()
    assert epoch is ledger.epochs[0]
    assert not run.over
    assert run.end(epoch) == c.EndEpoch(0, 2, applied=8, declined=5, refused=3, dropped=0)
    assert run.settled() is None
    assert run.over
    assert asked(run) == []


def through(run: Course, state: RunState, epoch: int) -> list[c.Command]:
    """Draw it, apply all of it, and end it; returns what is asked for on the way."""
    run.drawn(epoch, 8)
    said: list[c.Command] = []
    (lot,) = opened(run, said)
    finish(state, lot)
    assert opened(run, said) == []
    settled = run.settled()
    assert settled is not None
    run.end(settled)
    return said


def test_an_epoch_is_held_while_two_snapshots_are_owed_and_that_is_said_once() -> None:
    run, state = course(epochs=5)
    assert asked(run) == [c.DrawEpoch(0)]
    assert through(run, state, 0) == [c.DrawEpoch(1)]
    assert through(run, state, 1) == [c.Hold(2, 1)]  # the second is owed as soon as its epoch ends
    assert asked(run) == []
    run.taken(1)
    assert asked(run) == [c.DrawEpoch(2)]
    assert through(run, state, 2) == [c.Hold(3, 1)], "a hold that is over is said again"


def test_who_has_work_is_not_held() -> None:
    run, state = course(epochs=5)
    asked(run)
    assert through(run, state, 0) == [c.DrawEpoch(1)]
    run.drawn(1, 8)
    said: list[c.Command] = []
    (lot,) = opened(run, said)
    assert said == [], "one snapshot is owed, and one more will be"
    ticket = state.ledger.issue(lot, 0, 8, 0, None)
    assert asked(run) == [c.Hold(2, 1)], "all is handed out, and nothing may be drawn"
    state.ledger.give_back(ticket)
    run.taken(7)  # of no epoch
    assert asked(run) == []
    run.taken(0)
    assert asked(run) == [c.DrawEpoch(2)]
