"""What the study trains: the data and the networks of ``examples/``, with everything that is varied as an argument.

    python study/train.py --data har                                      # plain training, one process
    evener run study/train.py --speeds 10,4,2,1 -- --data fashion         # four workers of unequal speed

A run is cut into equal pieces instead of passes over the data, so that the model is tested often and every policy
trains on the same number of samples: whole batches, no remainders.
"""

import argparse
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

import evener
import evener.data

WATCHED = 1000
"""Test samples that the curve of a run is measured on, the same in every run; at the end it is all of them."""


class Passes(Sampler[int]):
    """Passes over ``size`` samples, each in an order of its own, end to end, cut into pieces: an epoch is a piece."""

    def __init__(self, size: int, piece: int, seed: int) -> None:
        self.size, self.piece, self.seed = size, piece, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the piece."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.piece

    def __iter__(self) -> Iterator[int]:
        start, stop = self.epoch * self.piece, (self.epoch + 1) * self.piece
        for number in range(start // self.size, -(-stop // self.size)):
            order = torch.randperm(self.size, generator=torch.Generator().manual_seed(1000 * self.seed + number))
            first = number * self.size
            yield from order[max(0, start - first) : stop - first].tolist()
        self.epoch += 1  # alone, nobody calls set_epoch


class Signals(nn.Module):
    """The window as it is, and beside it the motion about its mean: the same as in ``examples/har.py``."""

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 6, 128)`` → ``(n, 12, 128)``."""
        return torch.cat([x, torch.asinh(20.0 * (x - x.mean(2, keepdim=True)))], 1)


def network(data: str, norm: str) -> nn.Module:
    """The network of the example for ``data``; ``norm``: ``batch`` or ``group`` (of 8 groups)."""

    def normalise(channels: int, dimensions: int) -> nn.Module:
        batch = nn.BatchNorm1d if dimensions == 1 else nn.BatchNorm2d
        return batch(channels) if norm == "batch" else nn.GroupNorm(8, channels)

    def piece(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        return [convolution, normalise(outputs, 1), nn.ReLU()]

    def patch(inputs: int, outputs: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        return [convolution, normalise(outputs, 2), nn.ReLU(), nn.MaxPool2d(2)]

    if data == "har":
        blocks = [*piece(12, 64, 9, 1), *piece(64, 96, 9, 2), *piece(96, 96, 7, 1), *piece(96, 96, 5, 2)]
        return nn.Sequential(Signals(), *blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(96, 6))
    return nn.Sequential(*patch(1, 16), *patch(16, 32), *patch(32, 64), nn.Flatten(), nn.Linear(9 * 64, 10))


def optimizer_for(model: nn.Module, options: argparse.Namespace) -> torch.optim.Optimizer:
    """SGD with momentum, or AdamW; both with weight decay."""
    if options.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), lr=options.lr)
    return torch.optim.SGD(model.parameters(), lr=options.lr, momentum=options.momentum, weight_decay=5e-4)


def schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """A linear warm-up over the first tenth, then a cosine to zero."""

    def factor(step: int) -> float:
        return min(10 * (step + 1) / steps, (1 + math.cos(math.pi * step / steps)) / 2)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Part of the samples that the model names rightly."""
    model.eval()
    with torch.no_grad():
        named = torch.cat([model(some).argmax(1) for some in torch.split(x, 250)])
    return int((named == y).sum()) / len(y)


def arguments() -> argparse.Namespace:
    """What is varied."""
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--data", choices=("har", "fashion"), default="har")
    add("--norm", choices=("batch", "group"), default="batch")
    add("--optimizer", choices=("sgd", "adamw"), default="sgd")
    add("--lr", type=float, default=0.05)
    add("--momentum", type=float, default=0.9)
    add("--batch", type=int, default=512)
    add("--keep", type=int, default=0, help="train on so many of the training samples (0: all)")
    add("--pieces", type=int, default=20, help="evaluations, at equal distances")
    add("--steps", type=int, default=4, help="batches from one evaluation to the next")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def train(session: evener.Session, options: argparse.Namespace) -> None:
    """The five lines, as in the examples."""
    torch.manual_seed(options.seed)
    train, test = evener.data.har() if options.data == "har" else evener.data.fashion_mnist()
    kept = torch.randperm(len(train.x), generator=torch.Generator().manual_seed(0))[: options.keep or None]
    train_set = TensorDataset(torch.from_numpy(train.x)[kept], torch.from_numpy(train.y)[kept])
    test_x, test_y = torch.from_numpy(test.x), torch.from_numpy(test.y)
    watched = torch.randperm(len(test_x), generator=torch.Generator().manual_seed(0))[:WATCHED]

    model = network(options.data, options.norm)
    order = Passes(len(kept), options.steps * options.batch, options.seed)
    loader = DataLoader(train_set, batch_size=options.batch, sampler=order)
    optimizer = optimizer_for(model, options)
    scheduler = schedule(optimizer, options.pieces * options.steps)
    model, optimizer, loader = session.prepare(model, optimizer, loader, step_scheduler=scheduler)

    for piece in session.epochs(options.pieces):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            session.log(loss=loss)
        if session.is_server:
            session.log(test_accuracy=accuracy(model, test_x[watched], test_y[watched]))
            if piece == options.pieces - 1:
                session.log(final_accuracy=accuracy(model, test_x, test_y))


if __name__ == "__main__":
    given = arguments()
    train(evener.join(), given)
