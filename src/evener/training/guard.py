"""What a script must leave alone on a worker, because there it would be lost without a word.

The server holds weights and untrained state, and clips the gradient of a whole batch; a worker has copies of the
first, and a part of the last. A change that a plain loop would keep is undone here by the next version, or was only
made to a part. So it is found, and refused in words.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .optimizer import ScriptError
from .store import FlatStore


@dataclass(slots=True)
class _Buffer:
    """A persistent buffer as it should stay. ``owner.key`` may be bound to another tensor by ``forward()``."""

    name: str
    owner: nn.Module
    key: str
    values: Tensor
    tensor: weakref.ref[Tensor] | None = None
    version: int = 0

    def changed(self) -> bool:
        now = self.owner._buffers.get(self.key)
        if now is None:
            return True
        if self.tensor is not None and self.tensor() is now and now._version == self.version:
            return False
        if now.shape != self.values.shape or not torch.equal(now, self.values):
            return True
        self.tensor, self.version = weakref.ref(now), now._version
        return False


@dataclass(slots=True)
class _Gradient:
    """A gradient as backward left it; weakly held, or it would live on through the next forward pass."""

    tensor: weakref.ref[Tensor]
    version: int
    contributed: bool = False


class Guard:
    """Finds changes by hand. torch counts the changes in place of each tensor, so looking costs next to nothing.

    Args:
        model: the user's, its parameters laid out by ``store`` already.
        optimizer: the user's.
        store: the flat layout.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, store: FlatStore) -> None:
        names = {id(p): name for name, p in model.named_parameters()}
        self._parameters = [(names.get(id(p), f"optimizer[{i}]"), p) for i, p in enumerate(store.parameters)]
        self._versions = [p._version for p in store.parameters]
        self._places = [view.data_ptr() for view in store.views]
        trained = {id(p) for p in store.parameters}
        self._frozen = [
            (names.get(id(p), "of the optimizer"), p)
            for group in optimizer.param_groups
            for p in group["params"]
            if id(p) not in trained
        ]
        self._buffers = [
            _Buffer(f"{path}.{key}" if path else key, owner, key, tensor.detach().clone())
            for path, owner in model.named_modules()
            for key, tensor in owner._buffers.items()
            # What a module declares to be no part of its state may be each worker's own.
            if tensor is not None and key not in owner._non_persistent_buffers_set and not store.statistics.owns(tensor)
        ]
        self._gradients: list[_Gradient | None] = [None] * len(self._parameters)
        self._twice: str = ""
        self._handles: list[Any] = []

    def check_state(self) -> None:
        """Raise if weights or untrained state were changed, or what was frozen wants a gradient.

        Raises:
            ScriptError: with the tensor's name, and what to do.
        """
        for (name, parameter), version, place in zip(self._parameters, self._versions, self._places, strict=True):
            if parameter._version != version or parameter.data_ptr() != place:
                raise ScriptError(
                    f"the parameter {name!r} was changed on a worker, by the script or by the model's forward(), where "
                    "that is lost: the server holds the weights. Load, initialise or convert them before "
                    "session.prepare(); clamping or normalising weights while training is not supported (compute it "
                    "in forward(), as torch.nn.utils.parametrize does)."
                )
        for name, parameter in self._frozen:
            if parameter.requires_grad:
                raise ScriptError(
                    f"the parameter {name!r} was frozen when session.prepare() was called, so the server does not "
                    "train it, and now wants a gradient. Call prepare() while everything that will ever be trained has "
                    "requires_grad=True, then freeze."
                )
        for buffer in self._buffers:
            if buffer.changed():
                raise ScriptError(
                    f"the model's forward() changes its buffer {buffer.name!r} on a worker, where that is lost: only "
                    "parameters and BatchNorm's running statistics reach the server. If each worker may keep its own, "
                    "register it with persistent=False; a running mean can be had from a BatchNorm layer."
                )

    def watch(self) -> None:
        """From now on, gradients are looked at, too."""
        for index, (_, parameter) in enumerate(self._parameters):
            register: Any = parameter.register_post_accumulate_grad_hook
            self._handles.append(register(self._hook(index)))

    def _hook(self, index: int) -> Any:
        def note(parameter: Tensor) -> None:
            gradient = parameter.grad
            if gradient is None:
                return
            before, version = self._gradients[index], gradient._version
            # Backward adds in place: one change, and only one, since it was contributed.
            if before and before.contributed and before.tensor() is gradient and version == before.version + 1:
                self._twice = self._parameters[index][0]
            self._gradients[index] = _Gradient(weakref.ref(gradient), version)

        return note

    def check_gradients(self) -> None:
        """Raise if the gradient at hand is not what backward made of this batch alone.

        Raises:
            ScriptError: it was changed in place, or was contributed before and not cleared.
        """
        for (name, parameter), noted in zip(self._parameters, self._gradients, strict=True):
            gradient = parameter.grad
            if noted is None or gradient is None or noted.tensor() is not gradient:
                continue
            changed = gradient._version != noted.version
            if changed and not noted.contributed and bool(gradient.any()):  # not merely cleared, by zeros
                raise ScriptError(
                    f"the gradient of {name!r} was changed between backward() and optimizer.step(). On a worker it is "
                    "that of a micro-batch, so clipping it is not clipping the batch's: use session.prepare(..., "
                    "clip_norm=…), which clips on the server. Other changes belong into the loss, or into a hook of "
                    "the parameter (register_hook)."
                )
            if not changed and noted.contributed:
                self._twice = name
            noted.version, noted.contributed = gradient._version, True
        if self._twice:
            raise ScriptError(
                f"the gradient of {self._twice!r} still holds that of the batch before, which was contributed already: "
                "call optimizer.zero_grad() in the loop"
            )

    def release(self) -> None:
        """Undo :meth:`watch`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
