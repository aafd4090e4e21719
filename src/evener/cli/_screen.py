"""What a run looks like while it goes on: a panel on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..observe import LiveView
from ..trace import RecordError, Tail, before

SILENT = 30.0
"""Seconds without a line in the record that a person should know of: a long evaluation, or something hangs."""


class Lines:
    """For files and pipes: output as it comes, and one line per epoch."""

    def __init__(self) -> None:
        self.problem: RecordError | None = None
        self._tail: Tail | None = None
        self._begun = False
        self._view = LiveView()
        self._told_silent = False

    @property
    def over(self) -> bool:
        """The record that is followed has its last line."""
        return self._view.over

    @property
    def lines(self) -> int:
        """How many lines of the record were read."""
        return self._tail.count if self._tail is not None else 0

    def silent(self, seconds: float) -> None:
        """The record has not grown for so long, though somebody holds it."""
        if seconds < SILENT:
            self._told_silent = False
        elif not self._told_silent:
            self._told_silent = True
            self.note(f"no news for {seconds:.0f} s; the run has not ended")

    def show(self, text: str, error: bool) -> None:
        """Show output of a process."""
        print(text, file=sys.stderr if error else sys.stdout, flush=True)

    def note(self, text: str) -> None:
        """Show a message of evener's own."""
        print(f"evener: {text}", file=sys.stderr, flush=True)

    def follow(self, record: Path) -> None:
        """Show the progress that ``record`` tells of, from here on, with what went before if the run was resumed."""
        self._tail, self._view, self._begun = Tail(record), LiveView(), False

    def unfollow(self) -> None:
        """The run has ended."""
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def tick(self) -> None:
        """Show what is new in the record."""
        if self._update():
            for text in self._view.new_warnings():
                self.note(f"warning: {text}")
            for line in self._view.epoch_lines():
                print(line, flush=True)

    def _update(self) -> bool:
        if self._tail is None:
            return False
        try:
            if not self._begun and self._tail.path.exists():
                self._begun = True
                self._view.update(before(self._tail.path))
                self._view.epoch_lines()  # told of then
                self._view.new_warnings()
            self._view.update(self._tail.stream())
        except RecordError as error:
            self.problem = error
            self.unfollow()
            self.note(f"progress cannot be shown: {error}")
            return False
        return True


class Panel(Lines):
    """For a terminal: a panel at the bottom that is drawn again and again, everything else above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._live: Live | None = None

    def show(self, text: str, error: bool) -> None:
        """Show output of a process, above the panel."""
        if error and not sys.stderr.isatty():
            super().show(text, error)
        else:
            self._console.print(Text.from_ansi(text), soft_wrap=True)

    def note(self, text: str) -> None:
        """Show a message, above the panel."""
        self._console.print(Text(f"evener: {text}", style="cyan"), soft_wrap=True)

    def follow(self, record: Path) -> None:
        """Show a panel."""
        super().follow(record)
        # Drawn from tick(), so that there is no second thread; gone when a table takes its place.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def silent(self, seconds: float) -> None:
        """Say it in the panel: it is drawn again and again."""
        self._view.silent = seconds if seconds >= SILENT else 0.0

    def unfollow(self) -> None:
        """Take the panel away."""
        super().unfollow()
        if self._live is not None:
            # A run that was broken off gets no table: let its last state stand.
            end = self._view.tally.end
            self._live.transient = end is not None and end.ok
            self._live.stop()
            self._live = None

    def tick(self) -> None:
        """Draw the panel."""
        if self._update() and self._live is not None:
            # The cursor rests on a line of its own: there the '^C' that a terminal echoes does no harm.
            self._live.update(Group(self._view.render(), Text()), refresh=True)


def choose() -> Lines:
    """A panel if standard output is a terminal that can draw one."""
    console = Console()
    return Panel(console) if console.is_terminal and not console.is_dumb_terminal else Lines()
