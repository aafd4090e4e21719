"""The course of a run through its epochs: which lots are open, when an epoch is drawn, held and ended."""

from __future__ import annotations

from collections.abc import Iterator

from . import commands as c
from .ledger import Epoch, Fate, Lot
from .policies.base import Policy
from .standing import Standing, restore, standing_of
from .state import RunState

SNAPSHOTS = 2
"""Epochs whose snapshot the script on the server may owe before the next epoch is held."""


class Course:
    """Opens lots as the policy allows, epoch after epoch."""

    def __init__(self, state: RunState, policy: Policy) -> None:
        self._state = state
        self._policy = policy
        self._next_epoch = 0
        self._ended = 0
        self._opened = 0
        self._drawing = False
        self._held = False
        self._snapshots: set[int] = set()

    def resume(self, past: Standing) -> None:
        """Go on where the run stood; the ledger is new."""
        self._next_epoch = self._ended = past.ended
        self._snapshots.update(past.owed)
        for epoch in past.epochs:
            restore(self._state.ledger, epoch)
        self._opened = self._state.version if self._policy.collects else len(self._state.ledger.lots)

    def standing(self, policy: tuple[tuple[str, float], ...]) -> Standing | None:
        """Where the run stands; ``None`` while an epoch is being drawn."""
        if self._drawing:
            return None
        ledger, collects = self._state.ledger, self._policy.collects
        epochs = tuple(
            standing_of(epoch, [lot for lot in ledger.lots.values() if lot.epoch == epoch.index], collects)
            for epoch in ledger.epochs.values()
        )
        return Standing(self._state.version, self._ended, epochs, tuple(sorted(self._snapshots)), policy=policy)

    @property
    def owed(self) -> bool:
        """The script on the server owes a snapshot, for which the next epoch may have to wait."""
        return bool(self._snapshots)

    def drawn(self, epoch: int, positions: int) -> None:
        """The order of ``epoch`` exists."""
        self._drawing = False
        self._state.ledger.open_epoch(epoch, positions)

    def taken(self, epoch: int) -> None:
        """The script on the server took the snapshot of ``epoch``."""
        self._snapshots.discard(epoch)
        self._held = False

    def open_lots(self, out: list[c.Command]) -> Iterator[Lot]:
        """Open what may be open by now; asks for an epoch's order (in ``out``) where that is missing."""
        ledger, settings = self._state.ledger, self._state.settings
        while not self._drawing:
            epoch = ledger.epochs.get(self._next_epoch)
            oldest = self._state.version if self._policy.collects else min(ledger.lots, default=self._opened)
            if self._opened > oldest + self._policy.lots_ahead:
                return
            if epoch is None:
                if self._next_epoch < settings.epochs and not self._hold(out):
                    self._drawing = True
                    out.append(c.DrawEpoch(self._next_epoch))
                return
            if epoch.unlotted == 0:
                self._next_epoch += 1
                continue
            if settings.drop_last and epoch.unlotted < settings.batch:
                out.append(c.Dropped(epoch.index, ledger.drop_rest(epoch)))
                continue
            quota = self._policy.quota(self._state, epoch.unlotted)
            if settings.drop_last:
                quota -= quota % settings.batch
            lot = ledger.open_lot(epoch, quota)
            self._opened = lot.index + 1
            yield lot

    def _hold(self, out: list[c.Command]) -> bool:
        """Whether the next epoch must wait: its end would be one snapshot too many."""
        under_way = self._next_epoch - self._ended
        must = len(self._snapshots) + under_way >= SNAPSHOTS
        idle = not any(lot.free for lot in self._state.ledger.lots.values())
        if must and self._snapshots and idle and not self._held:
            self._held = True
            out.append(c.Hold(self._next_epoch, len(self._snapshots)))
        return must

    def settled(self) -> Epoch | None:
        """The oldest epoch, if its every position is settled and its every lot closed."""
        epoch = self._state.ledger.epochs.get(self._ended)
        if epoch is None or not epoch.complete:
            return None
        return None if any(lot.epoch == epoch.index for lot in self._state.ledger.lots.values()) else epoch

    def end(self, epoch: Epoch) -> c.EndEpoch:
        """Close the books of ``epoch``, which :meth:`open_lots` has gone past."""
        self._ended += 1
        self._snapshots.add(epoch.index)
        del self._state.ledger.epochs[epoch.index]
        return c.EndEpoch(epoch.index, self._state.version, *(epoch.ends[fate] for fate in Fate))

    @property
    def over(self) -> bool:
        """All epochs have ended."""
        return self._ended == self._state.settings.epochs
