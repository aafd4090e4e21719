"""The checker and replay: silent on what the coordinator does, loud on a record that was tampered with."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from simulated_records import simulate

from evener.core import commands as c
from evener.core import events as e
from evener.core.policies import Asynchronous, Balanced, Policy, Synchronous
from evener.core.state import Settings
from evener.observe.tally import Tally
from evener.simulation.cluster import Cluster, Host
from evener.trace import EventLine, Line, RecordError, check, read, replay
from evener.trace.schema import BrokenLine

POLICIES: dict[str, Callable[[], Policy]] = {
    "synchronous": Synchronous,
    "asynchronous": Asynchronous,
    "balanced": Balanced,
    "balanced-0": lambda: Balanced(bound=0),
    "balanced-2": lambda: Balanced(bound=2, stale_fraction=0.5),
}

LAST_HOST: dict[str, Host] = {
    "calm": Host(pace=300, noise=0.2),
    "dies": Host(pace=300, noise=0.2, dies=1.0),
    "joins late": Host(pace=300, noise=0.2, joins=1.0),
    "declines": Host(pace=300, noise=0.2, declines=5),
    "is refused": Host(pace=300, noise=0.2, refused=3),
    "stalls": Host(pace=300, noise=0.2, stalls=((0.5, 60.0),)),
}


CALM = LAST_HOST["calm"]


def _run(folder: Path, policy: Policy, last: Host = CALM, drop_last: bool = False) -> Path:
    hosts = (Host(pace=2400, noise=0.2), Host(pace=1200, noise=0.2), Host(pace=600, noise=0.2), last)
    settings = Settings(batch=384, epochs=3, workers=3, drop_last=drop_last)
    return simulate(folder, Cluster(hosts, evaluation=0.3, seed=5), settings, policy, 1501)


@pytest.mark.parametrize("drop_last", [False, True], ids=["keep", "drop"])
@pytest.mark.parametrize("host", LAST_HOST)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_simulated_run_is_proven(tmp_path: Path, policy: str, host: str, drop_last: bool) -> None:
    folder = _run(tmp_path / "run", POLICIES[policy](), LAST_HOST[host], drop_last)
    found = check(folder)
    assert found.problems == ()
    assert found.counted_once
    assert found.complete
    assert found.unfinished == 0
    assert found.unstepped == 0
    assert sum(found.total(end) for end in ("applied", "declined", "refused", "dropped")) == 3 * 1501
    assert (found.total("dropped") > 0) == drop_last
    assert (found.total("declined") > 0) == (host == "declines")
    assert (found.total("refused") > 0) == (host == "is refused")
    assert str(found).endswith("each exactly once")
    assert replay(folder) is None


@pytest.mark.parametrize("policy", POLICIES)
def test_a_run_interrupted_anywhere_raises_no_alarm(tmp_path: Path, policy: str) -> None:
    lines = list(read(_run(tmp_path / "run", POLICIES[policy](), LAST_HOST["dies"])))
    for stop in range(1, len(lines) - 2, 23):
        found = check(lines[:stop])
        assert found.counted_once, found.problems
        assert replay(lines[:stop]) is None
    middle = check(lines[: len(lines) // 2])
    assert not middle.complete
    assert middle.unfinished > 0
    assert sum(epoch.held for epoch in middle.epochs) > 0
    assert "interrupted" in str(middle)


def test_a_cut_record_says_so(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", Balanced())
    file = folder / "record.jsonl"
    file.write_bytes(file.read_bytes()[:-400])
    found = check(folder)
    assert found.truncated
    assert found.counted_once


# Tampering --------------------------------------------------------------------------------------------------

Edit = Callable[[c.Command], list[c.Command] | None]


def _edit(lines: list[Line], edit: Edit, after: int) -> list[Line]:
    """Replace the first command for which ``edit`` answers, at or after line ``after``."""
    out = list(lines)
    for at in range(after, len(out)):
        line = out[at]
        if isinstance(line, EventLine):
            for place, command in enumerate(line.commands):
                if (new := edit(command)) is not None:
                    commands = [*line.commands[:place], *new, *line.commands[place + 1 :]]
                    out[at] = EventLine(line.t, line.event, commands)
                    return out
    raise AssertionError("nothing to edit")


def _on(kind: type, **changes: object) -> Edit:
    """Change the fields of a command of that kind; a function gets the old value."""

    def edit(command: c.Command) -> list[c.Command] | None:
        if not isinstance(command, kind):
            return None
        new = {name: to(getattr(command, name)) if callable(to) else to for name, to in changes.items()}
        return [dataclasses.replace(command, **new)]

    return edit


def _without(kind: type) -> Edit:
    return lambda command: [] if isinstance(command, kind) else None


def _twice(kind: type) -> Edit:
    return lambda command: [command, command] if isinstance(command, kind) else None


TAMPERED: dict[str, tuple[Edit, str]] = {
    "other positions": (_on(c.Grant, ranges=lambda r: ((r[0][0] - 40, r[0][1] - 40),)), "which is"),
    "beyond the epoch": (_on(c.Grant, ranges=((1490, 1510),)), "epoch 0 has 1501"),
    "granted twice": (_twice(c.Grant), "was granted twice"),
    "granted to a stranger": (_on(c.Grant, worker=9), "who is not here"),
    "never granted": (_without(c.Grant), "NOT exactly once"),
    "added twice": (_twice(c.Accumulate), "was accumulated before"),
    "never added": (_without(c.Accumulate), "were added"),
    "other size": (_on(c.Accumulate, samples=lambda n: n + 1), "was added as"),
    "other step": (_on(c.Accumulate, step=lambda s: s + 1), "was added to step"),
    "other staleness": (_on(c.Accumulate, staleness=5), "has staleness"),
    "other factor": (_on(c.Accumulate, factor=0.9), "with factor"),
    "other sum": (_on(c.Step, samples=255), "counts 255 samples"),
    "other rescale": (_on(c.Step, rescale=2.0), "rescaled by 2.0"),
    "step skipped": (_without(c.Step), "is due"),
    "version skipped": (_on(c.Step, version=lambda v: v + 1), "is due"),
    "published early": (_on(c.Publish, version=lambda v: v + 1), "was published"),
    "other count": (_on(c.EndEpoch, applied=lambda n: n - 1), "is said to have"),
    "epoch ended twice": (_twice(c.EndEpoch), "is not under way"),
    "not given back": (_without(c.Returned), "should have gone back"),
    "given back twice": (_twice(c.Returned), "nobody holds it"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_found_and_replay_differs(tmp_path: Path, name: str) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced(), LAST_HOST["dies"])))
    edit, message = TAMPERED[name]
    tampered = _edit(lines, edit, after=60)
    found = check(tampered)
    assert not found.counted_once
    assert message in str(found) or any(message in problem for problem in found.problems)
    assert replay(tampered) is not None


def _first(lines: list[Line], kind: type) -> int:
    events = [line.event if isinstance(line, EventLine) else None for line in lines]
    return next(i for i, event in enumerate(events) if isinstance(event, kind))


def test_a_missing_line_is_found(tmp_path: Path) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced())))
    for kind in (e.Arrived, e.StepDone, e.EpochDrawn):
        at = _first(lines, kind)
        assert not check(lines[:at] + lines[at + 1 :]).counted_once


def test_staleness_beyond_the_bound_is_found(tmp_path: Path) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced(bound=1, stale_fraction=0.5))))
    text = (tmp_path / "run" / "record.jsonl").read_text()
    (tmp_path / "run" / "record.jsonl").write_text(text.replace('"bound":1', '"bound":0'))
    assert check(lines).counted_once
    found = check(tmp_path / "run")
    assert "beyond the bound 0" in str(found)


def test_many_problems_are_counted_not_listed(tmp_path: Path) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced())))
    found = check([EventLine(line.t, line.event, []) for line in lines if isinstance(line, EventLine)] * 20)
    assert len(found.problems) == 50
    assert found.more > 0


def test_an_unreadable_line_is_a_problem_and_stops_replay(tmp_path: Path) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced())))
    lines[50] = BrokenLine(51, "garbled", truncated=False)
    assert "line 51 cannot be read: garbled" in check(lines).problems[0]
    with pytest.raises(RecordError, match="line 51"):
        replay(lines)


def test_a_difference_reads_well(tmp_path: Path) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced())))
    difference = replay(_edit(lines, _on(c.Grant, min_version=3), after=40))
    assert difference is not None
    assert str(difference).startswith(f"line {difference.line}, event {difference.number} at ")
    assert isinstance(lines[difference.line - 1], EventLine)
    assert "the record says Grant(" in str(difference)
    assert "min_version=3" in str(difference)


def test_a_push_from_a_worker_that_left_is_a_race(tmp_path: Path) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced(), LAST_HOST["dies"])))
    left = _first(lines, e.Left)
    line = lines[left]
    assert isinstance(line, EventLine)
    gone = [command.ticket for command in line.commands if isinstance(command, c.Returned)]
    late = EventLine(line.t, e.Arrived(3, 99, tuple(gone), (0,) * len(gone), 16.0), [])
    found = check([*lines[: left + 1], late, *lines[left + 1 :]])
    assert found.counted_once
    assert found.late == 1


@pytest.mark.parametrize("seed", range(20))
def test_no_garbled_record_breaks_the_checker_or_the_tally(tmp_path: Path, seed: int) -> None:
    lines = list(read(_run(tmp_path / "run", Balanced(), LAST_HOST["dies"])))
    chance = random.Random(seed)
    for _ in range(30):
        at = chance.randrange(1, len(lines))
        match chance.choice(("drop", "repeat", "swap")):
            case "drop":
                del lines[at]
            case "repeat":
                lines.insert(chance.randrange(1, len(lines)), lines[at])
            case "swap":
                lines[at], lines[at - 1] = lines[at - 1], lines[at]
    assert not check(lines).counted_once
    tally = Tally()
    for line in lines:
        tally.update(line)
