"""The same training by PyTorch's DistributedDataParallel over gloo: what `synchronous` is set beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

BATCH, EPOCHS, STEPS_PER_EPOCH = 32, 5, 20


def recorded(kind: type[Any]) -> type[Any]:
    """An optimizer that keeps the gradients it steps with, one flat tensor a step."""

    class Recorded(kind):  # type: ignore[misc]
        def step(self, closure: Callable[[], float] | None = None) -> Any:
            parameters = [p for group in self.param_groups for p in group["params"]]
            self.__dict__.setdefault("seen", []).append(torch.cat([p.grad.flatten() for p in parameters]))
            return super().step(closure)

    return Recorded


def make(optimizer: str, dtype: torch.dtype, rate: float = 1.0) -> tuple[nn.Module, Any, DataLoader[Any]]:
    """A CNN, an optimizer that records, a shuffled loader: the same in every process. ``rate`` scales its rate."""
    torch.manual_seed(3)
    count = STEPS_PER_EPOCH * BATCH
    x, y = torch.randn(count, 1, 8, 8, dtype=dtype), torch.randint(0, 4, (count,))
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.BatchNorm2d(6) if optimizer == "adamw" else nn.Identity(),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 4),
    ).to(dtype)
    parameters = model.parameters()
    if optimizer == "sgd":
        made = recorded(torch.optim.SGD)(parameters, lr=rate * 0.05, momentum=0.9, weight_decay=1e-4)
    else:
        made = recorded(torch.optim.AdamW)(parameters, lr=rate * 0.01, weight_decay=0.1)
    data = TensorDataset(x, y)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(5))
    return model, made, DataLoader(data, batch_size=BATCH, sampler=sampler)


def join(rank: int, world: int) -> None:
    """Join the process group that meets in this folder."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/ranks", rank=rank, world_size=world)


def leave() -> None:
    """End this process here and now.

    A process group that is torn down, by name or with the interpreter, waits for its threads while it holds the GIL,
    and one of them may want the GIL to let go of its last piece of work: with torch 2.13 some processes hang.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def train(rank: int, world: int, model: nn.Module, optimizer: Any, loader: DataLoader[Any]) -> None:
    """As evener's loop; rank ``i`` computes the ``i``-th equal part of each batch."""
    parallel = DistributedDataParallel(model)
    data: Any = loader.dataset
    for _ in range(EPOCHS):
        for positions in torch.tensor(list(loader.sampler)).split(BATCH):
            x, y = data[positions.chunk(world)[rank]]
            optimizer.zero_grad()
            nn.functional.cross_entropy(parallel(x), y).backward()
            optimizer.step()


def state(model: nn.Module) -> dict[str, Tensor]:
    """The parameters; the running statistics of DDP's ranks are each rank's own."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
