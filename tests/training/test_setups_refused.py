"""Ways to set training up that would be lost on a worker, or be something else there: refused, before they do harm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import evener
from evener.training.batch import BatchInHand
from evener.training.chance import Seeds
from evener.training.guard import Guard
from evener.training.master import Master, trained_parameters
from evener.training.metrics import Metrics
from evener.training.optimizer import ServerOptimizer
from evener.training.reproducible import Slate
from evener.training.setup import Setup
from evener.training.store import FlatStore

from .halves import Body, Worker, made, samples
from .harness import Launch
from .test_setups import body, cross_entropy, dense, momentum, with_optimizer

Net = Callable[[], nn.Module]


def contribute(net: Net, loop: Body, batches: int = 2) -> None:
    """A worker's first batches, as a script with this inner loop has them."""
    worker = Worker(*made(lambda: with_optimizer(net(), momentum)))
    x, y = samples(1, 6, 6)
    for batch, labels in list(zip(x.split(8), y.split(8), strict=True))[:batches]:
        worker.push(loop, batch, labels)


# What the loop's body does -----------------------------------------------------------------------------------


def clip_norm(model: nn.Module, optimizer: Any) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 1e9)  # also where nothing is clipped yet


def clip_value(model: nn.Module, optimizer: Any) -> None:
    nn.utils.clip_grad_value_(model.parameters(), 1e9)


def measure_by_clipping(model: nn.Module, optimizer: Any) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), float("inf"))


def unscale_and_clip(model: nn.Module, optimizer: Any) -> None:
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(torch.zeros(()))
    scaler.unscale_(optimizer)
    clip_norm(model, optimizer)


GRADIENT = (
    r"the gradient of '1.weight' was changed between backward\(\) and optimizer.step\(\).*clip_norm=…\), which"
    ".*to measure its norm, use torch.nn.utils.get_total_norm"
)


@pytest.mark.parametrize("change", [clip_norm, clip_value, measure_by_clipping, unscale_and_clip])
def test_gradients_changed_by_hand(change: Callable[[nn.Module, Any], None]) -> None:
    def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        change(model, optimizer)
        optimizer.step()

    with pytest.raises(evener.ScriptError, match=GRADIENT):
        contribute(dense, loop, batches=1)


def never_cleared(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
    cross_entropy(model(x), y).backward()
    optimizer.step()


def left_over(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
    """The first layer is frozen after the first batch, its gradient of then never cleared."""
    model[3].zero_grad()
    cross_entropy(model(x), y).backward()
    optimizer.step()
    model[1].requires_grad_(False)


@pytest.mark.parametrize(("loop", "name"), [(never_cleared, "1.weight"), (left_over, "1.weight")])
def test_gradients_that_count_twice(loop: Body, name: str) -> None:
    contribute(dense, loop, batches=1)
    text = r"the gradient of '\d.\w+' still holds that of the batch before.*call optimizer.zero_grad\(\) in the loop"
    text += r" \(p.grad.data.zero_\(\) goes unseen"
    with pytest.raises(evener.ScriptError, match=text):
        contribute(dense, loop, batches=2)


@pytest.mark.parametrize("clear", [lambda m, o: m.zero_grad(False), lambda m, o: o.inner.zero_grad(False)])
def test_gradients_cleared_to_zero_are_none_of_these(clear: Callable[[nn.Module, Any], None]) -> None:
    def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        clear(model, optimizer)
        cross_entropy(model(x), y).backward()
        optimizer.step()
        model[1].requires_grad_(False)  # its gradient stays zero from now on

    contribute(dense, loop, batches=4)


def test_a_skipped_batch_leaves_nothing_to_complain_about() -> None:
    def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        cross_entropy(model(x), y).backward()  # left without a step, and then cleared
        optimizer.zero_grad(set_to_none=False)
        model[1].requires_grad_(False)
        cross_entropy(model(x), y).backward()
        optimizer.step()

    contribute(dense, loop, batches=1)


@pytest.mark.parametrize(("every", "reproducible"), [(2, False), (3, False), (2, True)])
def test_accumulating_by_hand_is_refused_before_the_sum_counts(every: int, reproducible: bool) -> None:
    calls = 0

    def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        nonlocal calls
        calls += 1
        if reproducible:
            slate.wipe(0, 8 * calls, bytearray(), worker.guard.skipped())
        (cross_entropy(model(x), y) / every).backward()
        if calls % every == 0:
            optimizer.step()
            optimizer.zero_grad()

    worker = Worker(*made(lambda: with_optimizer(dense(), momentum)))
    slate = Slate(Seeds(0), worker.store, worker.model)
    x, y = samples(1, 6, 6)
    pairs = zip(x.split(8), y.split(8), strict=True)
    for batch, labels in [next(pairs) for _ in range(every - 1)]:
        worker.push(loop, batch, labels)
    text = r"'\d.\w+' still holds that of a batch before, .* left without optimizer.step\(\).*raise batch_size"
    with pytest.raises(evener.ScriptError, match=text):
        worker.push(loop, *next(pairs))
    assert worker.sum.weight == 0


def test_a_gradient_of_a_skipped_batch_that_no_later_one_clears() -> None:
    calls = 0

    def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        nonlocal calls
        calls += 1
        model[3].zero_grad()
        cross_entropy(model(x), y).backward()
        model[1].requires_grad_(False)
        if calls > 1:
            optimizer.step()

    with pytest.raises(evener.ScriptError, match=r"'1.weight' still holds that of a batch before, .* left without"):
        contribute(dense, loop)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_batches_may_be_skipped_as_long_as_they_are_cleared(set_to_none: bool) -> None:
    """As a gradient scaler does while it looks for its scale."""
    worker = Worker(*made(lambda: with_optimizer(dense(), momentum)))
    x, y = samples(1, 6, 6)
    hand = BatchInHand()
    for number, (batch, labels) in enumerate(zip(x.split(8), y.split(8), strict=True)):

        def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor, skipped: bool = number < 20) -> None:
            optimizer.zero_grad(set_to_none)
            cross_entropy(model(x), y).backward()
            if not skipped:
                hand.contribute(None)
                optimizer.step()

        hand.begin(8, Metrics())
        worker.push(loop, batch, labels)
        assert hand.leave() == (number < 20)


def clamped(model: nn.Module, optimizer: Any) -> None:
    with torch.no_grad():
        model[1].weight.clamp_(-0.1, 0.1)


def loaded(model: nn.Module, optimizer: Any) -> None:
    model.load_state_dict(dense().state_dict())


def converted(model: nn.Module, optimizer: Any) -> None:
    model.float().double()


@pytest.mark.parametrize("change", [clamped, loaded, converted])
def test_weights_changed_by_hand(change: Callable[[nn.Module, Any], None]) -> None:
    def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        body(model, optimizer, x, y)
        change(model, optimizer)

    contribute(dense, loop, batches=1)
    text = "the parameter '1.weight' was changed on a worker, .* before session.prepare"
    with pytest.raises(evener.ScriptError, match=text):
        contribute(dense, loop)


class Taught(nn.Module):
    """A student, and its teacher: a running mean of the student's weights."""

    def __init__(self) -> None:
        super().__init__()
        self.student, self.teacher = dense(), dense().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.student(x)
        return out


def teaches(model: nn.Module) -> None:
    with torch.no_grad():
        for theirs, ours in zip(model.teacher.parameters(), model.student.parameters(), strict=True):  # type: ignore[union-attr]
            theirs.lerp_(ours, 0.1)


@pytest.mark.parametrize("everything", [True, False])
def test_a_teacher_that_follows_in_the_loop(everything: bool) -> None:
    """Given to the optimizer, frozen, or not."""

    def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        body(model, optimizer, x, y)
        teaches(model)

    model = Taught().double()
    worker = Worker(model, momentum(model if everything else model.student))
    x, y = samples(1, 6, 6)
    worker.push(loop, x[:8], y[:8])
    with pytest.raises(evener.ScriptError, match=r"'teacher.1.weight' was changed on a worker.*\(a teacher, a target"):
        worker.push(loop, x[8:16], y[8:16])


def test_a_second_optimizer_on_a_part_of_the_model() -> None:
    def loop(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        body(model, optimizer, x, y)
        second.step()

    model = dense()
    worker = Worker(model, momentum(model[1]))
    second = torch.optim.SGD(model[3].parameters(), lr=0.1)
    x, y = samples(1, 6, 6)
    worker.push(loop, x[:8], y[:8])
    with pytest.raises(evener.ScriptError, match=r"'3.weight' was changed on a worker.*nor is a second optimizer"):
        worker.push(loop, x[8:16], y[8:16])


def old_weight_norm() -> nn.Module:
    model = dense()
    nn.utils.weight_norm(model[1])
    return model


@pytest.mark.parametrize(
    ("net", "clip_norm", "kind", "text"),
    [
        (old_weight_norm, None, ValueError, "cannot be copied. If .* use torch.nn.utils.parametrizations.weight_norm"),
        (lambda: nn.LazyLinear(3), None, ValueError, "'weight' has no shape yet: call the model once, on a batch"),
        (dense, "1", TypeError, "clip_norm must be a positive number, not '1'"),
        (dense, True, TypeError, "clip_norm must be a positive number, not True"),
        (dense, float("nan"), ValueError, "clip_norm must be positive, not nan"),
    ],
)
def test_what_the_server_refuses(net: Net, clip_norm: Any, kind: type[Exception], text: str) -> None:
    model = net()
    loader = DataLoader(TensorDataset(*samples(1, 6, 6)), batch_size=8)
    with pytest.raises(kind, match=text):
        Master(Setup(model, momentum(model), loader, clip_norm=clip_norm), lambda epoch: range(8))


def test_what_was_frozen_is_trained_after_all() -> None:
    def net() -> nn.Module:
        model = dense()
        model[1].requires_grad_(False)
        return model

    def thawed(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        model[1].requires_grad_(True)
        body(model, optimizer, x, y)

    text = r"'1.weight' was frozen when session.prepare\(\) was called.*Call prepare\(\) while everything"
    with pytest.raises(evener.ScriptError, match=text):
        contribute(net, thawed, batches=1)


@pytest.mark.parametrize("set_to_none", [True, False])
def test_on_the_server_clearing_leaves_the_step_alone(set_to_none: bool) -> None:
    model, inner = made(lambda: with_optimizer(dense(), momentum))
    optimizer = ServerOptimizer(inner)
    loader = DataLoader(TensorDataset(*samples(1, 6, 6)), batch_size=8)
    master = Master(Setup(model, inner, loader), lambda epoch: range(8))
    for parameter in (*master.model.parameters(), *model.parameters()):
        parameter.grad = torch.ones_like(parameter)
    optimizer.zero_grad(set_to_none)
    assert all(p.grad is not None and bool(p.grad.all()) for p in master.model.parameters())
    assert not any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


# What the model's forward() does: known before training, where the model can be tried out ----------------------


class Counting(nn.Module):
    """Counts its calls in a buffer, in place or by binding a new tensor to its name."""

    calls: Tensor

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.inner, self.in_place = dense(), in_place
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.in_place:
            self.calls += 1
        else:
            self.calls = self.calls + 1
        out: Tensor = self.inner(x)
        return out


def spectral_norm() -> nn.Module:
    model = dense()
    nn.utils.parametrizations.spectral_norm(model[1])
    return model


class Renormed(nn.Module):
    """An embedding that keeps its rows short, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.last = nn.Embedding(9, 5, max_norm=0.5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.rows(x.flatten(1).argmax(1) % 9))
        return out


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (lambda: Counting(True), r"forward\(\) changes its buffer 'calls'.*register it with persistent=False"),
        (lambda: Counting(False), r"forward\(\) changes its buffer 'calls'.*register it with persistent=False"),
        (spectral_norm, r"forward\(\) changes its buffer '1.parametrizations.weight.0._u'"),
        (lambda: Renormed().double(), r"the parameter 'rows.weight' was changed on a worker, by .* forward\(\)"),
    ],
)
def test_state_that_forward_changes(net: Net, text: str) -> None:
    with pytest.raises(evener.ScriptError, match=text):
        contribute(net, body, batches=1)


def test_a_buffer_with_a_nan_in_it_is_not_a_changed_one() -> None:
    model, optimizer = made(lambda: with_optimizer(Counting(True), momentum))
    calls: Any = model.calls
    calls.fill_(float("nan"))
    guard = Guard(model, optimizer, FlatStore(model, trained_parameters(optimizer)))
    guard.check_state()
    calls.fill_(1.0)
    with pytest.raises(evener.ScriptError, match="'calls'"):
        guard.check_state()


def test_buffers_that_keep_their_values_are_fine() -> None:
    model, optimizer = made(lambda: with_optimizer(Counting(True), momentum))
    store = FlatStore(model, trained_parameters(optimizer))
    guard = Guard(model, optimizer, store)
    calls: Any = model.calls
    calls += 1
    calls -= 1
    guard.check_state()
    guard.check_state()
    calls += 1
    with pytest.raises(evener.ScriptError, match="'calls'"):
        guard.check_state()


COUNTING = """
class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(1, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls = self.calls + 1
        return self.inner(x)

session = evener.join()
model = Counting()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(TensorDataset(torch.randn(64, 1)), batch_size=16)
if role == "worker":
    try:
        session.prepare(model, optimizer, loader)
    except evener.ScriptError as error:
        keep(text=str(error), calls=float(model.calls))
else:
    session.prepare(model, optimizer, loader)
    for epoch in session.epochs(1):
        pass
"""


def test_a_buffer_that_forward_changes_is_known_before_training(launch: Launch) -> None:
    run = launch(COUNTING, workers=1, start=False)
    run.server()
    run.worker(0)
    run.wait("worker0")
    kept = run.kept("worker0")
    assert "the model's forward() changes its buffer 'calls' on a worker" in kept["text"]
    assert kept["calls"] == 0.0  # trying the model out left it as it was


LOADED = """
session = evener.join()
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model, optimizer, loader = session.prepare(model, optimizer, DataLoader(Positions(64), batch_size=16))
if role == sys.argv[1]:
    model.load_state_dict({"weight": torch.ones(1, 1), "bias": torch.ones(1)})
for epoch in session.epochs(1):
    for positions in loader:
        optimizer.zero_grad()
        model(positions[:, None].float()).mean().backward()
        optimizer.step()
"""


@pytest.mark.parametrize("role", ["server", "worker"])
def test_weights_loaded_too_late(launch: Launch, role: str) -> None:
    run = launch(LOADED, role, workers=1, start=False)
    run.server(role)
    name = "server"
    if role == "worker":
        run.worker(0, role)
        name = "worker0"
    assert run.wait(name)[name] == 1
    assert "parameters were changed between prepare() and epochs(), which has no effect" in run.err(name)


def test_weights_loaded_late_alone(launch: Launch) -> None:
    run = launch(LOADED, start=False)
    run.alone("alone")
    run.succeed()
