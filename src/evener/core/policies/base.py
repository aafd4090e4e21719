"""What a policy is: answers about tickets, given the state. It never waits, and it changes nothing but itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..commands import Planned
from ..ledger import Lot, Ticket
from ..members import Member
from ..state import RunState
from ..values import value


@value
class Assignment:
    """The ticket a worker may have: ``size`` samples of ``lot``, started on a version ``≥ min_version``."""

    lot: Lot
    size: int
    min_version: int


@dataclass(frozen=True, slots=True)
class Late:
    """A remedy for a ticket that holds others up.

    With ``to`` it moves to that lot; ``expire`` makes its positions free again; else it is revoked, if unstarted.
    """

    ticket: Ticket
    to: Lot | None = None
    expire: bool = False


class Policy(ABC):
    """One strategy of synchronisation. Subclasses are values of a few options; ``docs/architecture.md`` has the whole.

    Class attributes:
        name: what ``--policy`` calls it.
        collects: one optimizer step per complete lot, a worker's tickets of it summed before they are pushed;
            otherwise each ticket is pushed alone and stepped at once.
        in_rank_order: contributions of a lot are summed by worker id rather than as they arrive.
        lots_ahead: how many lots beyond the oldest unfinished one may be open.
        reproducible: it plans with tickets of one fixed size (``Settings.micro_batch``), all computed on the version
            that their step updates.
        look_ahead: where it collects, whether a ticket that starts early is computed on parameters extrapolated by
            momentum to its step.
    """

    name: ClassVar[str]
    collects: ClassVar[bool] = True
    in_rank_order: ClassVar[bool] = False
    lots_ahead: int = 1
    reproducible: bool = False
    look_ahead: bool = False

    def quota(self, state: RunState, unlotted: int) -> int:
        """Size of the next lot, given what is left of the epoch: by default a batch, or the remainder."""
        return min(state.settings.batch, unlotted)

    @abstractmethod
    def assign(self, state: RunState, member: Member, now: float) -> Assignment | None:
        """The next ticket for ``member``, or ``None``: nothing for it at present.

        An answer may come to nothing (a worker keeps one ticket at most for a version to come); what came of it is
        told by :meth:`granted`.
        """

    def hinges(self, state: RunState, now: float) -> object:
        """What ``None`` hinges on: as long as this is the same, who was passed over would be again, and is not asked.

        ``None``, the default: on everything. What is free need not be part of it, nor a worker's own tickets.
        """
        return None

    def pauses(self, state: RunState) -> bool:
        """Whether nobody is given anything at present, whatever is free: then who was passed over is not asked again,
        not even where something has come back."""
        return False

    def best_placed(self, state: RunState) -> Iterable[int]:
        """Workers that are asked again all the same, if they were passed over."""
        return ()

    def granted(self, state: RunState, member: Member, lot: Lot) -> None:
        """``member`` was given what :meth:`assign` said."""

    def check(self, batch: int) -> None:
        """Whether the options fit a run with so many samples a batch; asked before it begins.

        Raises:
            ValueError: they do not. The message says what is valid.
        """

    def came(self, state: RunState, member: Member, now: float) -> None:
        """``member`` joined, or shows progress again after it was given up on."""

    def went(self, state: RunState, member: Member, now: float) -> None:
        """``member`` left, or was given up on; it holds no tickets any more."""

    def settled(self, state: RunState, member: Member, samples: int, now: float) -> None:
        """A push of ``member``, of so many samples, reached its end: applied, refused or declined.

        What it changes is in version ``state.issued``.
        """

    def rate_scale(self, staleness: int) -> float:
        """What the learning rate of a push is multiplied by, beside its part of the batch (``collects`` is false)."""
        return 1.0

    def too_stale(self, staleness: int) -> bool:
        """Whether a contribution of this staleness must be discarded and computed again."""
        return False

    def sits_out(self, state: RunState, member: Member) -> str:
        """Why ``member`` is of no use at present, in words; empty if it is."""
        return ""

    def opened(self, state: RunState, lot: Lot) -> Sequence[Planned]:
        """A lot was opened. A chance to plan it; what is returned goes into the record."""
        return ()

    def closed(self, state: RunState, lot: Lot) -> None:
        """A lot was stepped. A chance to learn from it."""

    def memory(self) -> tuple[tuple[str, float], ...]:
        """What a checkpoint must keep: not what is measured anew when workers come back."""
        return ()

    def recall(self, memory: tuple[tuple[str, float], ...]) -> None:
        """Take back what :meth:`memory` said; asked once, before the run goes on."""

    def deadline(self, state: RunState) -> float | None:
        """When to ask :meth:`late` although nothing happened."""
        return None

    def late(self, state: RunState, now: float) -> Sequence[Late]:
        """What to do about tickets that hold others up at ``now``."""
        return ()


def whole(name: str, value: object, least: int, unit: str) -> int:
    """``value`` as the whole number that the option ``name`` must be.

    Raises:
        ValueError: it is not a whole number, or below ``least``.

    >>> whole("bound", 3, 0, "clocks")
    3
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of {unit}, {least} or more, not {value!r}")
    return value


def check_micro_batch(micro_batch: int, policy: Policy) -> None:
    """Raise unless ``policy`` can keep to micro-batches of so many samples (0: it need not).

    Raises:
        ValueError: it cannot, or the number is no size of a micro-batch.
    """
    if micro_batch and not policy.reproducible:
        raise ValueError(
            "a reproducible run needs the policy balanced with bound 0, where every gradient is of the step's own "
            f"parameters; under {policy.name} as it is set, time decides"
        )
    if micro_batch < 0 or micro_batch == 1:
        raise ValueError(f"a micro-batch has 2 samples or more, not {micro_batch}: BatchNorm cannot normalise one")
