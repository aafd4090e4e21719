"""Channels last: convolutions in the layout of memory that the processor computes fastest.

A 2-D convolution's input ``(N, C, H, W)`` may lie in memory with the channels of a pixel side by side. On many
processors torch's convolutions, pooling and activations are faster so, by half for a small CNN; on some, or for some
models, they are not. So it is measured, on each worker for itself: what is computed is the same, up to rounding.

Only inputs are laid out anew, where they enter a convolution. Weights stay as they are, in the flat buffer that all
workers share, and a script sees its batches and the model's outputs as ever.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .errors import ScriptValueError

Runner = Callable[[int], bool]
"""Computes a model forward and backward on so many samples; says whether that went well."""

WORTHWHILE = 1.08
"""It must be so many times as fast, or the layout stays: less may be chance."""

SAMPLES = 16
TURNS = 8
SECONDS = 0.5
"""Measured at micro-batches of so many samples, both layouts in turn, so often; no further turn after this time."""


class Layout:
    """Where a model's convolutions have their channels.

    Args:
        model: a worker's.
        channels_last: ``True``: last; ``False``: as the script has them; ``None``: what :meth:`choose` finds faster.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> layout = Layout(model, channels_last=True)
        >>> layout.choose(lambda size: bool(model(torch.randn(size, 3, 8, 8)).sum() > 0))
        >>> layout.last, model(torch.randn(2, 3, 8, 8)).is_contiguous()
        (True, True)
        >>> layout.release()
    """

    def __init__(self, model: nn.Module, channels_last: bool | None = None) -> None:
        self._model = model
        self._convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        self._wanted = channels_last
        if channels_last is None and any(_is_last(module.weight) for module in self._convolutions):
            # The script asked torch for it. Weights lie otherwise in the flat buffer, which would undo that unsaid.
            self._wanted = True
        self._handles: list[Any] = []

    @property
    def last(self) -> bool:
        """Whether convolutions get their input channels last at present."""
        return bool(self._handles)

    def choose(self, run: Runner | None, measured: bool = True) -> None:
        """Decide, and lay out accordingly.

        Args:
            run: runs the model. ``None``: nobody knows how, and the layout that was asked for is taken unseen.
            measured: whether a layout that was not asked for may be chosen by its speed. Else the layout stays.

        Raises:
            ValueError: channels last was asked for, and the model does not run so.
        """
        if (
            not self._convolutions
            or self._wanted is False
            or (self._wanted is None and not (run and self._may(measured)))
        ):
            return
        self._attach()
        if run is None:
            return
        if not run(SAMPLES):
            self.release()
            if self._wanted:
                raise ScriptValueError(
                    "channels_last=True, but the model's forward() fails so: most likely it calls view() on what comes "
                    "out of a convolution, which wants the channels first. Call reshape() or flatten() instead, or "
                    "leave channels_last out."
                )
        elif not self._wanted and self._gain(run) < WORTHWHILE:
            self.release()

    def _may(self, measured: bool) -> bool:
        # Elsewhere it was never tried, and torch.compile lays memory out by itself.
        on_cpu = all(module.weight.device.type == "cpu" for module in self._convolutions)
        compiled = any(hasattr(module, "_orig_mod") for module in self._model.modules())
        return measured and on_cpu and not compiled and not isinstance(self._model, torch.jit.ScriptModule)

    def _gain(self, run: Runner) -> float:
        """How many times as fast the model is with channels last; the layout is that afterwards."""
        first = last = math.inf
        began = time.perf_counter()
        for turn in range(TURNS):
            if turn and time.perf_counter() - began >= SECONDS:
                break
            self.release()
            first = min(first, _seconds(run))
            self._attach()
            last = min(last, _seconds(run))
        # The least of each, as whatever else runs only makes it longer; and workers of one machine start together.
        return first / last

    def _attach(self) -> None:
        handles = [module.register_forward_pre_hook(_channels_last) for module in self._convolutions]
        self._handles = [*handles, self._model.register_forward_hook(_channels_first)]

    def release(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _seconds(run: Runner) -> float:
    # One thread's own time: under a CPU quota, or where processes share a core, the others' would count for more than
    # the layout. Of several threads nobody knows whose time it is.
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    run(SAMPLES)
    return clock() - began


def _channels_last(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    x = inputs[0] if inputs else None
    if not isinstance(x, Tensor) or x.dim() != 4:
        return None  # a picture without a batch, or given by name
    _, channels, height, width = x.shape
    if channels == 1 and x.is_contiguous() and not x.requires_grad:
        # Both layouts are the same bytes, and torch takes it for channels first unless its strides say otherwise.
        last = x.as_strided(x.shape, (height * width, 1, width, 1))
    else:
        last = x.contiguous(memory_format=torch.channels_last)
    return (last, *inputs[1:])


def _channels_first(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """Outputs as the script knows them: it may view() pictures."""
    if isinstance(outputs, Tensor):
        return outputs.contiguous() if outputs.dim() == 4 else outputs
    if type(outputs) in (list, tuple):
        return type(outputs)(_channels_first(module, inputs, one) for one in outputs)
    return outputs


def _is_last(weight: Tensor) -> bool:
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
