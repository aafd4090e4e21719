"""The state of a run, as a value: what policies look at and the coordinator alone changes."""

from __future__ import annotations

from dataclasses import dataclass, field

from .ledger import Ledger, Lot
from .members import Member

FEW = 64
"""Members up to which what follows from all of them is found out anew whenever anything changes."""

PART = 4
"""With more members, one change for every so many beyond those comes before it is."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is fixed for a run.

    Attributes:
        batch: samples per optimizer step, ``B``.
        epochs: passes over the data.
        workers: how many are expected; the run starts when so many have joined.
        patience: seconds to wait, from the first join, for the others.
        drop_last: whether an epoch's remainder is dropped.
        seed: of the run; recorded, not used here.
        micro_batch: samples of every ticket, cut from the step's start, and summed in that order, so that a run is
            the same to the bit whoever computes what; 0: the policy's to say.
    """

    batch: int
    epochs: int
    workers: int = 1
    patience: float = 30.0
    drop_last: bool = False
    seed: int = 0
    micro_batch: int = 0


@dataclass(slots=True)
class RunState:
    """Everything that decisions depend on.

    ``version`` is the newest published version, ``issued`` the one there will be when all steps that are due are done;
    ``published``: when the last versions were, in seconds. ``changes`` grows with every event and every decision: what
    is derived from the state holds as long as it is the same.
    """

    settings: Settings
    ledger: Ledger = field(default_factory=Ledger)
    members: dict[int, Member] = field(default_factory=dict)
    version: int = 0
    issued: int = 0
    published: dict[int, float] = field(default_factory=dict)
    changes: int = 0

    @property
    def few(self) -> bool:
        """So few members are there that each of them matters to the others."""
        return len(self.members) <= FEW

    @property
    def glance(self) -> int:
        """What is derived from all members holds as long as this is the same.

        One of many moves the plan of all by about its part of them: with more than :data:`FEW` members a plan is kept
        for some changes, so that what a change costs does not grow with their number.
        """
        return self.changes // max(1, (len(self.members) - FEW) // PART)

    def lots(self) -> list[Lot]:
        """Open lots, oldest first."""
        return list(self.ledger.lots.values())

    def active(self) -> list[Member]:
        """Members that take part, by id."""
        return [m for _, m in sorted(self.members.items()) if not (m.sits_out or m.absent)]
