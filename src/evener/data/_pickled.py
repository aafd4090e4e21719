"""Arrays out of a pickle of pandas data frames, without pandas and without trusting the pickle.

A pickle is a program: it may name any callable and call it. So no name in it is looked up. Each of the few
names that a pickled frame needs stands for a small class here that only stores what it is given; any other
name is refused. The layout read is the one that pandas 0.25 to 1.0 wrote.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evener.data._errors import DataError


class _Dtype:
    """Stands for ``numpy.dtype``: the type code and the byte order."""

    def __init__(self, code: str, *_flags: object) -> None:
        self.code = code
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class _Array:
    """Stands for ``numpy.ndarray``: shape, type, memory order, and the bytes (of objects, a list)."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _version, self.shape, self.dtype, self.fortran, self.data = state

    def to_numpy(self) -> NDArray[Any]:
        kind = f"{self.dtype.order}{self.dtype.code}"
        if kind not in {"<f8", "<i8", "<f4", "<i4"}:
            raise pickle.UnpicklingError(f"an array of type {kind!r}; valid are 4- and 8-byte numbers")
        return np.frombuffer(self.data, kind).reshape(self.shape, order="F" if self.fortran else "C")


class _Index:
    """Stands for ``pandas.Index``: the labels of an axis."""

    labels: tuple[str, ...] = ()


class _RangeIndex(_Index):
    """Stands for ``pandas.RangeIndex``, which numbers the rows: nothing to keep."""


class _Blocks:
    """Stands for ``pandas``' block manager: columns of one type lie together in one 2-d array."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        axes, values, items, *_newer = state
        self.labels = axes[0].labels
        self.blocks = [(index.labels, array) for index, array in zip(items, values, strict=True)]


class _Frame:
    """Stands for ``pandas.DataFrame``."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._blocks: _Blocks = state["_data"]

    def columns(self) -> dict[str, NDArray[Any]]:
        return {
            label: row
            for labels, array in self._blocks.blocks
            for label, row in zip(labels, array.to_numpy(), strict=True)
        }


class _Object:
    """Stands for ``object``, the base that ``copyreg`` names."""


def _reconstructor(cls: type, _base: type, _state: None) -> object:
    if cls not in (_Frame, _Blocks):
        raise pickle.UnpicklingError(f"an object of type {cls!r} where a frame belongs")
    return cls()


def _array(_cls: type, _shape: object, _code: object) -> _Array:
    return _Array()


def _new_index(cls: type[_Index], state: dict[str, Any]) -> _Index:
    index = _RangeIndex() if cls is _RangeIndex else _Index()
    if "data" in state:
        index.labels = tuple(str(label) for label in state["data"].data)
    return index


def _encode(text: str, encoding: str) -> bytes:
    # Python 3 writes bytes so when it pickles for Python 2.
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes encoded as {encoding!r}; valid is 'latin1'")
    return text.encode("latin1")


_NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("copyreg", "_reconstructor"): _reconstructor,
    ("copy_reg", "_reconstructor"): _reconstructor,
    ("builtins", "object"): _Object,
    ("__builtin__", "object"): _Object,
    ("builtins", "slice"): slice,
    ("__builtin__", "slice"): slice,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals.managers", "BlockManager"): _Blocks,
    ("pandas.core.indexes.base", "Index"): _Index,
    ("pandas.core.indexes.base", "_new_Index"): _new_index,
    ("pandas.core.indexes.range", "RangeIndex"): _RangeIndex,
}


class _FrameUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no data frame needs") from None


def read_frames(pickled: bytes) -> dict[int, list[dict[str, NDArray[Any]]]]:
    """Columns of pickled data frames: ``{key: [{column: 1-d array}]}``.

    Args:
        pickled: a pickle of ``dict[int, list[pandas.DataFrame]]``, columns all numeric.

    Raises:
        DataError: the pickle names anything but the parts of a data frame, or is not laid out as above.
    """
    try:
        frames = _FrameUnpickler(io.BytesIO(pickled), fix_imports=False).load()
        return {int(key): [frame.columns() for frame in group] for key, group in frames.items()}
    # The stand-ins check little: whatever a made-up pickle breaks in them is the pickle's fault.
    except Exception as error:
        raise DataError(
            f"Refused to read a pickle: {error}. Valid is a dictionary of lists of pandas data frames with "
            "numeric columns. Nothing in it was run; delete the file it came from and fetch it again."
        ) from error
