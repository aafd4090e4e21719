"""The loader's seam on a worker: the user's data set, options and collate function, fed with tickets.

A real ``DataLoader`` does the loading. Its batch sampler hands out the index lists of granted tickets. With loader
workers it is asked for more than there is, so it answers with empty lists (*bubbles*), which pass through as
``None``; what was loaded ahead and then revoked is thrown away, so only what compute started is bound to a worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset

from ..runtime.work import Compute
from .chance import Key, Seeds, set_seed


class SeamLoader:
    """Looks like the user's loader; only what it yields is ours.

    Args:
        loader: the user's.
        batches: called for each loop over it.
    """

    def __init__(self, loader: DataLoader[Any], batches: Callable[[], Iterator[Any]]) -> None:
        self._loader = loader
        self._batches = batches

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        return self._batches()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def fetch(
    loader: DataLoader[Any], indices: bytes | memoryview, keyed: Callable[[list[int]], list[Key]] | None = None
) -> Any:
    """The collated batch of these samples (int64), loaded in this process.

    ``keyed`` adds to each index the seed to load it with; without it nothing is seeded.
    """
    decoded: list[int] = np.frombuffer(indices, dtype=np.int64).tolist()
    if keyed is None:
        return loader.collate_fn(_Samples(loader.dataset).__getitems__(decoded))
    return loader.collate_fn(_SeededSamples(loader.dataset).__getitems__(keyed(decoded)))


def samples_of(dataset: Any, indices: list[int]) -> list[Any]:
    """These samples, as a DataLoader would ask for them."""
    return _Samples(dataset).__getitems__(indices)


LOOKAHEAD = 4
"""Most tickets a worker with loader processes keeps in its queue."""


def lookahead(loader: DataLoader[Any]) -> int:
    """How many tickets to keep queued, so that the loader's own processes have something to do."""
    return 1 if loader.num_workers == 0 else min(LOOKAHEAD, 1 + loader.num_workers)


class TicketLoader:
    """Loads the batches of tickets.

    Args:
        loader: the user's; everything but its sampler is kept.
        queued: the tickets granted and not started.
        seeds: of a reproducible run: each sample is loaded with a random state of its own.
    """

    def __init__(
        self, loader: DataLoader[Any], queued: Callable[[], list[Compute]], seeds: Seeds | None = None
    ) -> None:
        self._queued = queued
        self._seeds = seeds
        self._wanted: Compute | None = None
        self._submitted: deque[int | None] = deque()
        self._loaded: dict[int, Any] = {}
        self._options = options(loader)
        self._loader = loader
        self._batches: Iterator[Any] | None = None

    def load(self, work: Compute) -> Any:
        """The collated batch of a ticket's samples."""
        ticket = work.ticket
        if ticket in self._loaded:
            return self._loaded.pop(ticket)
        if ticket not in self._submitted:
            self._wanted = work
        if self._batches is None:
            self._batches = iter(
                DataLoader(
                    (_Samples if self._seeds is None else _SeededSamples)(self._loader.dataset),
                    batch_sampler=_Endless(self._next_indices),
                    collate_fn=_Collate(self._loader.collate_fn),
                    **self._options,
                )
            )
        while True:
            batch = next(self._batches)
            arrived = self._submitted.popleft()
            if arrived == ticket:
                alive = {queued.ticket for queued in self._queued()}
                self._loaded = {key: value for key, value in self._loaded.items() if key in alive}
                return batch
            if arrived is not None:
                self._loaded[arrived] = batch

    def _next_indices(self) -> list[Any]:
        if self._wanted is not None:
            work = self._wanted
            self._wanted = None
        else:
            known = {*self._submitted, *self._loaded}
            ahead = [one for one in self._queued() if one.ticket not in known] if self._loader.num_workers else []
            if not ahead:
                self._submitted.append(None)
                return []
            work = ahead[0]
        self._submitted.append(work.ticket)
        decoded: list[int] = np.frombuffer(work.indices, dtype=np.int64).tolist()
        return decoded if self._seeds is None else self._seeds.keyed(decoded, work.epoch, work.ranges)

    def close(self) -> None:
        """End the loader's own processes."""
        self._batches = None


def options(loader: DataLoader[Any]) -> dict[str, Any]:
    """The user's loading options, for another DataLoader over the same data."""
    kept: dict[str, Any] = {
        name: getattr(loader, name)
        for name in ("num_workers", "pin_memory", "timeout", "worker_init_fn", "generator", "multiprocessing_context")
    }
    if loader.num_workers:
        kept["prefetch_factor"] = loader.prefetch_factor
    return kept


class _Endless:
    """A batch sampler without end."""

    def __init__(self, next_indices: Callable[[], list[Any]]) -> None:
        self._next_indices = next_indices

    def __iter__(self) -> Iterator[list[Any]]:
        while True:
            yield self._next_indices()


class _Samples(Dataset[Any]):
    """The user's data set, which never sees a bubble."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getitems__(self, indices: list[int]) -> list[Any]:
        if not indices:
            return []
        many = getattr(self._dataset, "__getitems__", None)
        if many is not None:
            found: list[Any] = many(indices)
            return found
        return [self._dataset[index] for index in indices]

    def __getitem__(self, index: int) -> Any:
        return self._dataset[index]

    # worker_init_fn may read and set attributes of get_worker_info().dataset: an open file, for instance.

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_dataset":
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_dataset":
            super().__setattr__(name, value)
        else:
            setattr(self._dataset, name, value)

    def __len__(self) -> int:
        return len(self._dataset)


class _SeededSamples(_Samples):
    """The user's data set, its random state set for each sample; for each batch, if it loads batches itself."""

    def __getitems__(self, keys: list[Key]) -> list[Any]:  # type: ignore[override]
        found: list[Any] = []
        if hasattr(self._dataset, "__getitems__"):
            if keys:
                set_seed(keys[0][1])
            return super().__getitems__([index for index, _ in keys])
        for index, seed in keys:
            set_seed(seed)
            found.append(self._dataset[index])
        return found


class _Collate:
    """The user's collate function, with ``None`` for a bubble."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self._collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        return self._collate(samples) if samples else None
