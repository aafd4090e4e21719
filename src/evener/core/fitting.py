"""Who fits into the steps of the others: with tickets how small, and who is of no use at present."""

from __future__ import annotations

from . import plan
from .members import Member
from .state import Settings
from .team import Team

FITS = 0.9
"""A ticket fits into a step if it takes at most this part of it: durations vary, and one late worker delays all."""

COMEBACK = 0.9
"""Who sits out must fit better than that by this factor to be called back: it must not come and go."""


class Fitting:
    """Fits workers into steps.

    Args:
        stale_fraction: ``φ``, the mean share of a batch's samples that may have staleness ≥ 1.
    """

    def __init__(self, stale_fraction: float) -> None:
        self._stale_fraction = stale_fraction
        self._slow: set[int] = set()  # too slow for the smallest ticket of the others: theirs is smaller

    def forget(self, worker: int) -> None:
        """Nothing is known of it any more."""
        self._slow.discard(worker)

    def ladder(self, team: Team, member: Member) -> tuple[int, ...]:
        """Samples of the tickets that it is given, ascending."""
        return (plan.LEAST, *team.sizes) if member.worker in self._slow else team.sizes

    def smallest(self, team: Team, member: Member) -> int:
        """The first of them."""
        return plan.LEAST if member.worker in self._slow else team.sizes[0]

    def fit(self, team: Team, member: Member) -> tuple[float, float, bool]:
        """Seconds that its smallest ticket takes, those that the others compute for a batch, and whether it fits in.

        From the publication of one version to that of the next, transfers count for it as for the others.
        """
        seconds, step = member.seconds(self.smallest(team, member)) + member.uplink.value, team.others_step(member)
        longest = _part(member) * step + team.others_trip(member)
        return seconds, step, seconds + member.downlink.value <= longest

    def suit(self, settings: Settings, team: Team, member: Member) -> bool:
        """Give who is too slow for the smallest ticket of the others smaller ones, until a step has room for those.

        Who was given none at all since the last step must have a tenth to spare, as who has smaller ones.

        Returns:
            Whether that has changed.
        """
        smallest, pace = team.sizes[0], member.pace.value
        if settings.micro_batch or smallest <= plan.LEAST:
            return False
        part = pace / (pace + team.others_pace(member))
        share = min(FITS, plan.caution(part, member.noise.value)) * pace * team.others_step(member)
        slow = member.worker in self._slow
        passed_over = not (member.used or member.tickets or member.sits_out)
        if (share < plan.worth(part) * smallest / (COMEBACK if slow or passed_over else 1.0)) == slow:
            return False
        self._slow ^= {member.worker}
        return True

    def useless(self, settings: Settings, team: Team, member: Member, ahead: bool) -> str:
        """Why ``member`` is of no use at present, in words; empty if it is.

        It is where its smallest ticket fits into a step, or, started a step early (``ahead``: that may be), into two of
        them, if the staleness budget has that much to spare.
        """
        seconds, step, fits = self.fit(team, member)
        if fits:
            return ""
        spans, others = 2, 0.0
        a_step = self.smallest(team, member) * min(1.0, step / seconds)
        if a_step > self._stale_fraction * settings.batch or not ahead:
            spans, others = 1, team.others_trip(member)
        elif seconds + member.downlink.value <= _part(member) * spans * step:
            return ""
        allowed = "a step" if spans == 1 else f"{spans} steps"
        up, down = member.uplink.value, member.downlink.value
        if up + down - others > seconds - up:
            way = f"new parameters take {down:.2g} s to it" if down > up else f"a contribution takes {up:.2g} s from it"
            return (
                f"its link is too slow: {way}, its smallest ticket {seconds - up:.2g} s, too long for {allowed} of "
                f"{step:.2g} s: a faster link, fewer bytes or a larger batch would let it help"
            )
        return (
            f"its smallest ticket takes {seconds:.2g} s, too long for {allowed} of {step:.2g} s: "
            "a larger batch would let it help"
        )


def _part(member: Member) -> float:
    """The part of a step that its ticket may take."""
    return FITS * (COMEBACK if member.sits_out else 1.0)
