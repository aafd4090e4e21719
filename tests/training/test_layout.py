"""Channels last: the same gradients and outputs, chosen where it is faster, and never in a script's way."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from evener.trace import NoteLine, StartNote
from evener.training.layout import Layout

from .harness import Launch


class Recorder(nn.Module):
    """Notes the layout of what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.strides: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor:
        self.strides = x.stride()
        return x


class Viewing(nn.Module):
    """What many a script has: channels first, or view() fails."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3)
        self.out = nn.Linear(4 * 36, 2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.convolution(x)
        return self.out(features.view(len(x), -1))  # type: ignore[no-any-return]


def network(channels: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        Recorder(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 5),
    )


def runner(model: nn.Module, channels: int = 3) -> Callable[[int], bool]:
    def run(size: int) -> bool:
        try:
            model(torch.randn(size, channels, 8, 8)).sum().backward()
        except RuntimeError:
            return False
        return True

    return run


def is_last(model: nn.Sequential) -> bool:
    """Whether what comes out of the first convolution lay channels last in the latest forward pass."""
    recorder = model[4]
    assert isinstance(recorder, Recorder)
    return recorder.strides[1] == 1


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    model.zero_grad()
    model(x).square().sum().backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("wants_gradient", [False, True])
def test_it_computes_the_same(channels: int, wants_gradient: bool) -> None:
    model, x = network(channels), torch.randn(6, channels, 8, 8, requires_grad=wants_gradient)
    plain = copy.deepcopy(model)
    layout = Layout(model, channels_last=True)
    layout.choose(runner(model, channels))
    model.load_state_dict(plain.state_dict())  # the running statistics
    for ours, theirs in zip(gradients(model, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(ours, theirs)
        assert ours.is_contiguous()
    if channels == 3 or not wants_gradient:
        assert is_last(model)
    assert not is_last(plain)
    assert x.stride() == (channels * 64, 64, 8, 1)


def test_pictures_come_out_as_a_script_knows_them() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3))
    layout = Layout(model, channels_last=True)
    layout.choose(runner(model))
    assert model(torch.randn(2, 3, 8, 8)).view(2, -1).shape == (2, 32)


def test_it_is_gone_afterwards() -> None:
    model, x = network(), torch.randn(4, 3, 8, 8)
    layout = Layout(model, channels_last=True)
    layout.choose(runner(model))
    layout.release()
    assert not layout.last
    model(x)
    assert not is_last(model)
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def clock(monkeypatch: pytest.MonkeyPatch, model: nn.Sequential, first: float, last: float) -> Callable[[int], bool]:
    """Runs ``model``; pretends that it takes so many seconds with channels first, or last."""
    time = [0.0]
    inner = runner(model)

    def run(size: int) -> bool:
        done = inner(size)
        time[0] += last if is_last(model) else first
        return done

    monkeypatch.setattr("evener.training.layout.time.perf_counter", lambda: time[0])
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    return run


@pytest.mark.parametrize(("first", "last", "chosen"), [(3.0, 2.0, True), (2.0, 3.0, False), (2.04, 2.0, False)])
def test_what_is_faster_is_chosen(monkeypatch: pytest.MonkeyPatch, first: float, last: float, chosen: bool) -> None:
    model = network()
    layout = Layout(model)
    layout.choose(clock(monkeypatch, model, first, last))
    assert layout.last is chosen
    model(torch.randn(2, 3, 8, 8))
    assert is_last(model) is chosen


@pytest.mark.parametrize("chosen", [True, False])
def test_what_else_the_machine_does_decides_nothing(monkeypatch: pytest.MonkeyPatch, chosen: bool) -> None:
    model, time, runs = network(), [0.0], [0]
    inner = runner(model)

    def run(size: int) -> bool:
        done = inner(size)
        took = 0.01 if chosen and is_last(model) else 0.015
        runs[0] += 1
        # What is slower seems faster most of the time: the other is disturbed.
        disturbed = is_last(model) is chosen and runs[0] not in (6, 7)
        time[0] += took * (3 if disturbed else 1)
        return done

    monkeypatch.setattr("evener.training.layout.time.perf_counter", lambda: time[0])
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    layout = Layout(model)
    layout.choose(run)
    assert layout.last is chosen


@pytest.mark.parametrize("chosen", [True, False])
def test_of_one_thread_its_own_time_counts(monkeypatch: pytest.MonkeyPatch, chosen: bool) -> None:
    """Under a CPU quota it waits in every run of one layout, and in none of the other's."""
    model, own, waited = network(), [0.0], [0.0]
    inner = runner(model)

    def run(size: int) -> bool:
        done = inner(size)
        own[0] += 0.01 if chosen and is_last(model) else 0.015
        waited[0] += 0.02 if is_last(model) is chosen else 0.0
        return done

    monkeypatch.setattr("evener.training.layout.time.perf_counter", lambda: own[0] + waited[0])
    monkeypatch.setattr("evener.training.layout.time.thread_time", lambda: own[0])
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    layout = Layout(model)
    layout.choose(run)
    assert layout.last is chosen


def test_what_is_not_measured_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    layout = Layout(model)
    layout.choose(clock(monkeypatch, model, 3.0, 2.0), measured=False)
    assert not layout.last
    layout.choose(None)
    assert not layout.last


def test_a_no_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    layout = Layout(model, channels_last=False)
    layout.choose(clock(monkeypatch, model, 3.0, 2.0))
    assert not layout.last


def test_a_model_that_views_is_left_alone_or_refused_in_words() -> None:
    model = Viewing()
    layout = Layout(model)
    layout.choose(runner(model))
    assert not layout.last
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 2)
    with pytest.raises(ValueError, match=r"view\(\).*reshape\(\)"):
        Layout(model, channels_last=True).choose(runner(model))


def test_a_script_that_asked_torch_for_it_has_it() -> None:
    model = network().to(memory_format=torch.channels_last)
    layout = Layout(model)
    layout.choose(runner(model), measured=False)
    assert layout.last


def test_without_convolutions_nothing_happens() -> None:
    layout = Layout(nn.Linear(4, 2), channels_last=True)
    layout.choose(lambda size: True)
    assert not layout.last


SCRIPT = """
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(8 * 16, 2))
data = TensorDataset(torch.randn(96, 3, 8, 8), torch.randint(0, 2, (96,)))
session = evener.join()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
channels_last = {"True": True, "False": False}[sys.argv[1]]
loader = DataLoader(data, batch_size=32, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader, channels_last=channels_last)
for epoch in session.epochs(2):
    for x, y in loader:
        assert x.is_contiguous()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
keep(state=model.state_dict())
"""


def test_a_run_ends_with_the_same_parameters(launch: Launch) -> None:
    ends = []
    for last in (True, False):
        run = launch(SCRIPT, str(last), workers=2, policy="synchronous")
        run.succeed()
        notes = [line.note for line in run.lines() if isinstance(line, NoteLine) and isinstance(line.note, StartNote)]
        assert [note.channels_last for note in notes if note.worker >= 0] == [last, last]
        ends.append(run.kept("worker0")["state"])
    for key, tensor in ends[0].items():
        torch.testing.assert_close(tensor, ends[1][key])
