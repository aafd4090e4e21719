"""What every data set returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Split(NamedTuple):
    """Samples and their labels: one part (training or test) of a data set.

    Attributes:
        x: float32, the samples along the first axis.
        y: int64, one label a sample.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
