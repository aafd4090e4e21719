"""A policy is one file: found by itself, and held to the contract without further doing."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given

from evener.core import events as e
from evener.core import policies
from evener.core.ledger import Lot
from evener.core.members import Member
from evener.core.policies import POLICIES, Policy, Synchronous, discover
from evener.core.state import RunState
from evener.launch import LaunchError
from evener.launch.options import check_policy
from evener.runtime.place import PolicyChoice
from evener.testing.strategies import Schedule, schedules
from evener.trace import describe, rebuild

from .script import Script

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-policy.md"


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Meanwhile the files of ``folder`` count as the package's; afterwards nothing is left of them."""
    known = set(sys.modules)
    policies.__path__.append(str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        policies.__path__.remove(str(folder))
        for name in set(sys.modules) - known:
            if name.startswith(policies.__name__):
                del sys.modules[name]
        importlib.invalidate_caches()


@pytest.fixture(scope="module")
def proportional(tmp_path_factory: pytest.TempPathFactory) -> Iterator[type[Policy]]:
    """The policy of the page, found when it is dropped into the package."""
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(code) == 1
    folder = tmp_path_factory.mktemp("policies")
    (folder / "proportional.py").write_text(code[0])
    with beside(folder):
        found = discover()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(POLICIES, "proportional", found["proportional"])
        yield found["proportional"]


class Told(Synchronous):
    """Notes of which run it is told, and does not keep its option."""

    def __init__(self, title: str = "") -> None:
        super().__init__()
        self.states: dict[str, set[int]] = {}

    def _note(self, what: str, state: RunState) -> None:
        self.states.setdefault(what, set()).add(id(state))

    def came(self, state: RunState, member: Member, now: float) -> None:
        self._note("came", state)

    def went(self, state: RunState, member: Member, now: float) -> None:
        self._note("went", state)

    def settled(self, state: RunState, member: Member, samples: int, now: float) -> None:
        self._note("settled", state)

    def granted(self, state: RunState, member: Member, lot: Lot) -> None:
        self._note("granted", state)

    def opened(self, state: RunState, lot: Lot) -> tuple[()]:
        self._note("opened", state)
        return ()


def test_a_policy_is_told_of_its_run() -> None:
    policy = Told("any")
    run = Script(policy, workers=2)
    run.join(0, 1)
    run.tell(e.Left(1, "died"))
    run.work(0)
    assert set(policy.states) == {"came", "opened", "granted", "went", "settled"}
    assert set.union(*policy.states.values()) == {id(run.coordinator.state)}


def test_all_that_there_are_are_found() -> None:
    assert list(discover()) == ["asynchronous", "balanced", "delayed", "dynamic", "stale", "synchronous"]


@given(schedule=schedules())
def test_the_policy_of_the_page_keeps_the_contract(proportional: type[Policy], schedule: Schedule) -> None:
    outcome = schedule.run(proportional())
    assert outcome.finish is not None


@given(schedule=schedules(faults=False))
def test_the_policy_of_the_page_applies_every_position(proportional: type[Policy], schedule: Schedule) -> None:
    outcome = schedule.run(proportional())
    assert outcome.finish is not None
    assert outcome.finish.reason == "complete"


def test_the_policy_of_the_page_can_be_chosen_and_is_recorded(proportional: type[Policy]) -> None:
    check_policy(PolicyChoice("proportional", {"least": 8}))
    with pytest.raises(LaunchError, match="least must be a whole number of samples, 2 or more, not 1"):
        check_policy(PolicyChoice("proportional", {"least": 1}))
    with pytest.raises(LaunchError, match=r"synchronous has no option 'least'.* proportional has it"):
        check_policy(PolicyChoice("synchronous", {"least": 1}))
    used = describe(proportional(least=8))  # type: ignore[call-arg]
    assert (used.name, used.options) == ("proportional", {"least": 8})
    assert isinstance(rebuild(used), proportional)


def test_two_policies_of_one_name_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "twin.py").write_text("from .stale import Stale\nclass Twin(Stale):\n    pass\n")
    with beside(tmp_path), pytest.raises(ValueError, match="two policies are called 'stale'"):
        discover()
