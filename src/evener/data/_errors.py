"""The one exception of this package."""

from __future__ import annotations


class DataError(RuntimeError):
    """A data set could not be had, or what was had is not the data set.

    The message says what happened, what is valid, and what to do.
    """
