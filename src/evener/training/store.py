"""The flat parameter store: one contiguous buffer for all that is trained, the module's tensors being views of it.

So a push is one buffer and a pull is one copy. Both sides build the same layout from the same model, and compare its
description (:attr:`FlatStore.entries`) when a worker joins.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from ..runtime.bulk.codec import NONE
from ..runtime.bulk.packing import Packing
from ..runtime.numeric import Extent
from ..runtime.place import Place, compress_objection
from ..runtime.protocol import Entry
from .buffers import tensor_of
from .errors import ScriptValueError
from .statistics import RunningStatistics, uncompiled


class FlatStore:
    """Layout and buffers of a model's state.

    Args:
        model: its trained parameters and running statistics become views of flat buffers (on their device).
        trained: the parameters the optimizer steps, in its order, without repetition.

    Attributes:
        flat: all trained values, shape ``(size,)``.
        parameters: the trained parameters, in the layout's order.

    Raises:
        ValueError: parameters of several dtypes or devices, or of a kind that has no flat layout.
    """

    def __init__(self, model: nn.Module, trained: Iterable[nn.Parameter]) -> None:
        self.parameters = list(trained)
        names = {id(p): uncompiled(name) for name, p in model.named_parameters()}
        kinds = {(p.dtype, p.device) for p in self.parameters}
        if len(kinds) != 1:
            found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds)) or "none"
            raise ScriptValueError(
                "the trained parameters must share one floating dtype and one device, but are: " + found + ". "
                "For mixed precision keep float32 parameters and use torch.autocast."
            )
        self.dtype, self.device = next(iter(kinds))
        sizes = [p.numel() for p in self.parameters]
        self.offsets = [0, *np.cumsum(sizes).tolist()]
        self.size = self.offsets[-1]
        self.flat = torch.empty(self.size, dtype=self.dtype, device=self.device)
        self.views = self.split(self.flat)
        with torch.no_grad():
            for parameter, view in zip(self.parameters, self.views, strict=True):
                view.copy_(parameter)
                parameter.data = view
        self.statistics = RunningStatistics(model)
        chosen = {id(p) for p in self.parameters}
        self._constants = [
            (uncompiled(name), tensor)
            for name, tensor in [*model.named_parameters(), *model.named_buffers()]
            if id(tensor) not in chosen and not self.statistics.owns(tensor)
        ]
        self.entries = [
            *(
                Entry(names.get(id(p), f"optimizer[{i}]"), tuple(p.shape), _word(p), "trained")
                for i, p in enumerate(self.parameters)
            ),
            *(Entry(name, tuple(t.shape), _word(t), "fixed") for name, t in self._constants),
            *(Entry(name, (size,), "float32", "statistics") for name, size in self.statistics.layout()),
        ]

    def split(self, flat: Tensor) -> list[Tensor]:
        """``flat``, shape ``(size,)``, as views of the parameters' shapes."""
        spans = zip(self.parameters, self.offsets, self.offsets[1:], strict=False)
        return [flat[start:stop].view(p.shape) for p, start, stop in spans]

    @property
    def value_bytes(self) -> int:
        """Bytes of the trained values alone."""
        return int(self.size) * self.dtype.itemsize

    @property
    def parameter_bytes(self) -> int:
        """Bytes of one published version: running statistics, then trained values."""
        return self.statistics.state_bytes + self.value_bytes

    @property
    def push_bytes(self) -> int:
        """Bytes of one contribution: pooled statistics, then the gradient."""
        return self.statistics.pooled_bytes + self.value_bytes

    @property
    def extent(self) -> Extent:
        """Where the trained values are in a version and in a contribution."""
        return Extent(self.statistics.state_bytes, self.statistics.pooled_bytes, self.value_bytes)

    def values(self, data: memoryview | bytearray, offset: int) -> Tensor:
        """The trained values in received bytes (shape ``(size,)``, on the CPU, not a copy)."""
        return tensor_of(data, self.dtype, self.size, offset)

    def install(self, data: memoryview | bytearray) -> None:
        """Overwrite trained values and running statistics with a published version."""
        self.statistics.install(data)
        with torch.no_grad():
            self.flat.copy_(self.values(data, self.statistics.state_bytes))

    def pack_constants(self) -> bytes:
        """State that is not trained, as bytes."""
        return b"".join(_bytes(tensor) for _, tensor in self._constants)

    def install_constants(self, data: bytearray) -> None:
        """Overwrite state that is not trained.

        Raises:
            ValueError: ``data`` has another length.
        """
        offset = 0
        with torch.no_grad():
            for _, tensor in self._constants:
                count = tensor.numel()
                if count:
                    source = tensor_of(data, tensor.dtype, count, offset)
                    tensor.copy_(source.view(tensor.shape))
                offset += count * tensor.element_size()
        if offset != len(data):
            raise ValueError(f"the untrained state has {offset} bytes here but {len(data)} were sent")


def packing_of(place: Place, store: FlatStore) -> Packing | None:
    """How this run's bulk is packed for TCP; ``None``: not at all.

    Raises:
        ScriptValueError: that cannot be done with these parameters, or not in such a run.
    """
    if place.compress == NONE:
        return None
    if why := compress_objection(place.compress, place.micro_batch):
        raise ScriptValueError(why)
    if store.dtype != torch.float32:
        raise ScriptValueError(
            f"--compress {place.compress} packs float32 values, but the trained parameters are {_word(store.flat)}: "
            "leave it out, or use float32 parameters"
        )
    return Packing.of(place.compress, store.extent)


def _word(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
