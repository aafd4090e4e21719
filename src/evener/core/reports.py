"""What workers report while they work: what they have begun, computed and received."""

from __future__ import annotations

import math

from . import events as e
from .feeding import Feeder
from .holdings import Holdings
from .leases import Leases
from .ledger import COMPUTED, QUEUED, STARTED
from .state import RunState

REPORTS = frozenset({e.Started, e.Computed, e.Received})
"""What ends no position and makes no version, so that no lot or epoch can be opened or closed after it."""


class Reports:
    """Notes what a report says of its worker and of its ticket.

    Args:
        state: of the run.
        holdings, leases: of the run.
        feeder: hears who may have room.
    """

    def __init__(self, state: RunState, holdings: Holdings, leases: Leases, feeder: Feeder) -> None:
        self._state = state
        self._holdings = holdings
        self._leases = leases
        self._feeder = feeder

    def started(self, report: e.Started, now: float) -> None:
        """A worker has begun a ticket."""
        found = self._holdings.known(report.worker, report.ticket)
        if found is None or found.state is not QUEUED:
            return
        member = self._state.members[report.worker]
        found.state = STARTED
        found.version, found.started, found.revoked = report.version, now, None
        member.schedule(now, self._state.version)
        self._feeder.offer(report.worker)

    def computed(self, report: e.Computed, now: float) -> None:
        """A worker has computed a ticket."""
        member = self._state.members.get(report.worker)
        found = self._holdings.known(report.worker, report.ticket)
        if member is None or found is None or found.state is COMPUTED:
            return
        found.state = COMPUTED
        if report.seconds > 0:
            member.learn(found.size, report.seconds)
        found.computed = now
        member.schedule(now, self._state.version)
        self._feeder.offer(report.worker)

    def received(self, report: e.Received, now: float) -> None:
        """A worker has newer parameters."""
        member, version = self._state.members.get(report.worker), report.version
        if member is None:
            return
        if member.absent and not any(t.state is STARTED for t in member.lost.values()):
            self._leases.back(member, now)  # parameters were all that it waited for
        if version > member.version:
            published = self._state.published.get(version, -math.inf)
            if published >= member.since and not member.cold:
                member.downlink.add(now - published)
            member.version = version
        if member.awaits is not None and version >= member.awaits[0]:
            member.turn.add(now - member.awaits[1])
            member.awaits = None
        member.schedule(now, self._state.version)
