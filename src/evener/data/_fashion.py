"""Fashion-MNIST: ten kinds of clothing, 28 x 28, grey."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evener.data._files import Arrays, cache_folder, kept_arrays
from evener.data._idx import IdxFile, read_all
from evener.data._split import Split

FASHION_LABELS = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)

_FILES = {
    "x_train": IdxFile(
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        (60_000, 28, 28),
    ),
    "y_train": IdxFile(
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        (60_000,),
    ),
    "x_test": IdxFile(
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        (10_000, 28, 28),
    ),
    "y_test": IdxFile(
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        (10_000,),
    ),
}


def fashion_mnist(folder: str | os.PathLike[str] | None = None) -> tuple[Split, Split]:
    """Fashion-MNIST: 70,000 grey images of ten kinds of clothing.

    The first call fetches 31 MB: on Debian and Ubuntu the package ``dataset-fashion-mnist`` (downloaded and
    unpacked, not installed; ``apt-get update`` must have been run once), elsewhere the four files from the
    usual mirrors. Later calls read the cache (``EVENER_CACHE``, else the user's cache folder).

    Args:
        folder: a folder that holds the four IDX files, gzipped or not, to be used instead of the cache and
            the network.

    Returns:
        ``(train, test)`` with 60,000 and 10,000 images: ``x`` float32 ``(n, 1, 28, 28)``, 0 to 1; ``y`` int64
        ``(n,)``, 0 to 9 as in ``FASHION_LABELS``.

    Raises:
        DataError: the data set could not be fetched or is damaged; the message says what to put where.

    Licence:
        MIT, copyright 2017 Zalando SE. Cite: Xiao, H., Rasul, K., Vollgraf, R. (2017), *Fashion-MNIST: a
        Novel Image Dataset for Benchmarking Machine Learning Algorithms*, arXiv 1708.07747.

    Example:
        >>> from evener.data import FASHION_LABELS, fashion_mnist
        >>> train, test = fashion_mnist()
        >>> train.x.shape, test.x.shape
        ((60000, 1, 28, 28), (10000, 1, 28, 28))
        >>> FASHION_LABELS[train.y[0]]
        'ankle boot'
    """
    place = cache_folder("fashion-mnist") if folder is None else Path(folder)

    def make() -> Arrays:
        return dict(zip(_FILES, read_all(tuple(_FILES.values()), place, fetch=folder is None), strict=True))

    # Bytes are kept, and made floats at each call: a quarter of the disk space, and as fast to read.
    kept = kept_arrays(place, "fashion-mnist-1.npz", {key: file.shape for key, file in _FILES.items()}, make)
    return _split(kept["x_train"], kept["y_train"]), _split(kept["x_test"], kept["y_test"])


def _split(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Split:
    x = np.divide(images, 255, dtype=np.float32)
    return Split(x.reshape(-1, 1, 28, 28), labels.astype(np.int64))
