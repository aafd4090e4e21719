"""What a worker hands over: the weighted mean of its micro-batches' gradients, and their BatchNorm moments."""

from __future__ import annotations

from typing import Any

import msgspec
import torch
from torch import Tensor

from .errors import ScriptError
from .group import Group
from .metrics import Metrics, Sums
from .statistics import Pool
from .store import FlatStore

_Ours = tuple[float, bytes, bytes, Sums]
"""What one process of a group adds beside its gradient: weight, gradient flags, BatchNorm moments, metrics."""


class _Room:
    """Where a contribution is summed up: the bytes that are sent, and views of them."""

    def __init__(self, store: FlatStore) -> None:
        self.payload = torch.empty(store.push_bytes, dtype=torch.uint8)
        self.memory = _memory(self.payload)
        head = store.statistics.pooled_bytes
        self.pool: Pool = store.statistics.new_pool(_memory(self.payload[:head]) if head else None)
        self.gradient = self.payload[head:].view(store.dtype)
        # Gradients are summed where they are computed; the payload is where the bytes leave from.
        on_device = store.device.type != "cpu"
        self.flat = torch.empty_like(self.gradient, device=store.device) if on_device else self.gradient
        self.views = store.split(self.flat)


class GradientSum:
    """The running mean ``ḡ`` of the micro-batches of a contribution, weighted, in one flat buffer.

    The first micro-batch is copied as it is, so a contribution of one is exact; the ``m``-th is mixed in by
    ``ḡ += (w_m / Σw) (g_m − ḡ)`` (Welford 1962).
    """

    def __init__(self, store: FlatStore) -> None:
        self._store = store
        self._spare: list[_Room] = []
        self._lent: list[_Room] = []
        self._room = _Room(store)
        self.weight = 0.0
        self.present = bytearray()
        self.drop()

    def add(self, weight: float) -> None:
        """Mix in the gradients that the parameters hold now.

        Raises:
            ScriptError: a sparse gradient.
        """
        self.weight += weight
        share = weight / self.weight
        first = share == 1.0
        views: list[Tensor] = []
        gradients: list[Tensor] = []
        with torch.no_grad():
            for index, (parameter, view) in enumerate(zip(self._store.parameters, self._room.views, strict=True)):
                gradient = parameter.grad
                if gradient is None:
                    # No gradient is a gradient of zero here; whether it had one anywhere is told apart by a flag.
                    view.zero_() if first else view.mul_(1.0 - share)
                    continue
                if gradient.layout is not torch.strided:
                    raise ScriptError(
                        f"parameter {index} has a sparse gradient, which is not supported: "
                        "use sparse=False in its layer"
                    )
                self.present[index] = 1
                views.append(view)
                gradients.append(gradient.to(view.dtype))
            if views and first:
                torch._foreach_copy_(views, gradients)
            elif views:
                torch._foreach_lerp_(views, gradients, share)
        self._store.statistics.collect(self._room.pool)

    def gather(self, group: Group, metrics: Sums) -> Sums:
        """Make the first one's sum that of a whole group, ``ḡ = Σ wᵢ ḡᵢ / Σ wᵢ``; returns everybody's ``metrics``."""
        room, statistics = self._room, self._store.statistics
        if self.weight:
            room.flat.mul_(self.weight)
        else:
            room.flat.zero_()
        group.reduce(room.flat)
        ours = self.weight, bytes(self.present), room.pool.whole.tobytes(), metrics
        whole = Metrics()
        whole.merge(metrics)
        for data in group.gather(msgspec.msgpack.encode(ours))[1:]:
            weight, present, moments, more = msgspec.msgpack.decode(data, type=_Ours)
            self.weight += weight
            self.present = bytearray(a | b for a, b in zip(self.present, present, strict=True))
            statistics.merge(room.pool, statistics.new_pool(memoryview(moments)))
            whole.merge(more)
        if group.first and self.weight:
            room.flat.div_(self.weight)
        return whole.take()

    def take(self) -> tuple[memoryview, float, bytes]:
        """The contribution's bytes, weight and gradient flags (empty: all set); a new one begins.

        The bytes are the caller's until :meth:`give_back`.
        """
        room = self._room
        if room.flat is not room.gradient:
            room.gradient.copy_(room.flat)
        taken = room.memory, self.weight, b"" if all(self.present) else bytes(self.present)
        self._lent.append(room)
        # Used again while its pages are at hand: a fresh one costs a page fault for each of them.
        self._room = self._spare.pop() if self._spare else _Room(self._store)
        self.drop()
        return taken

    def give_back(self, payload: memoryview) -> None:
        """The bytes were sent; their buffer may be used again."""
        room = next(room for room in self._lent if room.memory is payload)
        self._lent.remove(room)
        self._spare.append(room)

    def drop(self) -> None:
        """Forget the contribution under way."""
        self.weight = 0.0
        self.present = bytearray(len(self._store.parameters))
        self._room.pool.whole[:] = 0


def _memory(tensor: Tensor) -> memoryview:
    array: Any = tensor.numpy()
    return memoryview(array)
