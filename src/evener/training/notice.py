"""That the run of a job is over: left where processes that come too late look, while they find no server.

torchrun's agents keep a store, on the host of rank 0, until the last of them has seen its processes end. What stands
there is not signed, and only ends a wait: who could write it could end the job as well.
"""

from __future__ import annotations

from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from ..runtime.aside import Aside
from ..runtime.engines import Task

CONNECT = timedelta(seconds=3)
"""How long the store's host may take to answer."""


class Notice:
    """One job's.

    Args:
        task: any of the job's; without a store nothing is left, and nothing found.
    """

    def __init__(self, task: Task) -> None:
        self._at = self._where = task.store
        # Begun anew by its engine after a run that ended well, a job is another run.
        self._key = f"evener/{task.job}/{task.restart}/over"
        self._store: TCPStore | None = None
        self._asking = Aside("evener-notice")
        self._over = False

    def leave(self) -> None:
        """The run is over."""
        self._at = self._where  # it may have been out of reach for a moment, when it was looked into
        if (store := self._open()) is not None:
            try:
                store.set(self._key, "1")
            except RuntimeError:
                self._store = None  # the agents are gone, and so is everyone who could come

    def found(self) -> bool:
        """Whether the run is over, as far as can be seen; in :data:`CONNECT` at most, whatever becomes of the host."""
        if self._asking.wait(0):
            self._asking.do(self._look)
            self._asking.wait(CONNECT.total_seconds())
        return self._over

    def _look(self) -> None:
        # A store's client has no limit for answers: where its host vanishes, or hangs, this may never return.
        if (store := self._open()) is None:
            return
        try:
            self._over = bool(store.check([self._key]))
        except RuntimeError:
            self._store = None

    def _open(self) -> TCPStore | None:
        if self._store is None and self._at is not None:
            try:
                self._store = TCPStore(*self._at, is_master=False, wait_for_workers=False, timeout=CONNECT)
            except RuntimeError:
                self._at = None  # nobody keeps it (any more): not asked again
        return self._store
