"""The limit: what the hosts compute per second, all running at once, without any communication."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .schema import SCHEMA, RecordError

FILE = "limit.json"
"""Name of the measurement in its folder."""


class Rates(msgspec.Struct, frozen=True):
    """Samples/s of one worker by micro-batch size.

    >>> Rates(0, {8: 90.0, 16: 120.0}).best
    120.0
    """

    worker: int
    sizes: dict[int, float]

    @property
    def best(self) -> float:
        """Its rate at its own best size, samples/s."""
        return max(self.sizes.values(), default=0.0)


class Limit(msgspec.Struct, frozen=True):
    """A measurement of all workers at once."""

    rates: list[Rates]
    schema: int = SCHEMA

    @property
    def samples_per_second(self) -> float:
        """The limit: the sum of the workers' best rates."""
        return sum(rates.best for rates in self.rates)


def write_limit(folder: str | os.PathLike[str], rates: Sequence[Rates]) -> Path:
    """Write ``limit.json`` into ``folder`` (made if need be); returns the file."""
    file = Path(folder) / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    encoded = msgspec.json.encode(Limit(sorted(rates, key=lambda one: one.worker)))
    file.write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")
    return file


def read_limit(path: str | os.PathLike[str]) -> Limit:
    """The measurement in the folder ``path`` (or the file itself).

    Raises:
        RecordError: there is none, or it cannot be read.
    """
    file = Path(path)
    if file.suffix != ".json":
        file /= FILE
    try:
        limit = msgspec.json.decode(file.read_bytes(), type=Limit)
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(f"there is no measurement of the limit at {file}") from None
    except msgspec.DecodeError as error:
        raise RecordError(f"{file} is no measurement of the limit: {error}") from error
    if limit.schema != SCHEMA:
        raise RecordError(f"{file} has schema {limit.schema}; this version reads schema {SCHEMA}")
    return limit
