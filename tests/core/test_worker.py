"""The worker's machine: which ticket next, on which parameters, and when to push and pull."""

from __future__ import annotations

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.worker import WorkerCore


def ticket(number: int, step: int = 0, group: int | None = None, min_version: int = 0) -> e.Granted:
    return e.Granted(number, 0, step, number if group is None else group, ((number, number + 1),), min_version)


class Bench:
    """A worker's machine and what it said."""

    def __init__(self, version: int = 0) -> None:
        self.core = WorkerCore(7, version)
        self.now = 0.0

    def hear(self, event: e.WorkerEvent) -> list[c.WorkerCommand]:
        return self.core.handle(event, self.now)


def starts(said: list[c.WorkerCommand]) -> list[tuple[int, int]]:
    return [(x.ticket, x.version) for x in said if isinstance(x, c.Compute)]


def pushes(said: list[c.WorkerCommand]) -> list[tuple[int, ...]]:
    return [x.tickets for x in said if isinstance(x, c.Push)]


def told(said: list[c.WorkerCommand]) -> list[e.Event]:
    return [x.event for x in said if isinstance(x, c.Tell)]


def pulls(said: list[c.WorkerCommand]) -> list[int]:
    return [x.newer_than for x in said if isinstance(x, c.Pull)]


def test_a_ticket_is_started_at_once_and_reported_with_its_version() -> None:
    said = Bench(version=4).hear(ticket(0, step=5, min_version=4))
    assert starts(said) == [(0, 4)]
    assert told(said) == [e.Started(7, 0, 4)]


def test_one_ticket_at_a_time_lowest_step_first() -> None:
    bench = Bench()
    bench.hear(ticket(0))
    assert starts(bench.hear(ticket(1, step=2))) == []
    assert starts(bench.hear(ticket(2, step=1))) == []
    assert starts(bench.hear(e.ComputeDone())) == [(2, 0)]


def test_a_ticket_waits_for_its_version_while_others_go_first() -> None:
    bench = Bench()
    said = bench.hear(ticket(0, step=1, min_version=1))
    assert starts(said) == []
    assert bench.core.waits_for_version()
    assert starts(bench.hear(ticket(1, step=2, min_version=0))) == [(1, 0)]
    assert not bench.core.waits_for_version()


def test_newer_parameters_are_installed_between_two_tickets() -> None:
    bench = Bench()
    bench.hear(ticket(0))
    bench.hear(ticket(1))
    said = bench.hear(e.VersionReady(3))
    assert c.Install(3) not in said
    assert told(said) == [e.Received(7, 3)]
    said = bench.hear(e.ComputeDone())
    assert said.index(c.Install(3)) < said.index(c.Compute(1, 0, ((1, 2),), 3, 0))


def test_parameters_wake_a_ticket_that_waits_for_them() -> None:
    bench = Bench()
    bench.hear(ticket(0, step=2, min_version=2))
    assert starts(bench.hear(e.VersionReady(1))) == []
    said = bench.hear(e.VersionReady(2))
    assert starts(said) == [(0, 2)]
    assert c.Install(2) in said


def test_tickets_of_one_group_are_pushed_together_when_another_comes() -> None:
    bench = Bench()
    bench.hear(ticket(0, group=0))
    bench.hear(ticket(1, group=0))
    bench.hear(ticket(2, step=1, group=2))
    assert pushes(bench.hear(e.ComputeDone())) == []
    said = bench.hear(e.ComputeDone())
    assert pushes(said) == [(0, 1)]
    assert starts(said) == [(2, 0)]


def test_a_sum_is_pushed_when_there_is_nothing_to_compute() -> None:
    bench = Bench()
    bench.hear(ticket(0))
    assert pushes(bench.hear(e.ComputeDone())) == [(0,)]


def test_a_sum_is_pushed_before_a_wait_for_parameters() -> None:
    bench = Bench()
    bench.hear(ticket(0, group=0))
    bench.hear(ticket(1, group=0, step=1, min_version=1))
    assert pushes(bench.hear(e.ComputeDone())) == [(0,)]


def test_a_push_names_the_version_of_each_ticket() -> None:
    bench = Bench()
    bench.hear(ticket(0, group=0))
    bench.hear(ticket(1, group=0))
    bench.hear(e.VersionReady(1))
    bench.hear(e.ComputeDone())
    said = bench.hear(e.ComputeDone())
    assert [x for x in said if isinstance(x, c.Push)] == [c.Push((0, 1), (0, 1))]


def test_a_skipped_ticket_is_declined_and_not_pushed() -> None:
    bench = Bench()
    bench.hear(ticket(0, group=0))
    bench.hear(ticket(1, group=0))
    bench.hear(e.ComputeDone())
    said = bench.hear(e.ComputeDone(declined=True))
    assert e.Declined(7, 1) in told(said)
    assert pushes(said) == [(0,)]


def test_seconds_are_measured_from_the_moment_it_could_start() -> None:
    bench = Bench()
    bench.hear(ticket(0))
    bench.hear(ticket(1))
    bench.now = 2.0
    assert e.Computed(7, 0, 2.0) in told(bench.hear(e.ComputeDone()))
    bench.now = 5.0
    assert e.Computed(7, 1, 3.0) in told(bench.hear(e.ComputeDone()))
    bench.now = 50.0
    bench.hear(ticket(2))
    bench.now = 51.0
    assert e.Computed(7, 2, 1.0) in told(bench.hear(e.ComputeDone()))


def test_a_queued_ticket_is_released_a_started_one_kept() -> None:
    bench = Bench()
    bench.hear(ticket(0))
    bench.hear(ticket(1))
    assert told(bench.hear(e.Revoked(1))) == [e.Released(7, 1)]
    assert told(bench.hear(e.Revoked(0))) == []
    assert told(bench.hear(e.Revoked(99))) == []
    assert starts(bench.hear(e.ComputeDone())) == []


def test_what_was_summed_is_pushed_when_the_rest_of_its_group_is_revoked() -> None:
    bench = Bench()
    bench.hear(ticket(0, group=0))
    bench.hear(ticket(1, group=0))
    bench.hear(e.Revoked(1))
    assert pushes(bench.hear(e.ComputeDone())) == [(0,)]


def test_one_request_for_parameters_at_a_time() -> None:
    bench = Bench()
    assert pulls(bench.hear(ticket(0))) == [0]
    assert pulls(bench.hear(ticket(1))) == []
    # What has come is not in use yet: nothing newer is fetched meanwhile.
    assert pulls(bench.hear(e.VersionReady(2))) == []
    assert pulls(bench.hear(e.ComputeDone())) == [2]


def test_parameters_that_are_still_too_old_are_followed_by_a_request() -> None:
    bench = Bench()
    assert pulls(bench.hear(ticket(0, step=5, min_version=5))) == [0]
    assert pulls(bench.hear(e.VersionReady(3))) == [3]


def test_nothing_can_be_done_that_was_not_begun() -> None:
    with pytest.raises(RuntimeError, match="without a ticket under way"):
        Bench().hear(e.ComputeDone())


def test_with_nothing_to_compute_a_sum_waits_for_the_push_before_it_and_grows() -> None:
    bench = Bench()
    bench.hear(ticket(0, group=0))
    assert pushes(bench.hear(e.ComputeDone())) == [(0,)]
    bench.hear(ticket(1, group=0))
    assert pushes(bench.hear(e.ComputeDone())) == []
    bench.hear(ticket(2, group=0))
    assert pushes(bench.hear(e.ComputeDone())) == []
    assert pushes(bench.hear(e.Landed())) == [(1, 2)]
    bench.hear(ticket(3, group=0))
    bench.hear(e.Landed())
    assert pushes(bench.hear(e.ComputeDone())) == [(3,)]


def test_no_ticket_begins_that_would_need_a_third_push_under_way() -> None:
    bench = Bench()
    for number in range(4):  # each a group of its own
        bench.hear(ticket(number))
    pushed = [pushes(bench.hear(e.ComputeDone())) for _ in range(3)]
    assert pushed == [[(0,)], [(1,)], []]
    said = bench.hear(e.Landed())
    assert pushes(said) == [(2,)]
    assert starts(said) == [(3, 0)]


def test_a_sum_that_waits_leaves_with_the_next_ticket_that_may_begin() -> None:
    bench = Bench()
    bench.hear(ticket(0))
    bench.hear(ticket(1))
    bench.hear(ticket(2, min_version=1))
    assert pushes(bench.hear(e.ComputeDone())) == [(0,)]
    assert pushes(bench.hear(e.ComputeDone())) == []
    said = bench.hear(e.VersionReady(1))
    assert pushes(said) == [(1,)]
    assert starts(said) == [(2, 1)]
