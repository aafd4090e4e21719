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
from .holding import hold
from .policies import describe
from .schema import FILE, NOTES, End, Header, Note, Resumed, encode_tagged

FLUSH = 0.2
"""Seconds of activity after which what was written goes to the operating system, for those who read along."""

KEPT = 64 << 20
"""Bytes that wait for a disk that takes none. With more than that the record ends there: training does not."""

BUFFER = 1 << 16
"""Bytes from which on what was written goes to the operating system without being asked for."""

_encode = msgspec.json.Encoder().encode

log = logging.getLogger("evener")


def record_path(path: str | os.PathLike[str]) -> Path:
    """The record file: ``path`` itself if it ends in ``.jsonl``, else ``record.jsonl`` in that folder."""
    path = Path(path)
    return path if path.suffix == ".jsonl" else path / FILE


class Writer:
    """Writes one record. It has no clock and no thread: every line's time is given.

    Lines from several threads do not mix. A disk that is full, or has become read-only, stops nothing: lines wait until
    it takes them again.

    Args:
        path: a run folder (made if need be), or a file whose name ends in ``.jsonl``.
        every: seconds of activity after which what was written goes to the operating system; 0: each line at once.

    Attributes:
        failing: the disk takes nothing at present.

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

    def __init__(self, path: str | os.PathLike[str], every: float = FLUSH) -> None:
        self.path = record_path(path)
        self._every = every
        self._file: FileIO | None = None
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self.failing = False
        self._flushed = 0.0
        self._ended = False

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
        self._write(b'{"t":0.0,"header":%b}\n' % _encode(header))
        self.flush(0.0)

    def event(self, t: float, event: e.Event, commands: Sequence[c.Command]) -> None:
        """Record that the coordinator handled ``event`` at ``t`` and answered ``commands``.

        ``t`` is the very ``now`` that the coordinator was given, unrounded: replay depends on it.
        """
        said = b",".join([encode_tagged(command) for command in commands])
        self._write(b'{"t":%a,"event":%b,"commands":[%b]}\n' % (t, encode_tagged(event), said))
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
        self._write(b'{"t":%a,"note":%b}\n' % (t, _encode(note)))
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
        self._write(b'{"t":%a,"end":%b}\n' % (t, _encode(end)))
        self._ended = True
        self.flush(t)

    def flush(self, t: float) -> None:
        """Hand what was written to the operating system. To be called, too, when nothing happens for long."""
        self._flushed = t
        self._hand_over()

    def sync(self) -> None:
        """Until what was flushed is on the disk; from any thread."""
        with contextlib.suppress(OSError, ValueError):
            if self._file is not None:
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file. A record without an end stays readable: its reader says that it was cut short."""
        self._hand_over()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._ended = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, line: bytes) -> None:
        if self._ended:
            return
        if self._file is None:
            raise RuntimeError("a record begins with its header: call Writer.header() first")
        with self._lock:
            self._waiting += line
        if len(self._waiting) > BUFFER and not self.failing:
            self._hand_over()

    def _hand_over(self) -> None:
        with self._lock:
            if self._file is None:
                return
            try:
                while self._waiting:
                    del self._waiting[: self._file.write(bytes(self._waiting[: 1 << 20])) or 0]
                self.failing = False
            except OSError as error:
                if not self.failing:
                    log.warning(
                        "the record %s cannot be written (%s): training goes on, and its lines wait. Make room.",
                        self.path,
                        error.strerror,
                    )
                self.failing = True
                if len(self._waiting) > KEPT:
                    log.warning("the record %s ends here: too much waited for a disk that takes nothing.", self.path)
                    self._waiting.clear()
                    self._ended = True
