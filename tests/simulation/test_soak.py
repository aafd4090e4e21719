"""A few of the schedules of ``make soak``; and that a finding is printed with the command that brings it back."""

from __future__ import annotations

from collections import Counter

import pytest

from evener.core import events as e
from evener.core.contributions import Contributions
from evener.core.policies import POLICIES, Synchronous
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Outcome, Simulation
from evener.testing import soak
from evener.testing.schedules import of_seed

SETTINGS = Settings(batch=32, epochs=2, workers=2)


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_schedules_of_faults(first: int) -> None:
    assert [text for seed in range(first, first + 20) for text in soak.soak(seed)] == []


def test_all_kinds_of_faults_are_among_them() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(200):
        schedule = of_seed(seed)
        for host in schedule.cluster.hosts:
            long = host.silence is not None and any(seconds > host.silence for _, seconds in host.cuts)
            kinds.update({"joins": host.joins > 0, "dies": host.dies is not None, "stalls": bool(host.stalls)})
            kinds.update({"duplicates": host.repeats > 0, "reordering": host.jitter > 0})
            kinds.update({"cut off": bool(host.cuts), "taken for gone": long})
    assert len(kinds) == 7
    assert min(kinds.values()) > 50, kinds


def test_a_seed_is_the_same_schedule_and_the_same_policies() -> None:
    for seed in range(20):
        assert of_seed(seed) == of_seed(seed)
        assert [str(maker) for maker in soak.makers_of(seed)] == [str(maker) for maker in soak.makers_of(seed)]
        assert [maker.name for maker in soak.makers_of(seed)] == list(POLICIES)
    assert len({str(soak.makers_of(seed)) for seed in range(20)}) > 10


def test_a_finding_is_printed_with_the_command_that_brings_it_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Contributions.declined

    def defective(self: Contributions, end: e.Declined, now: float) -> None:
        if end.ticket % 3:  # else what was declined is forgotten
            real(self, end, now)

    monkeypatch.setattr(Contributions, "declined", defective)
    assert soak.main(["--count", "8", "--jobs", "1"]) == 1
    out = capsys.readouterr().out
    assert "BrokenPromise: " in out
    seed = next(line for line in out.splitlines() if "again:" in line).split()[-1]
    assert soak.main(["--seed", seed]) == 1
    assert f"seed {seed}, " in capsys.readouterr().out
    monkeypatch.undo()
    assert soak.main(["--seed", seed]) == 0
    assert "1 schedules of faults, each under 6 policies" in capsys.readouterr().out


# A host that is cut off -------------------------------------------------------------------------------------


def cut_off(**changes: object) -> Outcome:
    hosts = (Host(200), Host(200, cuts=((0.5, 2.0),), **changes))  # type: ignore[arg-type]
    return Simulation(Cluster(hosts), SETTINGS, Synchronous(), 640).run()


def times_heard(outcome: Outcome) -> list[float]:
    return [t for t, event, _ in outcome.log if getattr(event, "worker", None) == 1]


def test_what_a_host_sends_while_it_is_cut_off_arrives_later() -> None:
    outcome = cut_off()
    times = times_heard(outcome)
    assert not [t for t in times if 0.5 <= t < 2.5]
    assert min(t for t in times if t >= 0.5) == pytest.approx(2.5, abs=0.1)
    assert not [event for _, event, _ in outcome.log if isinstance(event, e.Left)]
    assert outcome.applied == 2 * 640


def test_or_never_and_it_joins_anew() -> None:
    outcome = cut_off(silence=1.0)
    assert [(t, event) for t, event, _ in outcome.log if isinstance(event, e.Left)] == [(1.5, e.Left(1, "silent"))]
    joined = [t for t, event, _ in outcome.log if isinstance(event, e.Joined) and event.worker == 1]
    assert joined == [0.0, 2.5]
    assert not [t for t in times_heard(outcome) if 0.5 <= t < 2.5 and t != 1.5]
    pushes = [event.push for _, event, _ in outcome.log if isinstance(event, e.Arrived) and event.worker == 1]
    assert len(set(pushes)) == len(pushes)
    assert outcome.applied == 2 * 640


def test_who_dies_while_it_is_cut_off_does_not_come_back() -> None:
    outcome = cut_off(silence=1.0, dies=2.0)
    assert max(times_heard(outcome)) == 1.5


@pytest.mark.parametrize("changes", [{"cuts": ((1.0, -1.0),)}, {"silence": 0.0}, {"cuts": ((-1.0, 1.0),)}])
def test_cuts_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"cut|silence"):
        Host(100, **changes)  # type: ignore[arg-type]
