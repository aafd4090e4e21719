"""When scripted faults are due, by what the coordinator hears and says: in a simulation, or in a record that grows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..core import commands as c
from ..core import events as e
from .faults import COMPUTE, EPOCH, JOIN, PULL, PUSH, SERVER, Fault


class Moments:
    """Tells which faults are due. Each is due once.

    Args:
        faults: all of a script's, those at known times too if whoever asks calls :meth:`passed`.

    Example:
        >>> moments = Moments([Fault(0, None, "dies", during="compute")])
        >>> [str(fault) for fault in moments.heard(e.Started(0, ticket=1, version=0), (), now=2.5)]
        ['in compute kill worker 0']
        >>> moments.left
        []
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.left = list(faults)
        self._steps = 0
        self._here: set[int] = set()
        self._groups: dict[int, dict[int, int]] = {}  # by worker: the group of each ticket it has yet to compute

    def passed(self, now: float) -> list[Fault]:
        """It is ``now`` (seconds since the run began): what was to happen by then."""
        return self._due([fault for fault in self.left if fault.timed and (fault.at or 0.0) <= now])

    def resumed(self, version: int) -> list[Fault]:
        """A server goes on from ``version``, and all workers will join anew; what will therefore never be due."""
        self._steps = version
        self._here.clear()
        self._groups.clear()
        return self._due(self._at_steps(version - 1))

    def greeted(self, worker: int, now: float) -> list[Fault]:
        """A worker has said hello; it will join when it has warmed up."""
        return self._during(JOIN, worker, now)

    def heard(self, event: e.Event, commands: Sequence[c.Command], now: float) -> list[Fault]:
        """The coordinator heard ``event`` at ``now``, and said ``commands``."""
        due: list[Fault] = []
        match event:
            case e.Started(worker):
                due += self._during(COMPUTE, worker, now)
            case e.Computed(worker, ticket):
                group = self._groups.get(worker, {}).pop(ticket, None)
                if group is not None and group not in self._groups[worker].values():
                    due += self._during(PUSH, worker, now)
            case e.Joined(worker):
                self._here.add(worker)
                self._groups[worker] = {}
                due += self._during(JOIN, worker, now)
            case e.Left(worker):
                self._here.discard(worker)
                self._groups.pop(worker, None)
            case e.Declined(worker, ticket) | e.Released(worker, ticket):
                self._groups.get(worker, {}).pop(ticket, None)
            case _:
                pass
        for command in commands:
            match command:
                case c.Grant(worker=worker, ticket=ticket, group=group):
                    self._groups.setdefault(worker, {})[ticket] = group
                case c.Publish(version):
                    self._steps = version
                    due += self._due(self._at_steps(version))
                    for worker in sorted(self._here):
                        due += self._during(PULL, worker, now)
                case c.EndEpoch():
                    for worker in (SERVER, *sorted(self._here)):
                        due += self._during(EPOCH, worker, now)
                case _:
                    pass
        return due

    def _during(self, what: str, worker: int, now: float) -> list[Fault]:
        """The first such fault of this worker: of two scripted alike, the second waits for the next time."""
        found = (f for f in self.left if f.during == what and f.worker == worker and self._begun(f, now))
        first = next(found, None)
        return self._due([first] if first is not None else [])

    def _at_steps(self, version: int) -> list[Fault]:
        return [f for f in self.left if not f.during and f.step is not None and f.step <= version]

    def _begun(self, fault: Fault, now: float) -> bool:
        return now >= (fault.at or 0.0) and self._steps >= (fault.step or 0)

    def _due(self, faults: list[Fault]) -> list[Fault]:
        for fault in faults:
            self.left.remove(fault)
        return faults
