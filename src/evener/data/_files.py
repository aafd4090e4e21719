"""Files in the cache: where they lie, how they are checked, how they are written.

Many processes on one host may want the same data set at the same moment. A file gets its name only when it is
whole (``os.replace`` is atomic), so no reader ever sees half of one; a lock saves the others from doing the
work again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import platformdirs
from numpy.typing import NDArray

from evener.data._errors import DataError

Arrays = dict[str, NDArray[Any]]
Shapes = Mapping[str, tuple[int, ...]]


def cache_folder(name: str) -> Path:
    """The folder of one data set in the cache, made if need be.

    ``EVENER_CACHE`` names the cache; else it is ``evener`` in the user's cache folder.
    """
    root = os.environ.get("EVENER_CACHE") or platformdirs.user_cache_dir("evener", appauthor=False)
    folder = Path(root).expanduser() / "data" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot make the cache folder {folder}: {error}. {_WRITABLE}") from error
    return folder


_WRITABLE = "Set the environment variable EVENER_CACHE to a folder that can be written."


def sha256_of(data: bytes) -> str:
    """The SHA-256 of ``data`` in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears at ``path``, whole, when the block ends well, and not at all otherwise.

    Raises:
        DataError: the folder cannot be written, or is full.
    """
    with work_folder(path.parent) as folder:
        try:
            with open(folder / path.name, "wb") as file:
                yield file
            os.replace(folder / path.name, path)
        except OSError as error:
            raise DataError(f"Cannot write {path}: {error}. {_WRITABLE}") from error


@contextlib.contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """A new folder inside ``folder``, so on its file system, that is gone after the block.

    Raises:
        DataError: ``folder`` cannot be written.
    """
    try:
        temporary = tempfile.TemporaryDirectory(prefix=".work.", dir=folder, ignore_cleanup_errors=True)
    except OSError as error:
        raise DataError(f"Cannot write to {folder}: {error}. {_WRITABLE}") from error
    with temporary as name:
        yield Path(name)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time into the block, for this folder, as far as the system can.

    Only work is saved by it, nothing depends on it: where locks are missing (Windows, some network file
    systems) the processes do the same work side by side. The lock of a process that dies is released by the
    system.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            lock = stack.enter_context(open(folder / ".lock", "wb"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def kept_arrays(folder: Path, name: str, shapes: Shapes, make: Callable[[], Arrays]) -> Arrays:
    """Arrays from ``folder/name`` (npz), or from ``make`` and then kept there for the next time.

    Args:
        folder: where the raw file lies; the arrays are not kept if it cannot be written.
        name: the file's name; it carries a version, to be raised when ``make`` changes.
        shapes: the arrays' names and shapes; a file with others is made anew.
        make: makes the arrays; called only if there is no valid file.

    Raises:
        DataError: ``make`` raised it, or made arrays of other shapes.
    """
    path = folder / name
    if (arrays := _read(path, shapes)) is not None:
        return arrays
    with one_at_a_time(folder):
        if (arrays := _read(path, shapes)) is not None:
            return arrays
        arrays = make()
        if (found := {key: value.shape for key, value in arrays.items()}) != dict(shapes):
            raise DataError(
                f"The data read for {name} has the shapes {found}; valid are {dict(shapes)}. The raw file is "
                "the right one, so reading it went wrong: please report this."
            )
        # A given folder may be read-only. That costs time at the next call, not correctness.
        with contextlib.suppress(DataError), new_file(path) as file:
            np.savez(file, **cast("dict[str, Any]", arrays))  # numpy's annotation takes a key for an option.
    return arrays


def _read(path: Path, shapes: Shapes) -> Arrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in shapes}
    # Missing, or damaged: zip members carry a CRC, which is checked; a damaged header can break anything.
    except Exception:
        return None
    return arrays if all(arrays[key].shape == shape for key, shape in shapes.items()) else None
