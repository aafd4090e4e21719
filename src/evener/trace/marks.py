"""Where one part of a record ends for what counts, and the next begins: the checkpoint between them."""

from __future__ import annotations

from dataclasses import dataclass

from .accounting import EpochAccount
from .positions import Book
from .schema import Resumed


@dataclass(frozen=True, slots=True)
class Mark:
    """What the parameters of ``version`` contain: the books of the epochs under way, and the epochs that are over."""

    version: int
    books: dict[int, Book]
    ended: list[EpochAccount]

    def differences(self, said: Mark) -> list[str]:
        """What is ``said`` otherwise where the next part begins, in words."""
        found = []
        if self.version != said.version:
            found.append(f"the run went on from version {said.version}, but its checkpoint was of {self.version}")
        for epoch in sorted(self.books.keys() | said.books.keys()):
            ours, theirs = self.books.get(epoch), said.books.get(epoch)
            if ours is None or theirs is None or not ours.same(theirs):
                found.append(f"the run went on with other ends of epoch {epoch} than its checkpoint had")
        if self.ended != said.ended:
            found.append("the run went on with other epochs over than its checkpoint had")
        return found


def mark_of(resumed: Resumed) -> Mark:
    """What a header says."""
    ended = []
    for epoch in resumed.ended:
        ends = (epoch.applied, epoch.declined, epoch.refused, epoch.dropped)
        ended.append(EpochAccount(epoch.epoch, sum(ends), *ends, held=0, ended=True))
    return Mark(resumed.standing.version, {one.epoch: Book.of(one) for one in resumed.standing.epochs}, ended)
