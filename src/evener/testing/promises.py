"""What single policies promise beyond the contract that all keep, each with books of its own.

:class:`Promises` hears the life of every ticket from :class:`~evener.testing.Invariants`. A policy with promises of its
own has a subclass in ``PROMISES``, under its name; without one it is under the general contract alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import commands as c
from ..core import events as e
from ..core.policies import Delayed, Policy
from ._books import promise

Key = tuple[int, int]
"""A push: worker and number."""


class Promises:
    """Promises nothing. Override what a policy's promises need to know.

    Members are those that a policy must count on: who was given up on goes, and comes when it is back.
    """

    def __init__(self) -> None:
        self.members: set[int] = set()
        self.out: dict[int, c.Grant] = {}

    def came(self, worker: int) -> None:
        """``worker`` takes part from now on."""
        self.members.add(worker)

    def went(self, worker: int) -> None:
        """It does no more. Its tickets are returned next."""
        self.members.discard(worker)

    def granted(self, grant: c.Grant) -> None:
        """A ticket is out."""
        self.out[grant.ticket] = grant

    def returned(self, ticket: int) -> None:
        """It was given back."""
        del self.out[ticket]

    def accepted(self, push: e.Arrived) -> None:
        """A push will be applied; its tickets settle next."""

    def settled(self, ticket: int) -> None:
        """A ticket was applied, refused or declined."""
        del self.out[ticket]

    def added(self, add: c.Accumulate) -> None:
        """A push is in the gradient of a step."""

    def held(self, worker: int) -> list[int]:
        """Tickets that a worker has, oldest first."""
        return [ticket for ticket, grant in self.out.items() if grant.worker == worker]


class ClockPromises(Promises):
    """Nobody computes more than ``s`` clocks ahead, or on parameters without the updates of clocks ``< c − s``."""

    def __init__(self, bound: int) -> None:
        super().__init__()
        self.bound = bound
        self.clocks: dict[int, int] = {}
        self._slowest = 0
        self._needs: dict[int, int] = {}
        self._pending: dict[Key, int] = {}
        self._made: dict[int, int] = {}

    def came(self, worker: int) -> None:
        """At the slowest's clock."""
        super().came(worker)
        self.clocks[worker] = self.slowest()

    def went(self, worker: int) -> None:
        """Its clock stops to count."""
        super().went(worker)
        self.slowest()
        self.clocks.pop(worker, None)

    def slowest(self) -> int:
        """The least clock; where nobody is left, the last there was."""
        self._slowest = min(self.clocks.values(), default=self._slowest)
        return self._slowest

    def granted(self, grant: c.Grant) -> None:
        """Not too far ahead."""
        clock = self.clocks[grant.worker] + len(self.held(grant.worker))
        super().granted(grant)
        lead = clock - self.slowest()
        promise(lead <= self.bound, f"{grant} is {lead} clocks ahead, the bound is {self.bound}")
        self._needs[grant.ticket] = clock - self.bound

    def accepted(self, push: e.Arrived) -> None:
        """Computed on parameters that were fresh enough?"""
        for ticket, version in zip(push.tickets, push.versions, strict=True):
            needs = self._needs[ticket]
            missing = [key for key, clock in self._pending.items() if clock < needs]
            promise(not missing, f"ticket {ticket} needs all updates before clock {needs}, {missing} are to come")
            least = max((made for clock, made in self._made.items() if clock < needs), default=0)
            promise(version >= least, f"ticket {ticket} was computed on version {version}, it needs {least}")
        self._pending[push.worker, push.push] = self.clocks[push.worker]

    def settled(self, ticket: int) -> None:
        """One clock more."""
        self.clocks[self.out[ticket].worker] += 1
        super().settled(ticket)

    def added(self, add: c.Accumulate) -> None:
        """Its update is in the version that this step makes."""
        clock = self._pending.pop((add.worker, add.push))
        self._made[clock] = max(self._made.get(clock, 0), add.step + 1)


class WindowPromises(Promises):
    """Windows have true barriers, and nobody makes more than ``d`` pushes in one."""

    def __init__(self, policy: Delayed) -> None:
        super().__init__()
        self.policy = policy
        self.version = 0
        self.team: set[int] = set()
        self.begun: set[int] = set()
        self.pushes: dict[int, int] = {}
        self._before: set[Key] = set()
        self._within: set[Key] = set()

    def went(self, worker: int) -> None:
        """Nobody waits for it in this window."""
        super().went(worker)
        self.team.discard(worker)

    def granted(self, grant: c.Grant) -> None:
        """On this window's version, and no more than ``d``."""
        if not self.out:
            self._open(grant)
        promise(grant.worker in self.team, f"{grant} for a worker that joined within the window")
        landed = all(self.pushes.get(worker) for worker in self.team)
        promise(not landed, f"{grant} although the slowest has landed")
        first = grant.worker not in self.begun
        self.begun.add(grant.worker)
        same = grant.min_version == self.version
        promise(same, f"{grant} in a window of version {self.version}{', as its first' if first else ''}")
        made = self.pushes.get(grant.worker, 0) + len(self.held(grant.worker)) + 1
        most = self.policy.delay if isinstance(self.policy.delay, int) else self.policy.limit
        promise(made <= most, f"{grant} is push {made} of its window, of at most {most}")
        super().granted(grant)

    def _open(self, grant: c.Grant) -> None:
        self._before |= self._within
        self._within = set()
        self.version = grant.min_version
        self.team, self.begun, self.pushes = set(self.members), set(), {}

    def accepted(self, push: e.Arrived) -> None:
        """On nothing older than the window."""
        promise(min(push.versions) >= self.version, f"{push} is older than its window, of version {self.version}")
        if not self.pushes:
            promise(set(push.versions) == {self.version}, f"{push} is the first of version {self.version}")
        self._within.add((push.worker, push.push))

    def settled(self, ticket: int) -> None:
        """One push more."""
        worker = self.out[ticket].worker
        self.pushes[worker] = self.pushes.get(worker, 0) + 1
        super().settled(ticket)

    def added(self, add: c.Accumulate) -> None:
        """Before this window's version, or after it."""
        key = add.worker, add.push
        if key in self._before:
            promise(add.step < self.version, f"{add} is of an earlier window, but not in version {self.version}")
            self._before.discard(key)
        else:
            promise(add.step >= self.version, f"{add} is of this window, and yet in version {self.version}")
            self._within.discard(key)


PROMISES: dict[str, Callable[[Any], Promises]] = {
    "stale": lambda policy: ClockPromises(policy.bound),
    "dynamic": lambda policy: ClockPromises(policy.s_max),
    "delayed": WindowPromises,
}
"""By a policy's name: what makes its checker from the policy."""


def promises_of(policy: Policy) -> Promises:
    """The checker of what ``policy`` promises."""
    return PROMISES[policy.name](policy) if policy.name in PROMISES else Promises()
