"""Digits: the error without a network; the real data set's counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evener.data import DataError, digits

from .conftest import FolderIndex


def test_without_a_network_the_error_names_the_sdist_and_the_cache(cache: Path, index: FolderIndex) -> None:
    with pytest.raises(DataError, match=r"scikit-learn==1\.5\.2") as caught:
        digits()
    assert str(cache / "digits") in str(caught.value)


def test_the_real_data_set() -> None:
    train, test = digits()
    assert train.x.shape == (1437, 1, 8, 8)
    assert test.x.shape == (360, 1, 8, 8)
    for part in (train, test):
        assert (part.x.dtype, part.y.dtype) == (np.float32, np.int64)
        assert part.x.min() == 0
        assert part.x.max() == 1
        assert set(part.y) == set(range(10))
    assert np.array_equal(digits()[0].x, train.x)
