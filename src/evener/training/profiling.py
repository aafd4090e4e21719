"""How fast this machine is for a script: its batches, forward and backward; transfers; optimizer steps.

The probe of a worker's start (:mod:`evener.training.warmup`), for longer, in more sizes, and with all that a worker
does for a micro-batch. It happens in ``prepare``: the script's own loop never begins.
"""

from __future__ import annotations

import itertools
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ..core import commands as c
from ..runtime.place import LIMIT_SIZES
from ..runtime.protocol import Push
from ..simulation.profile import Machine, Profile, Request
from .chance import put_back
from .checks import check_device
from .contribution import GradientSum
from .layout import Layout
from .loader import options
from .master import Master, trained_parameters
from .metrics import Scalar
from .session import Session
from .setup import Setup
from .store import FlatStore
from .transfers import measure_transfers
from .warmup import forward_backward, inputs_of, synchronize, try_out, undisturbed

ROUNDS = 3
"""Micro-batches of each size, at least."""

LONGEST_REST = 0.2
"""Seconds: a CPU quota's period is a tenth of a second unless somebody chose another."""

CACHES = 4 << 20
"""Bytes that a core's own caches surely do not hold."""

FOR_TRANSFERS = 0.25
FOR_STEPS = 0.08
"""Time for these, as shares of the time for computing."""

NOT_SO = (
    "the model cannot be measured: {what}. evener profile does not run the script's loop, but calls model(x), with x "
    "the first part of a batch of the loader"
)


class ProfileSession(Session):
    """``prepare`` measures, writes the answer into the request's folder, and ends the script."""

    def __init__(self, request: Request, device: torch.device) -> None:
        super().__init__(device)
        self._request = request

    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        folder = Path(self._request.folder)
        try:
            profile = measure(setup, self._request, self.device)
        except Unmeasurable as error:
            (folder / "refused.txt").write_text(str(error), encoding="utf-8")
        else:
            (folder / "profile.json").write_bytes(msgspec.json.encode(profile))
        self._end()

    def _epochs(self, count: int) -> Iterator[int]:
        self._end()

    def log(self, **values: Scalar) -> None:
        """Goes nowhere."""

    @staticmethod
    def _end() -> NoReturn:
        raise SystemExit(0)


class Unmeasurable(Exception):  # noqa: N818
    """There is no profile; the message says why and what to do."""


def measure(setup: Setup, request: Request, device: torch.device) -> Profile:
    """Measure this machine for what the script prepared.

    Raises:
        Unmeasurable: the sizes do not fit the batch, or the model cannot be called.
    """
    sizes = _sizes(setup.batch, request.sizes)
    worker = _Worker(setup, device, request.autocast)
    with put_back(), undisturbed(setup.model, worker.store.statistics):
        durations, left_out, rested = worker.measure(sizes, request.seconds)
        contribution = worker.contribution(min(durations))
    worker.store.statistics.release()
    worker.layout.release()
    setup.model.to("cpu")  # where a server has it
    master = Master(setup, lambda _: ())
    between = partial(_touch, torch.empty(CACHES // 4))
    transfers = measure_transfers(worker.store, master, contribution, FOR_TRANSFERS * request.seconds, between)
    return Profile(
        machine=Machine(_processor(device), str(device), str(torch.__version__), torch.get_num_threads()),
        autocast=request.autocast,
        batch=setup.batch,
        parameters=worker.store.size,
        durations=durations,
        left_out=left_out,
        transfers=transfers,
        step=_step(master, contribution, FOR_STEPS * request.seconds),
        rested=rested,
    )


def _touch(memory: Tensor) -> None:
    """What computing does to the processor's caches."""
    memory.fill_(1.0)


def _sizes(batch: int, asked: Sequence[int]) -> tuple[int, ...]:
    if asked and max(asked) > batch:
        raise Unmeasurable(
            f"a micro-batch of {max(asked)} samples is larger than the script's batch of {batch}: "
            f"give sizes of 1 to {batch}"
        )
    return tuple(asked) or tuple(size for size in LIMIT_SIZES if size <= batch) or (batch,)


class _Worker:
    """A worker without a server."""

    def __init__(self, setup: Setup, device: torch.device, autocast: str) -> None:
        self._setup = setup
        self._device = device
        self._dtype = getattr(torch, autocast) if autocast else None
        self.layout = Layout(setup.model, setup.channels_last)
        self.store = FlatStore(setup.model, trained_parameters(setup.optimizer))
        check_device(self.store.device, device)
        self.store.statistics.observe()
        with put_back(), self._autocast():
            try_out(setup.model, setup.loader, self.store.statistics, self.layout.choose)
        self._sum = GradientSum(self.store)

    def measure(
        self, sizes: Sequence[int], seconds: float
    ) -> tuple[dict[int, list[float]], tuple[int, ...], dict[int, list[float]]]:
        """Seconds of each repeat of each size; the sizes that there was no time for; seconds of the middle one, rested.

        The sizes take turns, so that what else the machine does for a while meets all of them.
        """
        began = time.perf_counter()
        tried: list[int] = []
        batches = self._batches(sizes)
        for size in sizes:  # the first call of a size allocates and chooses kernels
            if tried and time.perf_counter() - began > seconds / 2:
                break
            self._one(batches, size)
            tried.append(size)
        if len(tried) < len(sizes):
            batches = self._batches(tried)
        durations: dict[int, list[float]] = {size: [] for size in tried}
        middle, rested = tried[len(tried) // 2], []
        rests = self._batches([middle])
        began = time.perf_counter()
        for turn in itertools.count():
            if turn >= ROUNDS and time.perf_counter() - began > seconds:
                break
            for size in tried:
                durations[size].append(self._one(batches, size))
            # Under a CPU quota who has rested computes at full speed for a moment.
            time.sleep(min(durations[middle][-1], LONGEST_REST))
            rested.append(self._one(rests, middle))
            self._sum.drop()
        return durations, tuple(sizes[len(tried) :]), {middle: rested}

    def contribution(self, size: int) -> tuple[Push, memoryview]:
        """One micro-batch, as it would be pushed."""
        self._one(self._batches([size]), size)
        payload, weight, present = self._sum.take()
        return Push(0, (), (), weight, present), payload

    def _one(self, batches: Iterator[Any], size: int) -> float:
        """Load and compute a micro-batch; how long that took."""
        began = time.perf_counter()
        for parameter in self.store.parameters:
            parameter.grad = None
        inputs = inputs_of(next(batches), self._device)
        if inputs is None:
            raise Unmeasurable(NOT_SO.format(what="the first part of a batch is no tensor"))
        try:
            with self._autocast():
                wants_gradient = forward_backward(self._setup.model, inputs)
        except Exception as error:
            first = str(error).partition("\n")[0]
            what = f"a micro-batch of {size} samples ends in {type(error).__name__}: {first}"
            raise Unmeasurable(NOT_SO.format(what=what)) from error
        if not wants_gradient:
            raise Unmeasurable(NOT_SO.format(what="nothing that it returns has a gradient"))
        self._sum.add(float(size))
        synchronize(self._device)
        return time.perf_counter() - began

    def _autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self._device.type, dtype=self._dtype) if self._dtype else nullcontext()

    def _batches(self, sizes: Sequence[int]) -> Iterator[Any]:
        """Batches of the sizes in turn, without end, loaded as the script says."""
        loader = self._setup.loader
        turns: DataLoader[Any] = DataLoader(
            loader.dataset, batch_sampler=_Turns(loader.sampler, sizes), collate_fn=loader.collate_fn, **options(loader)
        )
        return iter(turns)


class _Turns:
    """A batch sampler without end: the sampler's order again and again, in batches of the sizes in turn."""

    def __init__(self, sampler: Any, sizes: Sequence[int]) -> None:
        self._sampler = sampler
        self._sizes = sizes

    def __iter__(self) -> Iterator[list[Any]]:
        order = itertools.cycle(self._sampler)
        for size in itertools.cycle(self._sizes):
            yield list(itertools.islice(order, size))


def _step(master: Master, contribution: tuple[Push, memoryview], seconds: float) -> float:
    """Median seconds of an optimizer step, until the new parameters can be sent."""
    took: list[float] = []
    began = time.perf_counter()
    while len(took) <= ROUNDS or time.perf_counter() - began < seconds:
        master.accumulate(0, *contribution, 1e-3)
        begin = time.perf_counter()
        # No scheduler is due: it may count the steps of the whole run.
        master.step(c.Step(step=0, version=1, samples=1, rescale=1.0, rate_scale=1.0, batches=0))
        master.publish()
        took.append(time.perf_counter() - begin)
    return statistics.median(took[1:])  # the first makes the optimizer's state


def _processor(device: torch.device) -> str:
    """What computes, by name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
