"""What both systems train: the same model, on the same samples, with the same batch."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

BATCH = 512
STEPS = 20
SPEEDS = (8.0, 4.0, 2.0, 1.0)


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH * STEPS, 6, 128, generator=generator)
    return TensorDataset(x, torch.randint(0, 6, (len(x),), generator=generator))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv1d(6, 64, 9, padding=4, bias=False),
        nn.GroupNorm(8, 64),
        nn.ReLU(),
        nn.Conv1d(64, 96, 9, stride=2, padding=4, bias=False),
        nn.GroupNorm(8, 96),
        nn.ReLU(),
        nn.Conv1d(96, 128, 9, stride=2, padding=4, bias=False),
        nn.GroupNorm(8, 128),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(128, 6),
    )
