"""Measuring what a script prepared, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from evener.runtime.protocol import CHUNK, Push
from evener.simulation.profile import Profile, Request
from evener.training.profiling import Unmeasurable, measure
from evener.training.setup import Setup
from evener.training.transfers import measure_transfers

TRAINED = 6 * 64 + 64 + 2 * 64 + 64 * 64 + 64 + 64 * 2 + 2


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Deep(nn.Module):
    """Uses the same parameters so many times: slower in proportion, and nothing else."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)
        self.depth = depth

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.depth):
            x = torch.tanh(self.layer(x))
        return x


def setup(*, depth: int = 1, inner: nn.Module | None = None, batch: int = 32, **loading: Any) -> Setup:
    """A model with BatchNorm and dropout, a stateful optimizer, a scheduler that ends after three steps."""
    body = inner or Deep(depth)
    model = nn.Sequential(nn.Linear(6, 64), nn.BatchNorm1d(64), nn.Dropout(0.5), body, nn.Linear(64, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=3)
    data = TensorDataset(torch.randn(90, 6), torch.randint(0, 2, (90,)))
    loader = DataLoader(data, batch_size=batch, shuffle=True, **loading)
    return Setup(model, optimizer, loader, step_scheduler=scheduler, clip_norm=1.0)


def measured(prepared: Setup, *sizes: int, seconds: float = 0.02, **more: Any) -> Profile:
    return measure(prepared, Request("", sizes, seconds, **more), torch.device("cpu"))


def test_every_size_is_repeated_and_every_cost_is_there() -> None:
    profile = measured(setup(), seconds=0.3)
    assert profile.durations.keys() | set(profile.left_out) == {8, 16, 32}
    assert all(len(some) >= 3 for some in profile.durations.values())
    assert (profile.parameters, profile.batch, profile.machine.threads) == (TRAINED, 32, 1)
    # Values and BatchNorm's statistics: moments in float64 one way, running ones in float32 the other.
    assert profile.transfers.push_bytes == 4 * TRAINED + 8 * (1 + 2 * 64)
    assert profile.transfers.pull_bytes == 4 * TRAINED + 4 * (1 + 2 * 64) + 4
    costs = profile.transfers
    assert min(profile.step, costs.push, costs.pull, costs.message, costs.cpu) > 0


def test_a_transfer_of_several_frames() -> None:
    wide = nn.Sequential(nn.Linear(64, 8000), nn.Linear(8000, 64))
    profile = measured(setup(inner=wide), 8)
    assert profile.transfers.push_bytes > 3 << 20


def test_a_model_that_computes_more_is_slower() -> None:
    shallow, deep = (measured(setup(depth=depth), 32, seconds=0.5) for depth in (1, 200))
    # The quickest repeat of each: whatever else this machine does can only make one slower.
    assert min(deep.durations[32]) > 2 * min(shallow.durations[32])
    assert deep.parameters == shallow.parameters


def test_sizes_for_which_there_is_no_time_are_named() -> None:
    profile = measured(setup(), 8, 16, 32, seconds=0.0)
    assert (list(profile.durations), profile.left_out) == ([8], (16, 32))
    assert len(profile.durations[8]) == 3


def test_the_loaders_own_processes_load() -> None:
    profile = measured(setup(num_workers=1), 8, 32, seconds=1.0)
    assert set(profile.durations) <= {8, 32}
    assert 8 in profile.durations


def test_a_batch_smaller_than_any_usual_size() -> None:
    assert list(measured(setup(batch=4)).durations) == [4]


def test_a_batch_larger_than_the_data() -> None:
    assert list(measured(setup(batch=128), 128).durations) == [128]


class Told(nn.Module):
    """Notes in which mode and precision it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[bool, torch.dtype]] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add((self.training, (x @ x.T).dtype))
        return x


@pytest.mark.parametrize(("autocast", "dtype"), [("", torch.float32), ("bfloat16", torch.bfloat16)])
def test_it_is_called_as_in_training(autocast: str, dtype: torch.dtype) -> None:
    told = Told()
    prepared = setup(inner=told)
    prepared.model.eval()
    measured(prepared, 8, autocast=autocast)
    assert told.seen == {(True, dtype)}
    assert not prepared.model.training


def test_the_model_and_the_random_state_stay() -> None:
    prepared = setup()
    before = {name: value.clone() for name, value in prepared.model.state_dict().items()}
    state = torch.get_rng_state()
    measured(prepared, 8, 16)
    assert torch.equal(torch.get_rng_state(), state)
    after = prepared.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in prepared.model.parameters())


class Ends:
    """What a push reaches, and what a pull installs."""

    def __init__(self, size: int) -> None:
        self.push_bytes = self.parameter_bytes = size
        self.published = memoryview(bytes(range(251)) * (size // 251 + 1))[:size]
        self.pushed: list[tuple[Push, bytes]] = []
        self.installed: list[bytes] = []

    def verdict(self, head: Push, payload: memoryview) -> None:
        self.pushed.append((head, bytes(payload)))

    def accumulate(self, step: int, head: Push, payload: memoryview, factor: float) -> None:
        pass

    def install(self, data: bytearray) -> None:
        self.installed.append(bytes(data))


@pytest.mark.parametrize("size", [10, CHUNK, 2 * CHUNK + 7])
def test_what_is_sent_arrives_whole(size: int) -> None:
    ends: Any = Ends(size)
    sent = Push(0, (), (), 8.0), memoryview(bytes(reversed(range(200))) * (size // 200 + 1))[:size]
    transfers = measure_transfers(ends, ends, sent, seconds=0.0)
    assert (transfers.push_bytes, transfers.pull_bytes) == (size, size)
    assert len(ends.pushed) == len(ends.installed) == 4  # three that count, after one that does not
    assert all(head == sent[0] and payload == sent[1] for head, payload in ends.pushed)
    assert all(data == ends.published for data in ends.installed)


class Masked(nn.Module):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x * mask


class Cut(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def as_dict(samples: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    return {"x": torch.stack([x for x, _ in samples])}


def without_gradient() -> Setup:
    model = nn.Sequential(nn.Linear(6, 2), Cut())
    return Setup(model, torch.optim.SGD(model.parameters()), setup().loader)


@pytest.mark.parametrize(
    ("prepared", "sizes", "says"),
    [
        (setup(), (8, 33), "of 33 samples is larger than the script's batch of 32: give sizes of 1 to 32"),
        (setup(), (1, 8), "a micro-batch of 1 samples ends in ValueError: Expected more than 1 value per channel"),
        (setup(inner=Masked()), (), r"ends in TypeError: .*calls model\(x\)"),
        (without_gradient(), (), "nothing that it returns has a gradient"),
        (setup(collate_fn=as_dict), (), "the first part of a batch is no tensor"),
    ],
    ids=["above the batch", "too small for BatchNorm", "two arguments", "no gradient", "a dict"],
)
def test_what_cannot_be_measured(prepared: Setup, sizes: tuple[int, ...], says: str) -> None:
    with pytest.raises(Unmeasurable, match=says):
        measured(prepared, *sizes)
