"""Ways to set training up that must compute what they compute in one process, and how they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.checkpoint import checkpoint

from evener.runtime.protocol import mismatch
from evener.training.master import trained_parameters
from evener.training.store import FlatStore

from .halves import Body, Make, Worker, distance, in_halves, in_one, made, samples

cross_entropy = nn.functional.cross_entropy


def body(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
    optimizer.zero_grad()
    cross_entropy(model(x), y).backward()
    optimizer.step()


def momentum(model: nn.Module) -> Optimizer:
    return SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def dense(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), *layers, nn.Linear(8, 4)).double()


def convolutions() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(16, 4)).double()


# Each a model, an optimizer, and the loop's body -------------------------------------------------------------


def several_losses() -> tuple[Make, Body]:
    def summed(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        out = model(x)
        (cross_entropy(out, y) + 0.1 * out.square().mean() + 0.01 * model[1].weight.abs().sum()).backward()
        optimizer.step()

    return lambda: with_optimizer(dense(), momentum), summed


def backward_twice() -> tuple[Make, Body]:
    def twice(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        (0.1 * model(x.flip(-1)).square().mean()).backward()
        optimizer.step()

    return lambda: with_optimizer(dense(), momentum), twice


def groups() -> tuple[Make, Body]:
    def optimizer(model: nn.Module) -> Optimizer:
        first, last = model[1], model[3]
        return AdamW(
            [
                {"params": [first.weight], "lr": 1e-2, "weight_decay": 0.3},
                {"params": [last.weight], "lr": 1e-3, "betas": (0.5, 0.9)},
                {"params": [first.bias, last.bias], "weight_decay": 0.0},
            ],
            lr=3e-3,
        )

    return lambda: with_optimizer(dense(), optimizer), body


def frozen() -> tuple[Make, Body]:
    def make() -> tuple[nn.Module, Optimizer]:
        model = dense()
        model[1].requires_grad_(False)
        return model, momentum(model)

    return make, body


def frozen_half_way() -> tuple[Make, Body]:
    def thawing(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        calls = model.calls = getattr(model, "calls", 0) + 1
        model[1].requires_grad_(calls > 6)  # the head alone first, then all
        model[3].bias.requires_grad_(calls <= 6)
        body(model, optimizer, x, y)

    return lambda: with_optimizer(dense(), momentum), thawing


def shared_module() -> tuple[Make, Body]:
    def make() -> tuple[nn.Module, Optimizer]:
        shared = nn.Linear(8, 8)
        return with_optimizer(dense(shared, nn.Tanh(), shared), momentum)

    return make, body


def unused() -> tuple[Make, Body]:
    class Unused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = dense(), dense()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.used(x)
            return out

    return lambda: with_optimizer(Unused(), momentum), body


def outside_the_model() -> tuple[Make, Body]:
    """Parameters of a loss, which are the optimizer's but not the model's."""

    def make() -> tuple[nn.Module, Optimizer]:
        model = dense()
        scale = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))
        return model, SGD([*model.parameters(), scale], lr=0.05)

    def scaled(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        scale = optimizer.param_groups[0]["params"][-1]
        cross_entropy(model(x) * scale, y).backward()
        optimizer.step()

    return make, scaled


def checkpointed(reentrant: bool) -> Callable[[], tuple[Make, Body]]:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.rest = nn.Linear(36, 8), nn.Sequential(nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
            self.last = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.last(checkpoint(self.rest, self.first(x.flatten(1)), use_reentrant=reentrant))
            return out

    return lambda: (lambda: with_optimizer(Checkpointed().double(), momentum), body)


def channels_last() -> tuple[Make, Body]:
    def transposed(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        body(model, optimizer, x.to(memory_format=torch.channels_last), y)

    def make() -> tuple[nn.Module, Optimizer]:
        return with_optimizer(convolutions().to(memory_format=torch.channels_last), momentum)  # type: ignore[call-overload]

    return make, transposed


def compiled() -> tuple[Make, Body]:
    def make() -> tuple[nn.Module, Optimizer]:
        model: Any = torch.compile(dense(), backend="aot_eager")
        return model, momentum(model)

    return make, body


def parametrized() -> tuple[Make, Body]:
    def make() -> tuple[nn.Module, Optimizer]:
        model = dense()
        nn.utils.parametrizations.weight_norm(model[1])
        return model, momentum(model)

    return make, body


def declared_local() -> tuple[Make, Body]:
    class Counting(nn.Module):
        calls: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = dense()
            self.register_buffer("calls", torch.zeros(()), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            out: Tensor = self.inner(x)
            return out

    return lambda: with_optimizer(Counting(), momentum), body


def in_a_hook() -> tuple[Make, Body]:
    """A gradient that a hook changes: before it is contributed, and linearly, so that halves add up."""

    def make() -> tuple[nn.Module, Optimizer]:
        model = dense()
        model[1].weight.register_hook(lambda gradient: gradient * (gradient.new_ones(36).cumsum(0) % 2))
        return model, momentum(model)

    return make, body


def with_optimizer(model: nn.Module, optimizer: Callable[[nn.Module], Optimizer]) -> tuple[nn.Module, Optimizer]:
    return model, optimizer(model)


WORKS: dict[str, Callable[[], tuple[Make, Body]]] = {
    "several losses summed": several_losses,
    "backward twice before a step": backward_twice,
    "parameter groups": groups,
    "frozen": frozen,
    "frozen half-way": frozen_half_way,
    "a module used twice": shared_module,
    "unused parameters": unused,
    "parameters outside the model": outside_the_model,
    "checkpointing": checkpointed(False),
    "checkpointing, reentrant": checkpointed(True),
    "channels_last": channels_last,
    "torch.compile": compiled,
    "parametrizations": parametrized,
    "non-persistent buffers": declared_local,
    "gradient hooks": in_a_hook,
}


@pytest.mark.parametrize("name", WORKS)
def test_it_trains_as_in_one_process(name: str) -> None:
    make, loop = WORKS[name]()
    x, y = samples(1, 6, 6)
    before, _ = made(make)
    plain = in_one(make, loop, x, y)
    assert distance(before, plain) > 1e-3  # or there would be nothing to compare
    assert distance(in_halves(make, loop, x, y), plain) < 1e-10


def test_clipping_is_of_the_whole_batch() -> None:
    def clipped(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.7)))
        optimizer.step()

    norms: list[float] = []
    x, y = samples(1, 6, 6)
    make: Make = lambda: with_optimizer(dense(), momentum)  # noqa: E731
    plain = in_one(make, clipped, x, y)
    assert min(norms) < 0.7 < max(norms)  # some are clipped, some are not
    assert distance(in_halves(make, body, x, y, clip_norm=0.7), plain) < 1e-10
    # Clipped half by half it would be another training.
    assert distance(in_halves(make, body, x, y), plain) > 1e-3


# Mixed precision: rounding depends on the micro-batch, so the plain loop computes the halves, too -------------


@pytest.mark.parametrize(("dtype", "scaled"), [(torch.bfloat16, False), (torch.float16, True)])
def test_mixed_precision_is_equal_to_the_bit(dtype: torch.dtype, scaled: bool) -> None:
    def make() -> tuple[nn.Module, Optimizer]:
        return with_optimizer(dense().float(), momentum)

    def mixed(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            out = model(x)
        assert out.dtype == dtype
        scaler.scale(cross_entropy(out.float(), y)).backward()
        scaler.step(optimizer)
        scaler.update()

    class Idle(SGD):
        def step(self, closure: Any = None) -> None:
            pass

    def plain_halves(model: nn.Module, optimizer: Any, x: Tensor, y: Tensor) -> None:
        halves = []
        for half, labels in zip(x.chunk(2), y.chunk(2), strict=True):
            mixed(model, Idle(model.parameters(), lr=1.0), half, labels)
            halves.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
        for parameter, one, other in zip(model.parameters(), *halves, strict=True):
            parameter.grad = one / 2 + other / 2
        optimizer.step()

    x, y = samples(1, 6, 6, dtype=torch.float32)
    assert distance(in_halves(make, mixed, x, y), in_one(make, plain_halves, x, y)) == 0.0


def test_a_recomputed_forward_pass_shows_batchnorm_nothing_new() -> None:
    class Net(nn.Module):
        def __init__(self, recompute: bool) -> None:
            super().__init__()
            self.first, self.recompute = nn.Linear(36, 8), recompute
            self.part = nn.Sequential(nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x.flatten(1))
            out: Tensor = checkpoint(self.part, h, use_reentrant=False) if self.recompute else self.part(h)
            return out

    x, y = samples(1, 6, 6)
    plain, recomputed = (in_halves(lambda r=r: with_optimizer(Net(r).double(), momentum), body, x, y) for r in (0, 1))  # type: ignore[misc]
    ours, theirs = recomputed.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())


def test_a_compiled_model_reports_batchnorm() -> None:
    """Compiled before its layers are observed, and even called: nothing of the statistics is lost."""

    def make() -> tuple[nn.Module, Optimizer]:
        model: Any = dense(nn.BatchNorm1d(8, dtype=torch.float64))
        if compile_it:
            model = torch.compile(model, backend="aot_eager")
            model(x[:8])
            for module in model.modules():
                if isinstance(module, nn.BatchNorm1d):
                    module.reset_running_stats()
        return model, momentum(model)

    x, y = samples(1, 6, 6)
    compile_it = False
    plain = in_halves(make, body, x, y)
    compile_it = True
    ours = in_halves(make, body, x, y)
    for found, expected in zip(ours.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(found, expected)


def test_one_process_may_compile_and_another_need_not() -> None:
    torch.manual_seed(3)
    model = dense(nn.BatchNorm1d(8), nn.BatchNorm1d(8, track_running_stats=False))
    model[1].bias.requires_grad_(False)
    both: list[Any] = [model, torch.compile(model)]
    entries = [FlatStore(one, trained_parameters(momentum(one))).entries for one in both]
    assert [entry.kind for entry in entries[0]].count("fixed") == 1
    assert mismatch(*entries) == ""


def test_gradients_are_free_between_batches() -> None:
    """Nothing that looks after gradients keeps them alive once they are cleared."""
    import weakref

    model, optimizer = made(lambda: with_optimizer(dense(), momentum))
    worker = Worker(model, optimizer)
    x, y = samples(1, 6, 6)
    worker.push(body, x[:8], y[:8])
    gone = [weakref.ref(p.grad) for p in model.parameters()]
    worker.optimizer.zero_grad()
    assert all(gradient() is None for gradient in gone)
