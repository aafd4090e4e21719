"""A coordinator driven by hand: the test says what workers do, the rest is answered at once."""

from __future__ import annotations

from typing import TypeVar

from evener.core import commands as c
from evener.core import events as e
from evener.core.coordinator import Coordinator
from evener.core.policies import Policy
from evener.core.ranges import size
from evener.core.state import Settings
from evener.testing.strategies import watch_for

C = TypeVar("C")


class Script:
    """Server time stands still unless a test moves it. Every event is checked by the invariants."""

    def __init__(
        self,
        policy: Policy,
        positions: int = 16,
        batch: int = 8,
        epochs: int = 1,
        workers: int = 1,
        patience: float = 30.0,
        drop_last: bool = False,
        steps: bool = True,
        snapshots: bool = True,
    ) -> None:
        settings = Settings(batch, epochs, workers, patience, drop_last)
        self.coordinator = Coordinator(settings, policy)
        self.positions = positions
        self.now = 0.0
        self.said: list[c.Command] = []
        self.steps, self.snapshots = steps, snapshots
        self.granted: dict[int, c.Grant] = {}
        self._watch = watch_for(settings, policy)
        self._pushes = 0

    def tell(self, event: e.Event) -> list[c.Command]:
        """Returns what was said to ``event``, and to what follows from it at once."""
        said: list[c.Command] = []
        events = [event]
        while events:
            heard = events.pop(0)
            commands = self.coordinator.handle(heard, self.now)
            self._watch(self.coordinator, heard, commands, self.now)
            said += commands
            for command in commands:
                match command:
                    case c.DrawEpoch(epoch):
                        events.append(e.EpochDrawn(epoch, self.positions))
                    case c.Step(version=version) if self.steps:
                        events.append(e.StepDone(version, 0.0))
                    case c.EndEpoch(epoch) if self.snapshots:
                        events.append(e.SnapshotTaken(epoch))
                    case c.Grant(ticket=ticket):
                        self.granted[ticket] = command
                    case _:
                        pass
        self.said += said
        return said

    def of(self, kind: type[C]) -> list[C]:
        """All commands of one kind, so far."""
        return [command for command in self.said if isinstance(command, kind)]

    def join(self, *workers: int, pace: float | None = 100.0) -> list[c.Command]:
        said: list[c.Command] = []
        for worker in workers:
            said += self.tell(e.Joined(worker, self.coordinator.state.version, pace))
        return said

    def held(self, worker: int) -> list[int]:
        """Tickets that the coordinator takes to be ``worker``'s, oldest first."""
        member = self.coordinator.state.members.get(worker)
        return sorted(member.tickets) if member else []

    def samples(self, ticket: int) -> int:
        return size(self.granted[ticket].ranges)

    def start(self, worker: int, ticket: int, version: int | None = None) -> list[c.Command]:
        version = self.coordinator.state.version if version is None else version
        return self.tell(e.Started(worker, ticket, version))

    def push(
        self, worker: int, *tickets: int, version: int | None = None, verdict: str = "ok", number: int | None = None
    ) -> list[c.Command]:
        """A contribution arrives (its ``Started`` and ``Computed`` need not have)."""
        if number is None:
            number = self._pushes = self._pushes + 1
        version = self.coordinator.state.version if version is None else version
        weight = float(sum(self.samples(ticket) for ticket in tickets))
        return self.tell(e.Arrived(worker, number, tickets, (version,) * len(tickets), weight, verdict))

    def work(self, *workers: int, verdict: str = "ok", rounds: int = 1000) -> None:
        """Each worker in turn does its first ticket that may start, until there is none or the run is over."""
        for _ in range(rounds):
            before = len(self.said)
            for worker in workers:
                self._answer(worker)
                may = [t for t in self.held(worker) if self.granted[t].min_version <= self.coordinator.state.version]
                if may:
                    self.start(worker, may[0])
                    self.push(worker, may[0], verdict=verdict)
            if self.coordinator.finished or len(self.said) == before:
                return

    def _answer(self, worker: int) -> None:
        """Give back what was asked back, not started."""
        if member := self.coordinator.state.members.get(worker):
            for ticket in [t.id for t in member.lost.values() if t.revoked is not None]:
                self.tell(e.Released(worker, ticket))

    def wait(self, seconds: float) -> list[c.Command]:
        """Let time pass, with a ``Tick`` at each deadline on the way."""
        end, said = self.now + seconds, []
        for _ in range(100_000):
            deadline = self.coordinator.deadline()
            if deadline is None or deadline > end:
                self.now = end
                return said
            self.now = max(self.now, deadline)
            said += self.tell(e.Tick())
        raise AssertionError(f"ticks without end at {self.now}")


def only(commands: list[c.Command], kind: type[C]) -> list[C]:
    """Those of one kind."""
    return [command for command in commands if isinstance(command, kind)]
