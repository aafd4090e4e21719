"""Write a run record."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from ..core import commands as c
from ..core import events as e
from ..core.policies import Policy
from ..core.state import Settings
from .codec import encode_tagged
from .holding import hold
from .policies import describe
from .schema import FILE, NOTES, End, Header, Note, Resumed, WarningNote

FLUSH = 0.2
"""Seconds of activity after which what was written goes to the operating system, for those who read along."""

KEPT = 64 << 20
"""Bytes that wait for a disk that takes none. With more than that the record ends there: training does not."""

HANGS = 10.0
"""Seconds without a byte taken after which a disk is said to hang."""

CLOSING = 10.0
"""Seconds that a disk gets at the end to take the last lines."""

ENDS = "The record ends here: too much waited for a disk that takes nothing. Training goes on."

BUFFER = 1 << 16
"""Bytes from which on what was written goes to the operating system without being asked for."""

_encode = msgspec.json.Encoder().encode

log = logging.getLogger("evener")


def record_path(path: str | os.PathLike[str]) -> Path:
    """The record file: ``path`` itself if it ends in ``.jsonl``, else ``record.jsonl`` in that folder."""
    path = Path(path)
    return path if path.suffix == ".jsonl" else path / FILE


class Writer:
    """Writes one record. It has no clock: every line's time is given.

    Lines from several threads do not mix. A disk that is full, or has become read-only, stops nothing: lines wait until
    it takes them again.

    Args:
        path: a run folder (made if need be), or a file whose name ends in ``.jsonl``.
        every: seconds of activity after which what was written goes to the operating system; 0: each line at once.
        behind: a thread of its own hands lines to the operating system, so that a disk that hangs stops nothing either.

    Attributes:
        failing: what is written now reaches no disk: it takes nothing at present, or has taken nothing for too long.

    Example:
        >>> import tempfile
        >>> from evener.core.policies import Balanced
        >>> with Writer(tempfile.mkdtemp()) as writer:
        ...     settings = Settings(batch=32, epochs=1)
        ...     writer.header(run="r1", settings=settings, policy=Balanced(), parameters=10)
        ...     writer.event(0.5, e.Joined(0, pace=100.0), [c.DrawEpoch(0)])
        ...     writer.note(0.6, "log", epoch=0, version=0, samples=0, at=0.5, values={"loss": 2.3})
        ...     writer.end(0.9, ok=True, reason="complete", server_cpu_s=0.1)
    """

    def __init__(self, path: str | os.PathLike[str], every: float = FLUSH, behind: bool = False) -> None:
        self.path = record_path(path)
        self.failing = False
        self._every = every
        self._file: FileIO | None = None
        self._waiting = bytearray()
        self._changed = threading.Condition()  # of what waits: held for moments, never while the disk is asked
        self._handing = threading.Lock()  # one thread at a time asks the disk
        self._thread = threading.Thread(target=self._behind, name="evener-record", daemon=True) if behind else None
        self._wanted = threading.Event()
        self._closing = False
        self._asked: float | None = None
        self._flushed = 0.0
        self._ended = self._full = False

    def header(
        self,
        *,
        run: str,
        settings: Settings,
        policy: Policy,
        parameters: int,
        script: str = "",
        positions: int | None = None,
        kind: str = "run",
        created: str | None = None,
        notes: Mapping[str, Any] | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        """Open the file and write the first line; fields as in :class:`~evener.trace.schema.Header`.

        ``created`` is now, unless it is given: a simulated run has no time of its own.

        Raises:
            FileExistsError: there is a record already. It is not overwritten.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._file = self.path.open("xb", buffering=0)
        except FileExistsError:
            raise FileExistsError(
                f"{self.path} is the record of an earlier run. Choose another folder, or move it away."
            ) from None
        hold(self._file)
        header = Header(
            kind=kind,
            run=run,
            created=datetime.now(UTC).isoformat(timespec="seconds") if created is None else created,
            evener=metadata.version("evener"),
            script=script,
            settings=settings,
            policy=describe(policy),
            positions=positions,
            parameters=parameters,
            notes=dict(notes or {}),
            resumed=resumed,
        )
        self._write(0.0, b'{"t":0.0,"header":%b}\n' % _encode(header))
        self._hand_over()
        if self._thread is not None:
            self._thread.start()

    def event(self, t: float, event: e.Event, commands: Sequence[c.Command]) -> None:
        """Record that the coordinator handled ``event`` at ``t`` and answered ``commands``.

        ``t`` is the very ``now`` that the coordinator was given, unrounded: replay depends on it.
        """
        said = b",".join([encode_tagged(command) for command in commands])
        self._write(t, b'{"t":%a,"event":%b,"commands":[%b]}\n' % (t, encode_tagged(event), said))
        if t - self._flushed >= self._every:
            self.flush(t)

    def note(self, t: float, note: Note | str, /, **fields: Any) -> None:
        """Record a note: one of the note classes, or its kind (``"log"``, …) and fields.

        Raises:
            ValueError: there is no such kind, or the fields do not fit it.
        """
        if isinstance(note, str):
            if note not in NOTES:
                raise ValueError(f"there is no note of kind {note!r}; valid are {', '.join(NOTES)}")
            try:
                note = msgspec.convert({"type": note, **fields}, type=NOTES[note])
            except msgspec.ValidationError as error:
                raise ValueError(f"a note's fields do not fit: {error}") from error
        self._write(t, b'{"t":%a,"note":%b}\n' % (t, _encode(note)))
        self.flush(t)

    def end(
        self,
        t: float,
        *,
        ok: bool,
        reason: str,
        server_cpu_s: float | None = None,
        workers_cpu_s: Mapping[int, float] | None = None,
        parameters_sha256: str | None = None,
    ) -> None:
        """Write the last line. What is given to the writer later is not part of the run, and is left out."""
        end = End(
            ok=ok,
            reason=reason,
            server_cpu_s=server_cpu_s,
            workers_cpu_s=dict(workers_cpu_s or {}),
            parameters_sha256=parameters_sha256,
        )
        self._write(t, b'{"t":%a,"end":%b}\n' % (t, _encode(end)))
        self._ended = True
        self.flush(t)

    def flush(self, t: float, within: float = 0.0) -> None:
        """Hand what was written to the operating system. To be called, too, when nothing happens for long.

        A writer ``behind`` only sees to it that this is done; it waits so many seconds for it.
        """
        self._flushed = t
        if self._thread is None:
            self._hand_over()
            return
        with self._changed:
            if self._waiting and self._asked is None:
                self._asked = t
            since = t if self._asked is None else self._asked
        if t - since > HANGS:
            self._fails("the disk hangs")
        self._wanted.set()
        if within:
            with self._changed:
                self._changed.wait_for(lambda: not self._waiting, within)

    def sync(self) -> None:
        """Until what was written is on the disk, however long that takes; from any thread."""
        self._hand_over()
        with contextlib.suppress(OSError, ValueError):
            if self._file is not None:
                os.fsync(self._file.fileno())

    def close(self, within: float = CLOSING) -> None:
        """Close the file. A record without an end stays readable: its reader says that it was cut short.

        A writer ``behind`` leaves it to its thread when the disk does not take the last lines within so many seconds.
        """
        self._ended = True
        if self._thread is not None and self._thread.is_alive():
            self._closing = True
            self._wanted.set()
            self._thread.join(within)
            if self._thread.is_alive():
                with self._changed:
                    size = len(self._waiting)
                log.warning("the record %s lacks its last %d bytes: the disk hangs, and took none.", self.path, size)
                return
        self._hand_over()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, t: float, line: bytes) -> None:
        if self._ended:
            return
        if self._file is None:
            raise RuntimeError("a record begins with its header: call Writer.header() first")
        with self._changed:
            self._waiting += line
            if ends := len(self._waiting) > KEPT:
                # What waits is kept: if the disk takes it one day, the record is whole up to here, and says so.
                self._waiting += b'{"t":%a,"note":%b}\n' % (t, _encode(WarningNote(text=ENDS)))
                self._ended = self._full = self.failing = True
            many = len(self._waiting) > BUFFER and not self.failing
        if ends:
            log.warning("%s: %s", self.path, ENDS)
        if many and self._thread is not None:
            self._wanted.set()
        elif many:
            self._hand_over()

    def _behind(self) -> None:
        while not self._closing:
            self._wanted.wait()
            self._wanted.clear()
            self._hand_over()

    def _hand_over(self) -> None:
        with self._handing:
            if self._file is None:
                return
            try:
                while piece := self._first():
                    taken = self._file.write(piece) or 0
                    with self._changed:
                        del self._waiting[:taken]
                        self._asked = None
                        again = self.failing and not self._full and not self._waiting
                        if again:
                            self.failing = False
                        self._changed.notify_all()
                    if again:
                        log.warning("the record %s is written again.", self.path)
            except OSError as error:
                self._fails(error.strerror or str(error))

    def _first(self) -> bytes:
        with self._changed:
            return bytes(self._waiting[: 1 << 20])

    def _fails(self, why: str) -> None:
        if not self.failing:
            self.failing = True
            then = "training goes on, and its lines wait. Make room, or bring the disk back."
            log.warning("the record %s cannot be written (%s): %s", self.path, why, then)
