"""Before the first ticket: warm the device up, become as slow as asked, and measure the pace."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ..runtime.place import Slowness
from .layout import Runner
from .reproducible import check_deterministic
from .statistics import RunningStatistics

WARM_SECONDS = 0.8
"""No further size of micro-batch is tried out once this much time has passed."""

PROBE_SAMPLES = 16
PROBE_SECONDS = 0.6
"""The probe ends after the micro-batch in which this much time has passed; it is one of a few."""


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has computed what was launched on it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


class Throttle:
    """Emulates a slower processor in user space: after computing, pause in proportion."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._since = time.perf_counter()

    def begin(self) -> None:
        """Computing begins."""
        self._since = time.perf_counter()

    def pause(self) -> None:
        """Computing ended: sleep as long as a processor with the given share would have gone on."""
        spent = time.perf_counter() - self._since
        time.sleep(spent * (1.0 / self._share - 1.0))


def slow_down(slowness: Slowness | None) -> Throttle | None:
    """Take on the emulated speed, if any: enter the quota's group, or return a throttle to call."""
    if slowness is None:
        return None
    if slowness.kind == "throttle":
        return Throttle(slowness.share)
    try:
        with open(slowness.path, "w") as group:
            group.write(str(os.getpid()))
    except OSError:
        return Throttle(slowness.share)
    return None


def probe(
    model: nn.Module,
    loader: DataLoader[Any],
    statistics: RunningStatistics,
    slowness: Slowness | None,
    sizes: Sequence[int] = (),
    check: Callable[[], None] = lambda: None,
    tune: Callable[[Runner | None], None] = lambda run: None,
) -> tuple[float | None, Throttle | None]:
    """Warm up at full speed with micro-batches of ``sizes``, slow down, measure.

    Returns samples/s of forward and backward (``None`` if the model's call is not of the kind ``model(x)`` with ``x``
    the first part of a batch), and the throttle if there is one.

    ``check`` is called when the model has run; then ``tune``, with what runs it, if anything does. The model is left
    as it was: no gradients, the same buffers and random state.

    Raises:
        ScriptError: the run is reproducible, and an operation of the model is not.
    """
    runnable = _runner(model, loader)
    with undisturbed(model, statistics):
        # The first call of a size allocates and chooses kernels.
        usable = runnable is not None and runnable(PROBE_SAMPLES) and runnable(PROBE_SAMPLES)
        if usable:
            check()
        tune(runnable if usable else None)
        began = time.perf_counter()
        for size in sizes:
            if not usable or runnable is None or time.perf_counter() - began > WARM_SECONDS:
                break
            runnable(size)
        throttle = slow_down(slowness)
        if not usable or runnable is None:
            return None, throttle
        count = 0
        began = time.perf_counter()
        while count < 8 and time.perf_counter() - began < PROBE_SECONDS:
            if throttle is not None:
                throttle.begin()
            runnable(PROBE_SAMPLES)
            if throttle is not None:
                throttle.pause()
            count += 1
        seconds = time.perf_counter() - began
    return count * PROBE_SAMPLES / seconds, throttle


def try_out(
    model: nn.Module,
    loader: DataLoader[Any],
    statistics: RunningStatistics,
    tune: Callable[[Runner | None], None] = lambda run: None,
) -> None:
    """Run the model once, forward and backward, and leave it as it was: what :func:`probe` does, without measuring.

    Raises:
        ScriptError: the run is reproducible, and an operation of the model is not.
    """
    runnable = _runner(model, loader)
    with undisturbed(model, statistics):
        tune(runnable if runnable is not None and runnable(PROBE_SAMPLES) else None)


def _runner(model: nn.Module, loader: DataLoader[Any]) -> Any:
    """A function that runs the model forward and backward on a few samples; it says whether that went well."""
    dataset: Any = loader.dataset
    try:
        batch = loader.collate_fn([dataset[index] for index in range(min(PROBE_SAMPLES, len(dataset)))])
        inputs = inputs_of(batch, next(model.parameters()).device)
        if inputs is None:
            return None
    except Exception as error:
        check_deterministic(error)
        return None  # the script's own loop will tell what is wrong, if anything is

    def run(size: int) -> bool:
        try:
            return forward_backward(model, inputs[torch.arange(size) % len(inputs)])
        except Exception as error:
            check_deterministic(error)
            return False

    return run


def inputs_of(batch: Any, device: torch.device) -> Tensor | None:
    """The first part of a collated batch, on ``device``; ``None`` if that is no tensor."""
    inputs = batch[0] if isinstance(batch, list | tuple) else batch
    return inputs.to(device) if isinstance(inputs, Tensor) else None


def forward_backward(model: nn.Module, inputs: Tensor) -> bool:
    """Compute ``model(inputs)`` and the gradient of the sum of what comes out; false if nothing there wants one."""
    outputs = model(inputs)
    tensors = outputs if isinstance(outputs, list | tuple) else [outputs]
    total = sum(t.float().sum() for t in tensors if isinstance(t, Tensor) and t.requires_grad)
    if not isinstance(total, Tensor):
        return False
    total.backward()  # type: ignore[no-untyped-call]
    synchronize(total.device)
    return True


@contextmanager
def undisturbed(model: nn.Module, statistics: RunningStatistics) -> Iterator[None]:
    """Restore gradients, buffers, modes and random state afterwards."""
    buffers = [
        (owner, key, buffer, buffer.detach().clone())
        for owner in model.modules()
        for key, buffer in owner._buffers.items()
        if buffer is not None
    ]
    gradients = [(p, p.grad) for p in model.parameters()]
    # Module by module: a script may have put a part in eval mode, to freeze its statistics.
    modes = [(module, module.training) for module in model.modules()]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            if not model.training:
                model.train()
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for owner, key, buffer, before in buffers:
                    owner._buffers[key] = buffer  # a forward() may have bound another tensor to the name
                    buffer.copy_(before)
            for parameter, gradient in gradients:
                parameter.grad = gradient
            statistics.forget()
