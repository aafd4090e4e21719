"""What every system trains: the same model, on the same samples, with the same batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from .resnet import resnet20

CLASSES = 10
DISTINCT = 4096
"""Samples held in memory. The data set is longer, and repeats them: nine processes must fit into one machine."""

EPOCH = 51_200
"""Samples of an epoch: long enough that its end is rare, short enough that it is measured, too."""

LEARNING_RATE = 0.01
MOMENTUM = 0.9


class Samples(Dataset[tuple[Tensor, Tensor]]):
    """Random samples of fixed seed, and their labels."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(0)
        self._x = torch.randn(DISTINCT, *shape, generator=generator)
        self._y = torch.randint(0, CLASSES, (DISTINCT,), generator=generator)

    def __len__(self) -> int:
        return EPOCH

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self._x[index % DISTINCT], self._y[index % DISTINCT]


class Endless(Sampler[int]):
    """Indices of the data set in random order, for ever. Each host has an order of its own."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        while True:
            yield from torch.randperm(EPOCH, generator=generator).tolist()


@dataclass(frozen=True, slots=True)
class Workload:
    """A model and its data.

    Attributes:
        name: for the command line and the results.
        shape: of one sample.
        build: makes the model; always the same weights.
    """

    name: str
    shape: tuple[int, ...]
    build: Callable[[], nn.Module]

    def data(self) -> Samples:
        """The data set."""
        return Samples(self.shape)

    def batches(self, size: int, seed: int) -> Iterator[list[Tensor]]:
        """Batches of ``size`` samples for ever, by a plain loader."""
        loader = DataLoader(self.data(), batch_size=size, sampler=Endless(seed))
        return iter(loader)


def small() -> nn.Module:
    """A 2-D CNN of 0.2M parameters for pictures of 28 x 28: little computing for its size, so transfers weigh most."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 128),
        nn.ReLU(),
        nn.Linear(128, CLASSES),
    )


def wearable() -> nn.Module:
    """A 1-D CNN for windows of six channels, as wearable sensors give: as many parameters, ten times the computing."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(6, 64, 9, padding=4, bias=False),
        nn.GroupNorm(8, 64),
        nn.ReLU(),
        nn.Conv1d(64, 96, 9, padding=4, bias=False),
        nn.GroupNorm(8, 96),
        nn.ReLU(),
        nn.Conv1d(96, 128, 9, padding=4, bias=False),
        nn.GroupNorm(8, 128),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(128, CLASSES),
    )


WORKLOADS = {
    one.name: one
    for one in (
        Workload("small", (1, 28, 28), small),
        Workload("wearable", (6, 256), wearable),
        Workload("resnet20", (3, 32, 32), lambda: resnet20(CLASSES)),
    )
}
