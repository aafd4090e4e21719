"""Handwritten digits, 8 x 8: small enough for a smoke test."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from evener.data._files import Arrays, cache_folder, kept_arrays
from evener.data._sdist import SdistFile
from evener.data._split import Split

_SOURCE = SdistFile(
    project="scikit-learn",
    version="1.5.2",
    sdist="scikit_learn-1.5.2.tar.gz",
    sdist_sha256="b4237ed7b3fdd0a4882792e68ef2545d5baa50aca3bb45aa7df468138ad8f94d",
    megabytes=7.0,
    member="scikit_learn-1.5.2/sklearn/datasets/data/digits.csv.gz",
    sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    size=57_523,
)

_SHAPES = {"x": (1797, 1, 8, 8), "y": (1797,)}


def digits(folder: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Handwritten digits of 8 x 8 pixels: for smoke tests.

    Every fifth image is a test image, from the first on, so the split is always the same. The first call
    fetches the sdist of scikit-learn (7 MB) from the package index that pip is configured for and takes one
    file from it; nothing is installed or run. Later calls read the cache (``EVENER_CACHE``, else the user's
    cache folder).

    Args:
        folder: a folder that holds ``digits.csv.gz``, to be used instead of the cache and the network.

    Returns:
        ``(train, test)`` with 1437 and 360 images: ``x`` float32 ``(n, 1, 8, 8)``, 0 to 1 in sixteenths;
        ``y`` int64 ``(n,)``, the digit.

    Raises:
        DataError: the data set could not be fetched or is damaged; the message says what to put where.

    Licence:
        CC BY 4.0. Cite: Alpaydin, E., Kaynak, C. (1998), *Optical Recognition of Handwritten Digits*, UCI
        Machine Learning Repository.

    Example:
        >>> from evener.data import digits
        >>> train, test = digits()
        >>> train.x.shape, test.x.shape
        ((1437, 1, 8, 8), (360, 1, 8, 8))
    """
    place = cache_folder("digits") if folder is None else Path(folder)

    def make() -> Arrays:
        lines = gzip.decompress(_SOURCE.read(place, fetch=folder is None)).decode().splitlines()
        table = np.loadtxt(lines, delimiter=",")
        images, labels = table[:, :64] / 16, table[:, 64]
        return {"x": images.astype(np.float32).reshape(-1, 1, 8, 8), "y": labels.astype(np.int64)}

    kept = kept_arrays(place, "digits-1.npz", _SHAPES, make)
    test = np.arange(len(kept["y"])) % 5 == 0
    return Split(kept["x"][~test], kept["y"][~test]), Split(kept["x"][test], kept["y"][test])
