"""A timeline for the page's script: small numbers in columns, compressed.

The script (``page.js``) unpacks with what browsers have: base64, gzip, little-endian arrays.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..intervals import CAUSES, STATES, Interval
from ..levels import Levels

COLUMNS = ("lane", "start", "length", "code", "by", "ticket", "step", "version", "samples")
"""Of single intervals, in this order; each an int32, as the difference from the one before."""

TICKS = 2**31 - 1
"""Times are whole numbers of a unit, which divides the run into so many at most."""


def pack(levels: Levels, seconds: float, shown: Sequence[int]) -> dict[str, Any]:
    """Bins and single intervals of the workers ``shown``, ready for JSON.

    Args:
        levels: the timeline.
        seconds: the end of the run.
        shown: worker of each lane, from the top.
    """
    width, fractions = levels.fractions()
    count = max((len(state) for worker in shown for state in fractions[worker]), default=0)
    bins = np.zeros((len(shown), len(STATES), count), np.uint8)
    for row, worker in enumerate(shown):
        for kind, values in enumerate(fractions[worker]):
            bins[row, kind, : len(values)] = np.rint(255 * np.clip(values, 0, 1))
    lanes = {worker: row for row, worker in enumerate(shown)}
    kept = [interval for interval in levels.kept() if interval.worker in lanes]
    unit = max(1e-6, seconds / TICKS)
    codes: dict[tuple[str, str], int] = {}
    columns = np.array([_numbers(one, lanes, unit, codes) for one in kept], np.int64).reshape(-1, len(COLUMNS))
    return {
        "workers": list(shown),
        "states": list(STATES),
        "seconds": seconds,
        "width": width,
        "bins": _text(bins.tobytes()),
        "unit": unit,
        "count": len(kept),
        "complete": levels.complete,
        # What it was: state, why in words, and whether the words are of a worker that left.
        "codes": [[STATES.index(state), CAUSES.get(cause, cause)] for state, cause in codes],
        "causes": [cause for _, cause in codes],
        "intervals": _text(np.diff(columns, axis=0, prepend=0).astype("<i4").T.tobytes()),
    }


def _numbers(one: Interval, lanes: dict[int, int], unit: float, codes: dict[tuple[str, str], int]) -> tuple[int, ...]:
    start, stop = round(one.start / unit), round(one.stop / unit)
    code = codes.setdefault((one.state, one.cause), len(codes))
    return lanes[one.worker], start, stop - start, code, one.by, one.ticket, one.step, one.version, one.samples


def _text(raw: bytes) -> str:
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()
