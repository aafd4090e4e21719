"""A run while it runs: a panel to draw again and again, or one plain line per epoch."""

from __future__ import annotations

import os
from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..trace import BrokenLine, Clock, HeaderLine, Line
from . import words
from .summary import speed_of
from .tally import Tally
from .work import RECENT, Work

BAR = 12
"""Width of a worker's share bar, in cells."""


UNREADABLE = 3
"""Damaged lines of the record that are told of; the summary counts them all."""


class LiveView:
    """The state of a run for the eye. It has no thread and reads no file.

    Attributes:
        tally: what was counted.
        silent: seconds without news that are worth showing, as its owner's clock tells; 0: none.

    Example:
        >>> from evener.trace import Tail
        >>> tail, view = Tail("runs/one"), LiveView()
        >>> view.update(tail.lines())  # a few times a second; then show view.render()
        >>> view.epoch_lines()
        []
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.silent = 0.0
        self._clock = Clock()
        self._told = 0
        self._warned = 0
        self._unreadable = 0

    def update(self, lines: Iterable[Line]) -> None:
        """Take the next lines of the record: of its parts, in order."""
        for line in lines:
            if isinstance(line, BrokenLine) and not line.truncated:
                self._unreadable += 1
                if self._unreadable <= UNREADABLE:
                    self.tally.warnings.append(f"line {line.number} of the record cannot be read: {line.why}")
            self.tally.update(self._clock(line))
            if isinstance(line, HeaderLine):  # epochs whose end was lost are told of again
                self._told = min(self._told, len(self.tally.ended))

    @property
    def over(self) -> bool:
        """The record has its last line."""
        return self.tally.end is not None

    # Plain lines --------------------------------------------------------------------------------------------

    def epoch_lines(self, final: bool = False) -> list[str]:
        """A line of text for each epoch that ended since the last call.

        An epoch's line waits for what the script logs about it: until the next epoch's or the record's end at
        most. ``final``: nothing more will come, so nothing is waited for.
        """
        tally = self.tally
        lines = []
        while self._told < len(tally.ended):
            end, t = tally.ended[self._told]
            later = self._told + 1 < len(tally.ended)
            evaluated = any(log.source == "server" and log.epoch >= end.epoch for log in tally.logs.values())
            if not (evaluated or later or final or self.over):
                break
            before = tally.ended[self._told - 1][1] if self._told else tally.first_grant
            seconds = t - before if before is not None else 0.0
            facts = [f"epoch {end.epoch + 1}/{self._epochs()}"]
            if seconds > 0:
                here = end.applied - tally.unseen.get(end.epoch, 0)
                facts.append(f"{words.rate(here / seconds)} samples/s")
            values = tally.epoch_logs.get(end.epoch, {})
            facts += [f"{name} {words.score(name, value)}" for name, value in sorted(values.items())]
            facts.append(f"after {words.duration(t - (tally.first_grant or 0.0))}")
            lines.append("  ".join(facts))
            self._told += 1
        return lines

    def new_warnings(self) -> list[str]:
        """The warnings that have come since the last call."""
        new = self.tally.warnings[self._warned :]
        self._warned += len(new)
        return new

    # The panel ----------------------------------------------------------------------------------------------

    def render(self) -> RenderableType:
        """The panel as of the last update."""
        tally = self.tally
        parts: list[RenderableType] = [self._progress(), self._facts()]
        if tally.workers:
            parts += [Text(), self._workers()]
        if tally.held:
            parts.append(Text("The next epoch waits: the script has snapshots to take.", style="yellow"))
        if self.silent:
            parts.append(Text(f"No news for {words.duration(self.silent)}; the run has not ended.", style="yellow"))
        parts += [Text(f"! {text}", style="yellow") for text in tally.warnings[-3:]]
        return Panel(
            Group(*parts),
            title=self._title(),
            title_align="left",
            box=box.ROUNDED,
            border_style="dim",
            padding=(0, 1),
        )

    def _title(self) -> Text:
        header = self.tally.header
        if header is None:
            return Text("waiting for the run to begin")
        title = Text(header.policy.name, style="bold cyan")
        if options := words.options(header.policy.name, header.policy.options):
            title.append(f"  {options}", style="not bold")
        if header.script:
            title.append(f"  {os.path.basename(header.script)}", style="not bold dim")
        return title

    def _epochs(self) -> int:
        return self.tally.header.settings.epochs if self.tally.header else 0

    def _all(self) -> int | None:
        """Positions of the whole run, as far as can be known."""
        tally = self.tally
        if tally.positions:
            newest = max(tally.positions)
            each = (tally.header.positions if tally.header else None) or tally.positions[newest]
            return sum(tally.positions.values()) + (self._epochs() - newest - 1) * each
        if tally.header and tally.header.positions is not None:
            return self._epochs() * tally.header.positions
        return None

    def _progress(self) -> RenderableType:
        tally = self.tally
        everything = self._all()
        epoch = min(tally.over_epochs + 1, self._epochs())
        grid = Table.grid(padding=(0, 2), expand=True)
        for column in range(4):
            grid.add_column(ratio=1 if column == 1 else None, no_wrap=True)
        if everything is None:
            return Text(f"{words.count(self._present(), 'worker')} joined; no samples yet")
        if tally.over:
            left = "over" if tally.finish is None or tally.finish.ok else "failed"
        else:
            rate = tally.trend.total(tally.now) / tally.span(tally.trend.seconds)
            left = f"{words.clock((everything - tally.settled) / rate if rate else None)} left"
        done = tally.settled / everything if everything else 1.0
        grid.add_row(
            f"epoch {epoch}/{self._epochs()}",
            ProgressBar(total=max(1, everything), completed=tally.settled, complete_style="cyan"),
            words.percent(done),
            left,
        )
        return grid

    def _present(self) -> int:
        return sum(work.joined is not None for work in self.tally.workers.values())

    def _facts(self) -> Text:
        tally = self.tally
        text = Text()
        if tally.first_grant is None:
            return text
        if tally.over:
            total = tally.total_s
            rate = (tally.applied - tally.recomputed) / total if total else 0.0
            text.append(words.rate(rate), style="bold").append(" samples/s over the run")
        else:
            rate = tally.recent.total(tally.now) / tally.span(RECENT)
            text.append(words.rate(rate), style="bold").append(" samples/s now")
        text.append(f" · step {tally.version:,}")
        if tally.resumed:
            text.append(f" · resumed {words.times(tally.resumed)}, {tally.recomputed:,} samples again")
        if tally.applied:
            text.append(f" · stale fraction {tally.stale / tally.applied:.2f}")
        for (_, name), log in sorted(tally.logs.items()):
            text.append(f" · {name} ").append(words.score(name, log.values[name]), style="bold")
        return text

    def _workers(self) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True, header_style="dim")
        table.add_column("worker", no_wrap=True)
        table.add_column("pace/s", justify="right", no_wrap=True)
        table.add_column("share", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True, width=BAR)
        table.add_column("busy", justify="right", no_wrap=True)
        table.add_column("now", no_wrap=True, ratio=1, overflow="ellipsis")
        table.add_column("staleness", justify="right", no_wrap=True)
        largest = max((work.samples for work in self.tally.workers.values()), default=0)
        for _, work in sorted(self.tally.workers.items()):
            table.add_row(*self._worker(work, largest))
        return table

    def _worker(self, work: Work, largest: int) -> Iterable[RenderableType]:
        tally = self.tally
        name = str(work.worker) if work.name == f"worker {work.worker}" else f"{work.worker} {work.name}"
        speed = speed_of(tally.header.notes, work.worker) if tally.header else None
        here = work.joined is not None
        return (
            Text(name if speed is None else f"{name}  speed {speed:g}"),
            words.rate(work.pace.value) if work.pace.known else "-",
            words.percent(work.samples / tally.applied) if tally.applied else "-",
            ProgressBar(
                total=max(1, largest),
                completed=work.samples,
                width=BAR,
                complete_style="cyan",
                finished_style="cyan",
            ),
            words.percent(tally.busy(work)) if here else "-",
            self._state(work),
            f"{work.staleness.value:.2f}" if work.staleness.known else "-",
        )

    def _state(self, work: Work) -> Text:
        if work.left is not None:
            return Text(f"left: {work.left}", style="red")
        if work.joined is None:
            return Text("not here yet", style="dim")
        if work.sits_out:
            return Text(f"sits out: {work.sits_out}", style="yellow")
        if work.late:
            return Text("late", style="yellow")
        if self.tally.over:
            return Text("done", style="dim")
        return Text("busy", style="green") if work.started else Text("waiting", style="dim")
