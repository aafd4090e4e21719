"""Where a run's output goes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol


class Screen(Protocol):
    """What a launcher shows its run on. All calls come from one thread."""

    def show(self, text: str, error: bool) -> None:
        """Show output of a process, a line or a whole traceback. ``error``: from its standard error."""

    def note(self, text: str) -> None:
        """Show a message of the launcher's own."""

    def follow(self, record: Path) -> None:
        """Read the run's progress from ``record``, which the server will write."""

    def unfollow(self) -> None:
        """The run has ended."""

    def tick(self) -> None:
        """Refresh. Called about four times a second while the run lasts, and once after its end."""


class Plain:
    """Lines as they come: what processes print goes where they sent it, messages go to standard error."""

    def show(self, text: str, error: bool) -> None:
        """Show output of a process."""
        print(text, file=sys.stderr if error else sys.stdout, flush=True)

    def note(self, text: str) -> None:
        """Show a message."""
        print(f"evener: {text}", file=sys.stderr, flush=True)

    def follow(self, record: Path) -> None:
        """Progress is not shown."""

    def unfollow(self) -> None:
        """Nothing to tidy."""

    def tick(self) -> None:
        """Nothing to refresh."""
