"""A little of ``make chaos``; and that the arena finds what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.data import DataError, digits
from evener.simulation.faults import SERVER
from evener.trace import EventLine, Line
from training.harness import Forge, forge

from .arena import PACES, Arena, Trial
from .judging import deaths, longest_gap, recovery
from .run import FAULTS, MOMENTS, VICTIMS, long, matrix, of_the_server, random_trial

__all__ = ["forge"]


@pytest.fixture(scope="module")
def data() -> None:
    """The digits, fetched once."""
    try:
        digits()
    except DataError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(
    "trial",
    [
        Trial("kill all but one", tuple(f"in push after step 80 kill worker {worker}" for worker in (1, 2, 3))),
        Trial("stop and cut", ("in compute after step 30 stop worker 0 for 1 s", "at step 60 cut worker 3 for 1 s")),
        # The second time it has just been started, and writes no record yet.
        Trial("kill the server again", ("at 1.5 s kill the server", "at 1.6 s kill the server")),
        random_trial(1),
    ],
    ids=lambda trial: trial.name,
)
@pytest.mark.usefixtures("data")
def test_some_of_it(forge: Forge, tmp_path: Path, trial: Trial) -> None:
    result = Arena(forge, tmp_path).run(trial, accuracy=0.9)
    assert result.problems == [], (trial.words, result.hit)
    assert any(line.startswith("as scripted") for line in result.hit)


def test_the_matrix_is_whole() -> None:
    cells = list(matrix(3.0, whole=True))
    assert len({trial.name for trial in cells}) == len(cells) == len(FAULTS) * len(MOMENTS) * len(VICTIMS)
    few = list(matrix(3.0, whole=False))
    assert len(few) == len(FAULTS) * len(MOMENTS)
    assert {who for who in VICTIMS for trial in few if who in trial.name} == set(VICTIMS)


def test_cells_have_names_of_their_own_and_are_faults() -> None:
    cells = [*of_the_server(3.0), *long(20.0), *matrix(3.0, whole=True)]
    assert len({trial.name for trial in cells}) == len(cells)
    assert all(trial.fates or trial.dies_in for trial in cells)


def test_a_random_run_is_its_seeds() -> None:
    trials = [random_trial(seed) for seed in range(50)]
    assert trials == [random_trial(seed) for seed in range(50)]
    assert len({trial.faults for trial in trials}) == 50
    assert len({trial.policy for trial in trials}) > 3
    assert {fault.worker for trial in trials for fault in trial.fates} == {SERVER, *range(len(PACES))}


def record(death: float, slower: float, until: float) -> list[Line]:
    """A push of 10 samples each 10 ms by worker 0; after ``death`` only each so-many-th, ``until`` then."""
    lines: list[Line] = []
    for tick in range(1000):
        t = tick / 100
        if tick == round(death * 100):
            lines.append(EventLine(t, e.Left(1, "died"), []))
        if t < death or t >= until or tick % round(1 / slower) == 0:
            lines.append(EventLine(t, e.Tick(), [c.Accumulate(0, tick, 0, 10, 1.0, 0)]))
    return lines


def test_how_long_the_others_need() -> None:
    def measured(death: float, slower: float, until: float) -> list[float]:
        lines = record(death, slower, until)
        (at,) = deaths(lines, {1})
        return recovery(lines, {1}, [(at, at)])

    assert measured(4.0, 1.0, 9.0) == [0.0]
    assert measured(4.0, 0.5, 4.0) == [0.0]
    (found,) = measured(4.0, 0.1, 6.5)
    assert 2.0 < found < 2.5
    (found,) = measured(4.0, 0.1, 11.0)
    assert found > 10.0, "never"
    assert measured(0.5, 1.0, 9.0) == [], "too early to tell"
    assert measured(8.0, 0.1, 11.0) == [], "too late to tell"
    assert deaths(record(4.0, 1.0, 9.0), {2}) == []


def test_the_end_of_what_was_done_to_the_server_is_what_counts() -> None:
    assert recovery(record(4.0, 0.02, 6.0), set(), [(4.0, 6.0)]) == [0.0]


def test_how_long_nothing_comes_from_the_others() -> None:
    assert longest_gap(record(4.0, 1.0, 9.0), {1}) == pytest.approx(0.01)
    assert longest_gap(record(4.0, 0.02, 6.0), {1}) == pytest.approx(0.5)
