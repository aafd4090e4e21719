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

from .errors import ScriptError
from .store import FlatStore

CONTRIBUTED = (
    "the batch before, which was contributed already: call optimizer.zero_grad() in the loop (p.grad.data.zero_() goes "
    "unseen; p.grad.zero_() will do)"
)
SKIPPED = (
    "a batch before, which was left without optimizer.step(). Each batch is a part of a global batch already, so "
    "accumulating gradients by hand is not supported: raise batch_size instead. Where a batch is merely skipped, call "
    "optimizer.zero_grad()"
)


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
        if now.shape != self.values.shape or not _alike(now, self.values):
            return True
        self.tensor, self.version = weakref.ref(now), now._version
        return False


@dataclass(slots=True)
class _Gradient:
    """A gradient as backward left it; weakly held, or it would live on through the next forward pass.

    ``batch`` is the number of the micro-batch at hand then, ``holds`` what is in it beside that one's own.
    """

    tensor: weakref.ref[Tensor]
    version: int
    batch: int
    holds: str = ""
    contributed: bool = False


class Guard:
    """Finds changes by hand. torch counts the changes in place of each tensor, so looking costs next to nothing.

    Args:
        model: the user's, its parameters laid out by ``store`` already.
        optimizer: the user's.
        store: the flat layout.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, store: FlatStore) -> None:
        self._model = model
        self._statistics = store.statistics
        names = {id(p): name for name, p in model.named_parameters()}
        self._parameters = [(names.get(id(p), f"optimizer[{i}]"), p) for i, p in enumerate(store.parameters)]
        known = {id(p) for p in store.parameters}
        self._frozen = [
            (names.get(id(p), "of the optimizer"), p)
            for group in optimizer.param_groups
            for p in group["params"]
            if id(p) not in known
        ]
        # Nobody trains these: a teacher's, or those of a second optimizer. On each worker they would go their own way.
        known |= {id(p) for _, p in self._frozen}
        others = [(name, p) for name, p in model.named_parameters() if id(p) not in known]
        self._watched = [*self._parameters, *self._frozen, *others]
        self._batch = 0
        self._handles: list[Any] = []
        self.refresh()

    def refresh(self) -> None:
        """What weights and state are now is how they should stay."""
        self._as_they_were = [(p._version, p.data_ptr()) for _, p in self._watched]
        self._buffers = [
            _Buffer(f"{path}.{key}" if path else key, owner, key, tensor.detach().clone())
            for path, owner in self._model.named_modules()
            for key, tensor in owner._buffers.items()
            # What a module declares to be no part of its state may be each worker's own.
            if tensor is not None and key not in owner._non_persistent_buffers_set and not self._statistics.owns(tensor)
        ]
        self._gradients: list[_Gradient | None] = [None] * len(self._parameters)

    def check_state(self) -> None:
        """Raise if weights or untrained state were changed, or what was frozen wants a gradient.

        Raises:
            ScriptError: with the tensor's name, and what to do.
        """
        for (name, parameter), before in zip(self._watched, self._as_they_were, strict=True):
            if (parameter._version, parameter.data_ptr()) != before:
                raise ScriptError(
                    f"the parameter {name!r} was changed on a worker, by the script or by the model's forward(), where "
                    "that is lost: the server holds the weights. Load, initialise or convert them before "
                    "session.prepare(); clamping or normalising weights while training is not supported (compute it "
                    "in forward(), as torch.nn.utils.parametrize does), nor is a second optimizer, or a part of the "
                    "model that follows the rest in the loop (a teacher, a target network)."
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

    def begin_batch(self) -> None:
        """The script gets its next micro-batch."""
        self._batch += 1

    def skipped(self) -> set[int]:
        """The trained parameters, by number, that hold the gradient of a batch without a step as backward left it."""
        pairs = enumerate(zip(self._parameters, self._gradients, strict=True))
        return {
            index
            for index, ((_, parameter), noted) in pairs
            if noted is not None and not noted.contributed
            if parameter.grad is not None and parameter.grad is noted.tensor()
            if parameter.grad._version == noted.version
        }

    def watch(self) -> None:
        """From now on, gradients are looked at, too. Everything that will ever be trained wants a gradient now."""
        for index, (_, parameter) in enumerate(self._parameters):
            register: Any = parameter.register_post_accumulate_grad_hook
            self._handles.append(register(self._hook(index)))

    def _hook(self, index: int) -> Any:
        def note(parameter: Tensor) -> None:
            gradient = parameter.grad
            if gradient is None:
                return
            before, version = self._gradients[index], gradient._version
            holds = ""
            # Backward adds in place: one change, and only one, since the last look at it. Clearing would be another.
            if before and before.tensor() is gradient and version == before.version + 1:
                holds = before.holds or self._left_in(before)
            self._gradients[index] = _Gradient(weakref.ref(gradient), version, self._batch, holds)

        return note

    def _left_in(self, before: _Gradient) -> str:
        """What a gradient holds that was left as it was noted."""
        if before.contributed:
            return CONTRIBUTED
        return "" if before.batch == self._batch else SKIPPED

    def check_gradients(self) -> None:
        """Raise if the gradient at hand is not what backward made of this batch alone.

        Raises:
            ScriptError: it was changed in place, or holds that of an earlier batch.
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
                    "clip_norm=…), which clips on the server; to measure its norm, use "
                    "torch.nn.utils.get_total_norm, which changes nothing (clip_grad_norm_ does, also with a limit of "
                    "infinity). Other changes belong into the loss, or into a hook of the parameter (register_hook)."
                )
            holds = "" if changed else noted.holds or self._left_in(noted)
            if holds:
                raise ScriptError(f"the gradient of {name!r} still holds that of {holds}")
            noted.version, noted.contributed = gradient._version, True

    def release(self) -> None:
        """Undo :meth:`watch`."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether both have the same values, NaN being one."""
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())
