"""What the checker found: where every position of every epoch ended, and what does not fit."""

from __future__ import annotations

from dataclasses import dataclass

FREE, HELD, APPLIED, DECLINED, REFUSED, DROPPED = range(6)
WORDS = ("free", "held by a ticket", "applied", "declined", "refused", "dropped")


@dataclass(frozen=True, slots=True)
class EpochAccount:
    """Where one epoch's positions are; counts are in samples. ``ended``: the coordinator declared its end."""

    epoch: int
    positions: int
    applied: int
    declined: int
    refused: int
    dropped: int
    held: int
    ended: bool

    @property
    def unfinished(self) -> int:
        """Positions without an end: free, or held by a ticket."""
        return self.positions - self.applied - self.declined - self.refused - self.dropped


@dataclass(frozen=True, slots=True)
class Accounting:
    """The checker's result.

    Attributes:
        epochs: one account per drawn epoch.
        steps: steps that were issued; ``unstepped``: samples applied to a batch whose step was not done.
        returned: tickets whose positions went back to the pool.
        late: pushes that came after their worker had left, or a second time.
        discarded: samples of contributions that were thrown away and ticketed again.
        complete: the run says that it went through all its epochs.
        truncated: the record's last line is cut short.
        problems: what does not fit, in words; ``more``: how many more there were.
    """

    epochs: tuple[EpochAccount, ...]
    steps: int
    unstepped: int
    returned: int
    late: int
    discarded: int
    complete: bool
    truncated: bool
    problems: tuple[str, ...]
    more: int = 0

    @property
    def counted_once(self) -> bool:
        """No position counted twice or got lost. Of an interrupted run, some may be :attr:`unfinished`."""
        return not self.problems

    @property
    def unfinished(self) -> int:
        """Positions of drawn epochs that have no end."""
        return sum(epoch.unfinished for epoch in self.epochs)

    def total(self, end: str) -> int:
        """Positions of all epochs that ended so: ``applied``, ``declined``, ``refused`` or ``dropped``."""
        return sum(int(getattr(epoch, end)) for epoch in self.epochs)

    def __str__(self) -> str:
        found = {end: self.total(end) for end in WORDS[APPLIED:]}
        ends = ", ".join(f"{count} {end}" for end, count in found.items() if count or end == "applied")
        positions = sum(epoch.positions for epoch in self.epochs)
        text = f"{positions} positions in {len(self.epochs)} epochs: {ends}"
        if self.unfinished:
            held = sum(epoch.held for epoch in self.epochs)
            text += f", {self.unfinished} unfinished ({held} of them with workers)"
        if self.problems:
            return f"{text}. NOT exactly once: {self.problems[0]}" + (
                f" (and {len(self.problems) - 1 + self.more} more)" if len(self.problems) > 1 else ""
            )
        return text + (", each exactly once" if self.complete else "; interrupted, and none counted twice")
