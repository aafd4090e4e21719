"""Records of runs whose server was lost: several parts, one account."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evener.core import commands as c
from evener.core import events as e
from evener.core.coordinator import Coordinator
from evener.core.policies import Asynchronous, Balanced, Policy, Synchronous
from evener.core.standing import Standing
from evener.core.state import Settings
from evener.simulation.cluster import Cluster, Host
from evener.simulation.drive import Simulation
from evener.trace import EpochSaid, HeldError, Resumed, Writer, check, part_path, record_path, replay, set_aside

CLUSTER = Cluster((Host(800, noise=0.2), Host(300, noise=0.2), Host(90, noise=0.2)), step_seconds=0.002)
SETTINGS = Settings(batch=32, epochs=3, workers=3)
POSITIONS = 330
POLICIES = {"balanced": Balanced, "synchronous": Synchronous, "asynchronous": Asynchronous}


class Server:
    """Writes a part of a record; takes a checkpoint at some event, and is lost at a later one."""

    def __init__(self, folder: Path, policy: Policy, begin: Resumed | None, checkpoint: int, dies: int | None) -> None:
        self.kept: tuple[Standing, list[EpochSaid]] | None = None
        self.lost = False
        self._ended = list(begin.ended) if begin else []
        self._events, self._checkpoint, self._dies = 0, checkpoint, dies
        self.writer = Writer(folder)
        self.writer.header(run="r1", settings=SETTINGS, policy=policy, parameters=7, resumed=begin)
        past = begin.standing if begin else None
        self.simulation = Simulation(CLUSTER, SETTINGS, policy, POSITIONS, self, past=past)

    def __call__(self, coordinator: Coordinator, event: e.Event, commands: list[c.Command], now: float) -> None:
        if self.lost:
            return
        self._events += 1
        self.writer.event(now, event, commands)
        for said in commands:
            if isinstance(said, c.EndEpoch):
                counts = (said.applied, said.declined, said.refused, said.dropped)
                self._ended.append(EpochSaid(said.epoch, said.version, *counts))
        if self.kept is None and self._events >= self._checkpoint and (standing := coordinator.standing()) is not None:
            self.kept = standing, list(self._ended)
            self.writer.note(now, "checkpoint", number=1, version=standing.version)
        self.lost = self._dies is not None and self._events >= self._dies and self.kept is not None

    def run(self) -> None:
        for _ in self.simulation.work(1000.0):
            if self.lost:
                break
        self.writer.close()


def twice_lost(folder: Path, policy: type[Policy]) -> Path:
    """A run of three parts."""
    begin = None
    for checkpoint, dies in ((60, 110), (35, 70), (10_000, None)):
        server = Server(folder, policy(), begin, checkpoint, dies)
        server.run()
        if dies is not None:
            assert server.lost
            assert server.kept is not None
            part = set_aside(folder)
            standing, ended = server.kept
            begin = Resumed(part=part, checkpoint=1, standing=replace(standing, resumed=part), ended=ended)
    return folder


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_each_position_shows_once_across_the_parts(tmp_path: Path, policy: type[Policy]) -> None:
    folder = twice_lost(tmp_path / "run", policy)
    found = check(folder)
    assert found.counted_once, str(found)
    assert found.complete
    assert [epoch.applied for epoch in found.epochs] == [POSITIONS] * 3
    assert "each exactly once" in str(found)


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_each_part_replays_to_the_same_commands(tmp_path: Path, policy: type[Policy]) -> None:
    folder = twice_lost(tmp_path / "run", policy)
    for path in (folder, *(part_path(record_path(folder), part) for part in (1, 2))):
        assert replay(path) is None


def test_the_last_part_alone_is_checked_from_what_it_says(tmp_path: Path) -> None:
    folder = twice_lost(tmp_path / "run", Balanced)
    for part in (1, 2):
        part_path(record_path(folder), part).unlink()
    found = check(folder)
    assert found.counted_once
    assert found.complete


@pytest.mark.parametrize(("said", "words"), [('"applied":[[0,', "other ends of epoch"), ('"version":', "from version")])
def test_a_server_that_went_on_with_something_else_is_found_out(tmp_path: Path, said: str, words: str) -> None:
    folder = twice_lost(tmp_path / "run", Balanced)
    record = record_path(folder)
    header, rest = record.read_text().split("\n", 1)
    before, after = header.split('"standing":', 1)
    digits = after.index(said) + len(said)
    end = next(i for i in range(digits, len(after)) if not after[i].isdigit())
    changed = str(int(after[digits:end]) - 2)
    record.write_text(f'{before}"standing":{after[:digits]}{changed}{after[end:]}\n{rest}')
    found = check(folder)
    assert any(words in problem for problem in found.problems)


def test_a_checkpoint_that_the_part_before_does_not_have(tmp_path: Path) -> None:
    folder = twice_lost(tmp_path / "run", Balanced)
    part = part_path(record_path(folder), 2)
    part.write_text("".join(line for line in part.read_text().splitlines(True) if '"checkpoint"' not in line[:60]))
    assert any("is not in the part before" in problem for problem in check(folder).problems)


def test_a_record_that_is_being_written_is_not_set_aside(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.header(run="r1", settings=SETTINGS, policy=Balanced(), parameters=7)
        with pytest.raises(HeldError, match="a server of this run is alive"):
            set_aside(tmp_path)
    assert set_aside(tmp_path) == 1
    assert set_aside(tmp_path) == 1
