"""What a worker hands over: the weighted mean of its micro-batches' gradients, and their BatchNorm moments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .errors import ScriptError
from .statistics import Pool
from .store import FlatStore


class GradientSum:
    """The running mean ``ḡ`` of the micro-batches of a contribution, weighted, in one flat buffer.

    The first micro-batch is copied as it is, so a contribution of one is exact; the ``m``-th is mixed in by
    ``ḡ += (w_m / Σw) (g_m − ḡ)`` (Welford 1962).
    """

    def __init__(self, store: FlatStore) -> None:
        self._store = store
        self._spare: list[Tensor] = []
        self._fresh()

    def _fresh(self) -> None:
        size = self._store.push_bytes
        self.payload = self._spare.pop() if self._spare else torch.empty(size, dtype=torch.uint8)
        head = self._store.statistics.pooled_bytes
        self.pool: Pool = self._store.statistics.new_pool(_memory(self.payload[:head]) if head else None)
        self.pool.whole[:] = 0
        self._gradient = self.payload[head:].view(self._store.dtype)
        # Gradients are summed where they are computed; the payload is where the bytes leave from.
        on_device = self._store.device.type != "cpu"
        self._flat = torch.empty_like(self._gradient, device=self._store.device) if on_device else self._gradient
        self._views = self._store.split(self._flat)
        self.weight = 0.0
        self.present = bytearray(len(self._store.parameters))

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
            for index, (parameter, view) in enumerate(zip(self._store.parameters, self._views, strict=True)):
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
        self._store.statistics.collect(self.pool)

    def take(self) -> tuple[memoryview, float, bytes]:
        """The contribution's bytes, weight and gradient flags (empty: all set); a new one begins."""
        if self._flat is not self._gradient:
            self._gradient.copy_(self._flat)
        flags = b"" if all(self.present) else bytes(self.present)
        taken = self.payload, self.weight
        self._fresh()
        return _memory(taken[0]), taken[1], flags

    def give_back(self, payload: memoryview) -> None:
        """The bytes were sent; their buffer may be used again."""
        self._spare.append(torch.frombuffer(payload, dtype=torch.uint8))

    def drop(self) -> None:
        """Forget the contribution under way."""
        self.weight = 0.0
        self.present = bytearray(len(self._store.parameters))
        self.pool.whole[:] = 0


def _memory(tensor: Tensor) -> memoryview:
    array: Any = tensor.numpy()
    return memoryview(array)
