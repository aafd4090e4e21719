"""What is found out once for all who ask is what each would have found out alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evener.core import plan
from evener.core.forecast import Step, Team
from evener.core.ledger import Lot
from evener.core.policies import Balanced
from evener.core.state import RunState
from evener.testing.strategies import Schedule, schedules

# A few moments and paces only, so that workers are often equal.
moments = st.sampled_from((0.0, 0.5, 1.0, 1.7))
paces = st.sampled_from((10.0, 33.3, 0.1))


@given(st.lists(st.tuples(moments, paces), min_size=1, max_size=6), st.integers(0, 100), moments, moments, st.data())
def test_the_close_is_that_of_the_asker_among_its_rivals(
    team: list[tuple[float, float]], free: int, sooner: float, landed: float, data: st.DataObject
) -> None:
    basins = [(start, pace, worker) for worker, (start, pace) in enumerate(team)]
    step = Step(Lot(0, 0, 0, 100, [], free), basins, landed)
    asker = data.draw(st.integers(0, len(team)))  # the last takes no part
    start, pace = team[asker] if asker < len(team) else (1.0, 10.0)
    mine = (max(0.0, start - sooner), pace, asker)
    rivals = [basin for basin in basins if basin[2] != asker]
    assert step.close(mine) == max(plan.close_time([mine, *rivals], free), landed)
    piece = min(free, 16)
    first = all(mine[0] + piece / pace <= begin + piece / other for begin, other, _ in rivals)
    assert step.lands_first(mine, 16) is first


class Forgetful(Balanced):
    """Looks at everything anew for each question."""

    def _look(self, state: RunState) -> Team:
        self._seen = -1
        return super()._look(state)


@given(schedules(), st.sampled_from((0, 1, 2, "auto")), st.sampled_from((0.0, 0.1, 0.5)))
def test_a_plan_that_is_kept_decides_as_one_made_anew(schedule: Schedule, bound: int | str, fraction: float) -> None:
    kept = schedule.run(Balanced(bound, fraction), watch=False)
    anew = schedule.run(Forgetful(bound, fraction), watch=False)
    assert kept.log == anew.log
