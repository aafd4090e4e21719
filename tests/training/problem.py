"""A small problem that scripts and tests share, so that a plain loop can be set beside a run."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

BATCH, EPOCHS = 32, 5
STEPS_PER_EPOCH = 10


def make(optimizer: str, drop_last: bool) -> tuple[Any, Any, Any, Any, Any]:
    """Model, optimizer, loader, step scheduler, epoch scheduler: the same in every process."""
    torch.manual_seed(3)
    dtype = torch.float64
    count = STEPS_PER_EPOCH * BATCH + (10 if drop_last else -10)
    x, y = torch.randn(count, 1, 6, 6, dtype=dtype), torch.randint(0, 4, (count,))
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4)).to(dtype)
    first, second = list(model[0].parameters()), list(model[3].parameters())
    groups: list[dict[str, Any]] = [{"params": first, "lr": 0.02}, {"params": second, "weight_decay": 1e-3}]
    made: torch.optim.Optimizer
    if optimizer == "sgd":
        made = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    else:
        made = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)
    data = TensorDataset(x, y)
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(5))
    loader = DataLoader(data, batch_size=BATCH, sampler=sampler, drop_last=drop_last)
    return model, made, loader, CosineAnnealingLR(made, STEPS_PER_EPOCH * EPOCHS), StepLR(made, 2, gamma=0.5)


def plain(optimizer: str, drop_last: bool, clip_norm: float | None) -> nn.Module:
    """What one process computes without evener."""
    model, stepped, loader, step_scheduler, epoch_scheduler = make(optimizer, drop_last)
    steps = 0
    for _ in range(EPOCHS):
        for x, y in loader:
            stepped.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
            stepped.step()
            step_scheduler.step()
            steps += 1
        epoch_scheduler.step()
    assert steps == STEPS_PER_EPOCH * EPOCHS
    return model
