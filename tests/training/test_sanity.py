"""Contributions of finite numbers that nobody can mean are refused, and harm nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from evener.core import commands as c
from evener.runtime.protocol import Push
from evener.training.master import Master
from evener.training.sanity import ABSURD, LEARNT, MOST_WEIGHT
from evener.training.setup import Setup

WEIGHTS = 4


def made(*layers: nn.Module) -> Master:
    model = nn.Sequential(nn.Linear(3, 1), *layers)
    loader = DataLoader(TensorDataset(torch.zeros(4, 3)), batch_size=2)
    return Master(Setup(model, torch.optim.SGD(model.parameters(), lr=0.1), loader), lambda epoch: range(4))


def said(master: Master, norm: float, weight: float = 2.0, moments: tuple[float, float, float] = (2, 0.5, 1.0)) -> str:
    """What is said of a contribution with this norm, and these count, mean and M2 of each channel."""
    layers, gradient = master.store.statistics.layers, torch.zeros(master.store.size)
    gradient[0] = norm
    pool = torch.tensor(moments if layers else (), dtype=torch.float64).numpy().tobytes()
    payload = memoryview(bytearray(pool + gradient.numpy().tobytes()))
    return master.verdict(Push(0, (0,), (0,), weight), payload).word


def usual(master: Master, norm: float = 2.0) -> None:
    for _ in range(LEARNT):
        assert said(master, norm) == "ok"


def test_a_norm_far_beyond_all_before_it_is_refused() -> None:
    master = made()
    usual(master)
    assert said(master, 0.9 * ABSURD * 2) == "ok"  # a spike: the watch's business
    assert "is absurd: the largest before it was 1.8e+06" in said(master, 1e15)
    assert said(master, 2.0) == "ok"


def test_the_first_ones_say_what_is_usual() -> None:
    master = made()
    for norm in (0.0, 1e-9, 1.0, 1e9):
        assert said(master, norm) == "ok"


def test_what_is_refused_does_not_become_usual() -> None:
    master = made()
    usual(master)
    for _ in range(3):
        assert "absurd" in said(master, 1e10)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf, 2 * MOST_WEIGHT])
def test_a_weight_that_none_can_have(weight: float) -> None:
    assert said(made(), 1.0, weight).startswith("a weight of")


def test_a_weight_far_beyond_all_before_it_is_refused() -> None:
    master = made()
    usual(master)
    assert said(master, 1.0, 1e4) == "ok"
    assert "which is absurd" in said(master, 1.0, 1e12)


def test_the_largest_that_is_taken_leaves_the_parameters_finite() -> None:
    master = made()
    push, weight = Push(0, (0,), (0,), MOST_WEIGHT), MOST_WEIGHT
    gradient = torch.tensor([1e19, 0.0, 0.0, 1.0])
    payload = memoryview(gradient.numpy()).cast("B")
    assert master.verdict(push, payload).word == "ok"
    master.accumulate(0, push, payload, weight / 2)
    master.step(c.Step(0, 1, 2, 2 / weight, 1.0, 1))
    assert torch.isfinite(master.store.flat).all()


@pytest.mark.parametrize(
    ("moments", "why"),
    [
        ((-1.0, 0.0, 1.0), "a negative count or variance"),
        ((2.0, 0.0, -1.0), "a negative count or variance"),
        ((2.0, 1e200, 1.0), "are absurd"),
        ((2.0, 0.0, 1e200), "are absurd"),
        ((1e300, 0.0, 1.0), "are absurd"),
        ((2.0, math.nan, 1.0), "not finite"),
    ],
)
def test_running_statistics_that_nothing_has(moments: tuple[float, float, float], why: str) -> None:
    master = made(nn.BatchNorm1d(1))
    assert said(master, 1.0) == "ok"
    assert why in said(master, 1.0, moments=moments)
