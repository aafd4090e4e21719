"""Parameters and optimizer on the server: the numeric layer of the server's loop."""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..core import commands as c
from ..runtime.numeric import Buffer, Verdict
from ..runtime.protocol import Push
from .checks import copied
from .sanity import Sanity
from .setup import Setup
from .statistics import Pool
from .store import FlatStore


def trained_parameters(optimizer: Optimizer) -> list[nn.Parameter]:
    """The parameters the optimizer steps and that want a gradient, in its order, each once."""
    found: dict[int, nn.Parameter] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad:
                found.setdefault(id(parameter), parameter)
    return list(found.values())


@dataclass(slots=True)
class _Batch:
    """The gradient of one step, as it is collected."""

    gradient: Tensor
    present: bytearray
    pool: Pool
    empty: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The parameters at the end of an epoch."""

    epoch: int
    version: int
    data: Buffer


class Master:
    """The master copy of the model, stepped by the user's own optimizer.

    The optimizer's parameters are replaced by the master's, so its state, groups and schedulers stay what the user made
    them; the user's model only ever receives snapshots, and may be evaluated while training goes on.

    Args:
        setup: what the user handed over.
        order: gives the sampler's order of an epoch, as data set indices.
    """

    def __init__(self, setup: Setup, order: Callable[[int], Iterable[int]]) -> None:
        self.optimizer = setup.optimizer
        self.snapshots: deque[Snapshot] = deque()
        self._order = order
        self._step_scheduler = setup.step_scheduler
        self._epoch_scheduler = setup.epoch_scheduler
        self._clip_norm = setup.clip_norm
        trained = trained_parameters(setup.optimizer)
        memo: dict[int, Any] = {}
        self.model = copied(setup.model, memo)
        masters = {id(p): memo[id(p)] if id(p) in memo else nn.Parameter(p.detach().clone()) for p in trained}
        self.store = FlatStore(self.model, [masters[id(p)] for p in trained])
        _rebind(setup.optimizer, masters)
        self.entries = self.store.entries
        self.push_bytes = self.store.push_bytes
        self._batches: dict[int, _Batch] = {}
        self._spare: list[_Batch] = []
        self._sanity = Sanity()
        self._packed: Buffer = self._pack()

    # What the server's loop asks ------------------------------------------------------------------------------

    def constants(self) -> Buffer:
        """State that is not trained."""
        return memoryview(self.store.pack_constants())

    def draw(self, epoch: int) -> Buffer:
        """The sampler's order, as int64 indices.

        Raises:
            ValueError: the sampler yields something else than whole numbers.
        """
        order = list(self._order(epoch))
        if any(not isinstance(index, int | np.integer) for index in order[:1]):
            raise ValueError(
                f"the sampler yields {type(order[0]).__name__} objects; evener needs whole numbers (data set indices)"
            )
        return memoryview(np.asarray(order, dtype=np.int64).tobytes())

    def verdict(self, head: Push, payload: Buffer) -> Verdict:
        """Whether the contribution is made of sane numbers, and of as many as it should be.

        One pass over the gradient: its norm is finite if all its values are (and their squares do not overflow).
        """
        if len(payload) != self.push_bytes:
            return Verdict(f"{len(payload)} bytes instead of {self.push_bytes}")
        if head.present and len(head.present) != len(self.store.parameters):
            return Verdict(f"{len(head.present)} gradient flags for {len(self.store.parameters)} parameters")
        norm = torch.linalg.vector_norm(self._gradient(payload)).item()
        flaw = self._sanity.flaw(norm, head.weight, self._pool(payload))
        return Verdict(flaw) if flaw else Verdict("ok", norm)

    def accumulate(self, step: int, head: Push, payload: Buffer, factor: float) -> None:
        """Add ``factor · ḡ`` to the batch gradient of ``step``, and pool the statistics."""
        batch = self._batches.get(step)
        if batch is None:
            batch = self._batches[step] = self._new_batch()
        gradient = self._gradient(payload)
        if batch.empty:
            torch.mul(gradient, factor, out=batch.gradient)
            batch.empty = False
        else:
            batch.gradient.add_(gradient, alpha=factor)
        if head.present:
            batch.present[:] = bytes(a | b for a, b in zip(batch.present, head.present, strict=True))
        else:
            batch.present[:] = b"\1" * len(batch.present)
        self.store.statistics.merge(batch.pool, self._pool(payload))

    def step(self, step: c.Step) -> None:
        """One optimizer step; none where nothing was applied. Then the step scheduler, as often as it is due."""
        batch = self._batches.pop(step.step, None)
        if batch is not None and step.samples:
            if step.rescale != 1.0:
                batch.gradient.mul_(step.rescale)
            for parameter, view, present in zip(
                self.store.parameters, self.store.split(batch.gradient), batch.present, strict=True
            ):
                parameter.grad = view if present else None
            if self._clip_norm is not None:
                nn.utils.clip_grad_norm_(self.store.parameters, self._clip_norm)
            self._scaled_step(step.rate_scale)
            self.store.statistics.update(batch.pool)
        if batch is not None:
            self._spare.append(batch)
        if self._step_scheduler is not None:
            for _ in range(step.batches):
                self._step_scheduler.step()

    def publish(self, into: Buffer | None = None) -> Buffer:
        """The parameters as bytes that do not change while anything refers to them: in ``into``, if given."""
        self._packed = self._pack(into)
        return self.published

    def end_epoch(self, epoch: int, version: int) -> None:
        """Step the epoch scheduler and keep a snapshot."""
        if self._epoch_scheduler is not None:
            self._epoch_scheduler.step()
        self.snapshots.append(Snapshot(epoch, version, self.published))

    # Checkpoints --------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All that it knows between two steps, as plain values and tensors that do not change.

        Copied is what training goes on to change. The parameters are those that were published: they stay as they are
        while anything refers to them, and to copy them would hold training up for nothing.
        """
        schedulers = [getattr(one, "state_dict", dict) for one in (self._step_scheduler, self._epoch_scheduler)]
        return {
            "published": torch.frombuffer(self._packed, dtype=torch.uint8),
            "constants": torch.frombuffer(bytearray(self.constants()) or bytearray(1), dtype=torch.uint8),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "schedulers": [copy.deepcopy(state_dict()) for state_dict in schedulers],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`state` gave, of a model of the same entries."""
        constants = bytearray(state["constants"].numpy())
        self.store.install_constants(constants if len(self.constants()) else bytearray())
        self.store.install(bytearray(state["published"].numpy()))
        self.optimizer.load_state_dict(state["optimizer"])
        for scheduler, saved in zip((self._step_scheduler, self._epoch_scheduler), state["schedulers"], strict=True):
            if scheduler is not None and saved:
                scheduler.load_state_dict(saved)
        self._packed = self._pack()

    def fingerprint(self) -> str:
        """SHA-256 of the published parameters: their bytes in the layout's order, then the running statistics'."""
        start = self.store.statistics.state_bytes
        digest = hashlib.sha256(self.published[start:])
        digest.update(self.published[:start])
        return digest.hexdigest()

    # Inside -------------------------------------------------------------------------------------------------

    @property
    def published(self) -> Buffer:
        """The newest published parameters, as bytes that do not change while anything refers to them."""
        return self._packed.toreadonly()

    def _scaled_step(self, scale: float) -> None:
        """Step with every learning rate multiplied by ``scale``, for this step alone."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        try:
            if scale != 1.0:
                for group in self.optimizer.param_groups:
                    group["lr"] = group["lr"] * scale
            self.optimizer.step()
        finally:
            for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    def _gradient(self, payload: Buffer) -> Tensor:
        return self.store.values(payload, self.store.statistics.pooled_bytes)

    def _pool(self, payload: Buffer) -> Pool:
        return self.store.statistics.new_pool(payload)

    def _new_batch(self) -> _Batch:
        count = len(self.store.parameters)
        pool = self.store.statistics.new_pool()
        spare = self._spare.pop().gradient if self._spare else None
        gradient = torch.empty(self.store.size, dtype=self.store.dtype) if spare is None else spare
        return _Batch(gradient, bytearray(count), pool)

    def _pack(self, into: Buffer | None = None) -> Buffer:
        packed = memoryview(bytearray(self.store.parameter_bytes)) if into is None else into
        start = self.store.statistics.state_bytes
        packed[:start] = self.store.statistics.pack()
        if self.store.size:
            torch.frombuffer(packed, dtype=self.store.dtype, offset=start).copy_(self.store.flat.detach())
        return packed


def _rebind(optimizer: Optimizer, masters: dict[int, nn.Parameter]) -> None:
    """Let the optimizer step the master's tensors; state it already has goes with them."""
    for group in optimizer.param_groups:
        group["params"] = [masters.get(id(parameter), parameter) for parameter in group["params"]]
    for parameter, state in list(optimizer.state.items()):
        master = masters.get(id(parameter))
        if master is not None:
            del optimizer.state[parameter]
            optimizer.state[master] = state
