"""Scripted faults: from text and back, and what simulated workers make of those that come at a step or a moment."""

from __future__ import annotations

from pathlib import Path

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import Asynchronous, Balanced, Policy
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Outcome, Simulation
from evener.simulation.faults import EPOCH, JOIN, MOMENTS, PULL, Fault
from evener.simulation.files import ClusterError, parse_cluster
from evener.simulation.moments import Moments
from evener.simulation.sentences import FaultError, parse_fault, parse_faults, read_faults
from evener.simulation.striking import script
from evener.simulation.writer import to_toml

SENTENCES = [
    "at step 120 kill worker 2",
    "at 30 s stop worker 1 for 20 s",
    "at 30 s cut worker 3 for 10 s",
    "at 10 s slow worker 0 by 10 for 5 s",
    "at join kill worker 1",
    "in push kill worker 0",
    "in pull after step 40 cut worker 2 for 1.5 s",
    "in compute after 3 s stop worker 0 for 0.25 s",
    "at epoch end kill worker 1",
    "in push after 1234567.25 s slow worker 0 by 3.00000001 for 1234567.5 s",
    "at step 3 kill the server",
    "at epoch end after 3 s stop the server for 2 s",
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_a_fault_says_itself_as_it_is_read(sentence: str) -> None:
    assert str(parse_fault(sentence)) == sentence


def test_a_script_has_comments_units_and_free_lines() -> None:
    found = parse_faults("# a bad day\n\n  at 2 min   stop worker 1 for 500 ms # short\nat 3 kill worker 0\n")
    assert found == (Fault(1, 120.0, "hangs", seconds=0.5), Fault(0, 3.0, "dies"))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("kill worker 1", "is no fault. It says when"),
        ("at noon kill worker 1", "is no fault"),
        ("at 3 s kill worker one", "is no fault"),
        ("at 3 s murder worker 1", "'murder' is nothing that can be done to worker 1; valid are kill, stop, cut, slow"),
        ("at 3 s kill worker 1 for 3 s", "leave out 'for'"),
        ("at 3 s stop worker 1", "for how long is missing: at 3 s stop worker 1 for 10 s"),
        ("at 3 s slow worker 1 for 2 s", "how much slower is missing: slow worker 1 by 10"),
        ("at 3 s stop worker 1 by 3 for 2 s", "'by' is for slow alone"),
        ("at 3 s slow worker 1 by 0 for 2 s", "positive number"),
        ("in push kill the server", "only workers push: say at which step, at what time or 'at epoch end' instead"),
        ("at 3 s cut the server for 3 s", "cut each of them"),
        ("at 3 s stop the server", "for how long is missing: at 3 s stop the server for 10 s"),
        ("at 3 s slow the server for 3 s", "slow the server by 10"),
        ("at 3 parsecs kill worker 1", "there is no unit 'parsecs'"),
    ],
)
def test_a_line_that_is_no_fault_is_named(line: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(FaultError, match="line 2: ") as caught:
        parse_faults(f"at 1 s kill worker 0\n{line}")
    assert says in str(caught.value)
    file = tmp_path / "faults.txt"
    with pytest.raises(FaultError, match=r"faults\.txt cannot be read: No such file"):
        read_faults(file)
    file.write_text(line)
    with pytest.raises(FaultError, match=r"faults\.txt, line 1: "):
        read_faults(file)


def test_a_cluster_file_has_them_as_sentences_or_as_tables_and_is_written_so_too() -> None:
    hosts = "[[hosts]]\npace = 100\ncount = 3\n"
    sentences = parse_cluster('faults = ["at step 5 kill worker 2", "at 3 s stop worker 0 for 1 s"]\n' + hosts)
    tables = parse_cluster(
        hosts + '[[faults]]\nworker = 2\nstep = 5\nwhat = "dies"\n'
        '[[faults]]\nworker = 0\nat = 3\nwhat = "hangs"\nfor = 1\n'
    )
    assert sentences == tables
    assert tables.faults == (Fault(2, None, "dies", step=5),)
    assert tables.hosts[0].stalls == ((3.0, 1.0),)
    assert parse_cluster(to_toml(tables)) == tables
    with pytest.raises(ClusterError, match="there is no worker 3"):
        parse_cluster('faults = ["in push kill worker 3"]\n' + hosts)
    with pytest.raises(ClusterError, match="is no fault"):
        parse_cluster('faults = ["soon"]\n' + hosts)
    with pytest.raises(ClusterError, match="when it happens is missing"):
        parse_cluster(hosts + '[[faults]]\nworker = 2\nwhat = "dies"\n')


# In a simulation --------------------------------------------------------------------------------------------


def run(*faults: str, policy: Policy | None = None, silence: float | None = None, epochs: int = 2) -> Outcome:
    hosts = tuple(Host(200.0, silence=silence) for _ in range(3))
    cluster = script(Cluster(hosts), parse_faults("\n".join(faults)))
    settings = Settings(48, epochs, workers=3)
    outcome = Simulation(cluster, settings, policy or Balanced(), 480).run(limit=1000)
    assert outcome.finish is not None
    assert outcome.finish.reason == "complete"
    assert outcome.applied == 480 * epochs
    return outcome


def left(outcome: Outcome) -> list[tuple[int, e.Event, list[c.Command]]]:
    """What was heard before somebody left: how many versions there were, and the last event of the one who left."""
    found, last, versions = [], {}, 0
    for _, event, commands in outcome.log:
        if isinstance(event, e.Left):
            found.append((versions, *last[event.worker]))
        if (worker := getattr(event, "worker", None)) is not None:
            last[worker] = event, commands
        versions += sum(isinstance(command, c.Publish) for command in commands)
    return found


def test_it_dies_at_a_step() -> None:
    ((versions, *_),) = left(run("at step 7 kill worker 1"))
    assert versions == 7


@pytest.mark.parametrize(
    ("moment", "last"), [("at join", e.Joined), ("in compute", e.Started), ("in push", e.Computed)]
)
def test_it_dies_in_the_middle_of_what_it_does(moment: str, last: type[e.Event]) -> None:
    ((_, event, _),) = left(run(f"{moment} kill worker 1"))
    assert isinstance(event, last)


def test_a_moment_can_be_after_a_step() -> None:
    ((versions, event, _),) = left(run("in push after step 5 kill worker 1"))
    assert versions >= 5
    assert isinstance(event, e.Computed)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("policy", [Balanced, Asynchronous])
def test_all_but_one_die(moment: str, policy: type[Policy]) -> None:
    where = {JOIN: "at join", EPOCH: "at epoch end"}.get(moment, f"in {moment}")
    outcome = run(f"{where} kill worker 0", f"{where} kill worker 2", policy=policy())
    assert {event.worker for _, event, _ in outcome.log if isinstance(event, e.Left)} == {0, 2}


def test_who_is_stopped_in_compute_ends_so_much_later() -> None:
    outcome = run("in compute stop worker 1 for 5 s")
    began = next(t for t, event, _ in outcome.log if isinstance(event, e.Started) and event.worker == 1)
    after = [t for t, event, _ in outcome.log if getattr(event, "worker", None) == 1 and t > began]
    assert not after or min(after) >= began + 5.0


def test_who_is_cut_off_in_push_is_heard_of_later_or_given_up() -> None:
    for silence, leaves in ((None, 0), (1.0, 1)):
        outcome = run(f"in {PULL} after step 2 cut worker 1 for 3 s", silence=silence)
        assert len(left(outcome)) == leaves


def test_who_is_slowed_at_a_step_is_slow_for_so_long() -> None:
    plain, slowed = run(), run("at step 4 slow worker 1 by 10 for 60 s")
    applied = [
        sum(
            said.samples
            for _, _, commands in o.log
            for said in commands
            if isinstance(said, c.Accumulate) and said.worker == 1
        )
        for o in (plain, slowed)
    ]
    assert applied[1] < applied[0] / 2
    assert slowed.seconds > plain.seconds


def test_what_happens_at_a_known_time_is_the_hosts_own() -> None:
    with pytest.raises(ValueError, match="is the host's own"):
        Cluster((Host(1.0),), faults=(Fault(0, 1.0, "dies"),))


@pytest.mark.parametrize("when", ["at 3 s", "at step 4", "at epoch end"])
def test_a_simulated_server_has_no_faults(when: str) -> None:
    with pytest.raises(ValueError, match=f"'{when} kill the server': a simulated server has no faults"):
        script(Cluster((Host(1.0),)), parse_faults(f"{when} kill the server"))


def test_a_server_is_there_from_the_beginning() -> None:
    moments = Moments(parse_faults("at epoch end kill the server\nat step 4 stop the server for 1 s"))
    due = moments.heard(e.Tick(), [c.Publish(4), c.EndEpoch(0, 4, 8, 0, 0, 0)], now=3.0)
    assert [str(fault) for fault in due] == ["at step 4 stop the server for 1 s", "at epoch end kill the server"]


def test_a_server_that_goes_on_has_passed_some_steps_and_nobody_is_there_yet() -> None:
    moments = Moments(parse_faults("at step 4 kill worker 0\nat step 5 kill worker 1\nin pull kill worker 0"))
    moments.heard(e.Joined(1), (), now=1.0)
    assert [str(fault) for fault in moments.resumed(5)] == ["at step 4 kill worker 0"]
    assert moments.heard(e.Joined(0), (), now=2.0) == []
    due = moments.heard(e.Tick(), [c.Publish(6)], now=3.0)
    assert [str(fault) for fault in due] == ["at step 5 kill worker 1", "in pull kill worker 0"]
