"""``--tensorboard``: scalars beside what a run is shown on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..trace import RecordError, Tail

if TYPE_CHECKING:
    from ..launch import Screen
    from ..observe.tensorboard import Board


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the option."""
    parser.add_argument(
        "--tensorboard",
        metavar="DIR",
        nargs="?",
        const="",
        help="write TensorBoard scalars into the run's folder, or into one of the same name in DIR",
    )


def beside(screen: Screen, folder: str | None) -> Screen:
    """``screen``, and scalars beside it if they were asked for.

    Raises:
        LaunchError: TensorBoard's package is not there, or the folder cannot be made.
    """
    if folder is None:
        return screen
    from ..launch import LaunchError

    try:
        from tensorboard.summary import Writer  # noqa: F401
    except ImportError as error:
        raise LaunchError(
            f"--tensorboard needs the package tensorboard, which cannot be imported ({error}). "
            "Install it: pip install 'evener[tensorboard]'"
        ) from None
    parent = Path(folder) if folder else None
    if parent is not None:
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LaunchError(
                f"--tensorboard {parent}: the folder cannot be made: {error.strerror}. Choose another, after SCRIPT."
            ) from None
    return _Beside(screen, parent)


class _Beside:
    """A screen that shows what another one shows, and writes scalars of what it follows."""

    def __init__(self, screen: Screen, parent: Path | None) -> None:
        self._screen = screen
        self._parent = parent
        self._tail: Tail | None = None
        self._board: Board | None = None
        self.show, self.note = screen.show, screen.note

    def follow(self, record: Path) -> None:
        """Write the scalars of ``record``, as soon as there is something in it."""
        self._screen.follow(record)
        self._tail = Tail(record)

    def tick(self) -> None:
        """Write what is new."""
        self._screen.tick()
        if self._tail is None:
            return
        try:
            if self._board is None and self._tail.path.exists():
                self._board = self._open(self._tail.path.parent)
            if self._board is not None:
                self._board.update(self._tail.stream())
        except (OSError, RecordError) as error:  # the run matters more
            self._tail = None
            self.note(f"no more scalars are written for TensorBoard: {error}")

    def unfollow(self) -> None:
        """Write what is left, and close the file."""
        self._screen.unfollow()
        if self._board is not None and self._tail is not None:
            self._tail.close()
            self._board.close()
            folder = self._parent or self._tail.path.parent.parent
            self.note(f"TensorBoard: tensorboard --logdir {folder}")
        self._tail = self._board = None

    def _open(self, run: Path) -> Board:
        from ..observe.tensorboard import Board

        return Board(run if self._parent is None else self._parent / run.name)
