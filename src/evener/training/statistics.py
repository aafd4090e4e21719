"""Running statistics of BatchNorm, pooled over micro-batches.

BatchNorm normalises by micro-batch, as DDP does by worker. Its *running* statistics should not depend on who computed
what, so each step pools them over all its micro-batches by the law of total variance and applies the momentum once:

    mean = Σ nᵢ meanᵢ / N        M2 = Σ (M2ᵢ + nᵢ (meanᵢ − mean)²)        variance = M2 / (N − 1)

with ``nᵢ`` the elements per channel of micro-batch ``i`` and ``N`` their sum (Chan, Golub and LeVeque 1979).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from .buffers import tensor_of
from .errors import ScriptValueError

Floats = NDArray[np.float64]


class Pool:
    """Pooled moments of ``layers`` layers over ``channels`` channels in all: ``counts``, ``mean``, ``m2``."""

    def __init__(self, layers: int, channels: int, data: memoryview | None = None) -> None:
        size = layers + 2 * channels
        whole = np.zeros(size) if data is None else np.frombuffer(data, dtype=np.float64, count=size)
        self.counts = whole[:layers]
        self.mean = whole[layers : layers + channels]
        self.m2 = whole[layers + channels :]
        self.whole = whole


class RunningStatistics:
    """The BatchNorm layers of a model that track running statistics.

    On a worker, :meth:`observe` makes them report each micro-batch's moments; on the server, :meth:`update` applies a
    step's pooled moments.

    Raises:
        ValueError: a layer whose statistics cannot be pooled.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers: list[tuple[str, _BatchNorm]] = []
        for name, module in model.named_modules():
            if isinstance(module, nn.SyncBatchNorm):
                raise ScriptValueError(
                    f"{name!r} is SyncBatchNorm, which needs a process group of equals. Use BatchNorm: its running "
                    "statistics are pooled over all workers anyway."
                )
            if isinstance(module, _InstanceNorm) and module.track_running_stats:
                raise ScriptValueError(
                    f"{name!r}: InstanceNorm with track_running_stats=True is not supported; set it to False."
                )
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                self.layers.append((name, module))
        sizes = [module.num_features for _, module in self.layers]
        self.offsets = [0, *np.cumsum(sizes).tolist()] if sizes else [0]
        self.channels = self.offsets[-1]
        self.momenta = [module.momentum for _, module in self.layers]
        self._pending: list[tuple[int, int, Tensor, Tensor]] = []
        self._handles: list[Any] = []

    @property
    def state_bytes(self) -> int:
        """Bytes of the running statistics: mean, variance (float32 per channel), batches tracked (per layer)."""
        # Padded to 8 bytes, so that what follows is aligned whatever its dtype.
        return (4 * (2 * self.channels + len(self.layers)) + 7) // 8 * 8

    @property
    def pooled_bytes(self) -> int:
        """Bytes of pooled moments: count per layer, mean and M2 per channel (float64)."""
        return 8 * (len(self.layers) + 2 * self.channels)

    def layout(self) -> list[tuple[str, int]]:
        """Names and channels of the layers."""
        return [(uncompiled(name), module.num_features) for name, module in self.layers]

    def owns(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` is one of the running statistics."""
        return any(
            tensor is owned
            for _, module in self.layers
            for owned in (module.running_mean, module.running_var, module.num_batches_tracked)
        )

    # Published state ----------------------------------------------------------------------------------------

    def pack(self) -> bytes:
        """The running statistics as bytes."""
        parts: list[NDArray[np.float32]] = []
        for _, module in self.layers:
            mean, variance = _running(module)
            tracked = module.num_batches_tracked
            parts += [mean.cpu().float().numpy(), variance.cpu().float().numpy()]
            parts.append(np.array([0 if tracked is None else tracked.item()], np.float32))
        data = b"".join(part.tobytes() for part in parts)
        return data.ljust(self.state_bytes, b"\0")

    def install(self, data: memoryview | bytearray) -> None:
        """Overwrite the running statistics with published ones."""
        at = 0
        with torch.no_grad():
            for _, module in self.layers:
                count = module.num_features
                mean, variance = _running(module)
                values = tensor_of(data, torch.float32, 2 * count + 1, at)
                mean.copy_(values[:count])
                variance.copy_(values[count : 2 * count])
                if module.num_batches_tracked is not None:
                    module.num_batches_tracked.fill_(int(values[2 * count].item()))
                at += 4 * (2 * count + 1)

    # On a worker --------------------------------------------------------------------------------------------

    def observe(self) -> None:
        """From now on each forward pass in training mode leaves its micro-batch's moments for :meth:`collect`.

        With momentum 1 the layer's running buffers *are* the micro-batch's moments, so nothing is computed twice.
        """
        for index, (_, module) in enumerate(self.layers):
            module.momentum = 1.0
            self._handles.append(module.register_forward_hook(self._hook(index)))

    def _hook(self, index: int) -> Any:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, _BatchNorm)
            # Gradient checkpointing runs a forward pass again, inside backward: it shows nothing new.
            if module.training and torch._C._current_graph_task_id() == -1:
                mean, variance = _running(module)
                count = inputs[0].numel() // module.num_features
                self._pending.append((index, count, mean.detach().clone(), variance.detach().clone()))

        return keep

    def forget(self) -> None:
        """Drop the moments of a micro-batch that will not be contributed."""
        self._pending.clear()

    def collect(self, pool: Pool) -> None:
        """Merge the moments since the last call into ``pool``."""
        for index, count, mean, variance in self._pending:
            # The buffer holds the unbiased variance.
            self.merge_layer(
                pool, index, count, mean.cpu().double().numpy(), variance.cpu().double().numpy() * (count - 1)
            )
        self._pending.clear()

    def release(self) -> None:
        """Undo :meth:`observe`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for (_, module), momentum in zip(self.layers, self.momenta, strict=True):
            module.momentum = momentum

    # Pooling ------------------------------------------------------------------------------------------------

    def new_pool(self, data: memoryview | None = None) -> Pool:
        """Empty moments, or those in received bytes."""
        return Pool(len(self.layers), self.channels, data)

    def merge_layer(self, pool: Pool, index: int, count: float, mean: Floats, m2: Floats) -> None:
        """Merge one layer's moments into ``pool``."""
        if count <= 0:
            return
        span = slice(self.offsets[index], self.offsets[index + 1])
        total = pool.counts[index] + count
        delta = mean - pool.mean[span]
        pool.m2[span] += m2 + delta**2 * (pool.counts[index] * count / total)
        pool.mean[span] += delta * (count / total)
        pool.counts[index] = total

    def merge(self, pool: Pool, other: Pool) -> None:
        """Merge all layers of ``other`` into ``pool``."""
        for index in range(len(self.layers)):
            span = slice(self.offsets[index], self.offsets[index + 1])
            self.merge_layer(pool, index, other.counts[index], other.mean[span], other.m2[span])

    def update(self, pool: Pool) -> None:
        """Apply a step's pooled moments to the running statistics, momentum once."""
        with torch.no_grad():
            for index, (_, module) in enumerate(self.layers):
                count = pool.counts[index]
                if count <= 0:
                    continue
                span = slice(self.offsets[index], self.offsets[index + 1])
                tracked = module.num_batches_tracked
                if tracked is not None:
                    tracked.add_(1)
                momentum = module.momentum
                if momentum is None:  # a cumulative average
                    momentum = 1.0 / float(1 if tracked is None else tracked.item())
                running_mean, running_variance = _running(module)
                mean = torch.from_numpy(pool.mean[span].copy()).to(running_mean)
                variance = torch.from_numpy(pool.m2[span] / max(count - 1.0, 1.0)).to(running_variance)
                running_mean.lerp_(mean, momentum)
                running_variance.lerp_(variance, momentum)


def uncompiled(name: str) -> str:
    """A tensor's name without what ``torch.compile`` puts before it: one process may compile, another need not.

    >>> uncompiled("_orig_mod.0.weight")
    '0.weight'
    """
    return name.replace("_orig_mod.", "")


def _running(module: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert module.running_mean is not None and module.running_var is not None
    return module.running_mean, module.running_var
