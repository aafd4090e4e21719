"""Pickles of data frames are read without running anything in them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evener.data import DataError
from evener.data._pickled import read_frames


class _Calls:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.reduced


@pytest.mark.parametrize("function", [os.system, eval, np.load, getattr])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_names_anything_else_is_refused_and_not_run(
    tmp_path: Path, function: Callable[..., object], protocol: int
) -> None:
    witness = tmp_path / "ran"
    malicious = pickle.dumps({1: [_Calls(function, f"touch {witness}")]}, protocol)
    with pytest.raises(DataError, match="which no data frame needs"):
        read_frames(malicious)
    assert not witness.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({1: ["text"]}),
        pickle.dumps({1: [np.zeros(3)]}),
        # copyreg._reconstructor of a class that is no frame
        b"ccopyreg\n_reconstructor\n(cnumpy\nndarray\ncbuiltins\nobject\nNtR.",
    ],
)
def test_a_pickle_of_anything_else_is_refused(pickled: bytes) -> None:
    with pytest.raises(DataError, match="Valid is a dictionary of lists of pandas data frames"):
        read_frames(pickled)


def _old_frame(columns: list[str], floats: np.ndarray, whole: np.ndarray) -> str:
    """The text (protocol 0) of a frame as pandas 1.0 wrote it, put together by hand."""

    def array(values: np.ndarray) -> str:
        data = values.tobytes().decode("latin1").encode("raw_unicode_escape")
        text = data.replace(b"\\", b"\\u005c").replace(b"\n", b"\\u000a").replace(b"\x00", b"\\u0000")
        shape = "".join(f"I{n}\n" for n in values.shape)
        return (
            "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR"
            f"(I1\n({shape}tcnumpy\ndtype\n(V{values.dtype.str[1:]}\nI0\nI1\ntR(I3\nV<\nNNNI-1\nI-1\nI0\ntb"
            f"I00\nc_codecs\nencode\n(V{text.decode('latin1')}\nVlatin1\ntRtb"
        )

    def index(labels: list[str]) -> str:
        listed = "".join(f"V{label}\na" for label in labels)
        return (
            "cpandas.core.indexes.base\n_new_Index\n(cpandas.core.indexes.base\nIndex\n(dVdata\n"
            "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntVb\ntR"
            f"(I1\n(I{len(labels)}\ntcnumpy\ndtype\n(VO8\nI0\nI1\ntR(I3\nV|\nNNNI-1\nI-1\nI63\ntb"
            f"I00\n(l{listed}tbsVname\nNstR"
        )

    def empty(module: str, name: str) -> str:
        return f"ccopyreg\n_reconstructor\n(c{module}\n{name}\ncbuiltins\nobject\nNtR"

    rows = "cpandas.core.indexes.base\n_new_Index\n(cpandas.core.indexes.range\nRangeIndex\n(dtR"
    blocks = (
        f"((l{index(columns)}a{rows}a(l{array(floats)}a{array(whole)}a"
        f"(l{index(columns[: len(floats)])}a{index(columns[len(floats) :])}at"
    )
    manager = empty("pandas.core.internals.managers", "BlockManager") + blocks + "b"
    return f"{empty('pandas.core.frame', 'DataFrame')}(dV_data\n{manager}sb"


def test_columns_come_out_of_an_old_frame() -> None:
    floats = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 1e300]])
    whole = np.array([[10, 92, 0]])  # bytes that protocol 0 must escape
    frames = read_frames(f"(dI7\n(l{_old_frame(['a', 'b', 'label'], floats, whole)}as.".encode("latin1"))
    ((frame,),) = frames.values()
    assert list(frames) == [7]
    assert {name: column.tolist() for name, column in frame.items()} == {
        "a": [0.5, -1.0, 2.0],
        "b": [3.0, 4.0, 1e300],
        "label": [10, 92, 0],
    }
