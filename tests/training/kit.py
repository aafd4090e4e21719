"""What the scripts of these tests share. A script begins with ``from training.kit import *``."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import evener

_place = json.loads(os.environ.get("EVENER_PLACE") or "{}")
role: str = _place.get("role", "alone")
index: int = _place.get("index", -1)
me = f"worker{index}" if role == "worker" else role
__all__ = [
    "DataLoader",
    "Dataset",
    "Positions",
    "TensorDataset",
    "evener",
    "index",
    "keep",
    "let",
    "me",
    "nn",
    "os",
    "role",
    "signal",
    "state",
    "sys",
    "time",
    "torch",
    "wait_for",
]


class Positions(Dataset[torch.Tensor]):
    """Sample ``i`` is the number ``i``."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> torch.Tensor:
        return torch.tensor(position)


def keep(**values: Any) -> None:
    """Hand values to the test."""
    torch.save(values, f"{me}.part")
    os.replace(f"{me}.part", f"{me}.pt")


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def let(gate: str, times: int = 1) -> None:
    """Let so many pass a gate that the test has made."""
    with open(gate, "wb", buffering=0) as pipe:
        pipe.write(b"." * times)


def wait_for(gate: str) -> None:
    """Wait at a gate until somebody lets one pass."""
    with open(gate, "rb", buffering=0) as pipe:
        pipe.read(1)
