"""The optimizer's seam: on a worker ``step()`` contributes; alone it is plain training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer

from .errors import ScriptError


class SeamOptimizer(Optimizer):
    """Looks like the user's optimizer: same groups, state and defaults; only ``step`` is ours.

    A subclass of :class:`torch.optim.Optimizer` so that schedulers and gradient scalers take it. What a fused
    optimizer says of itself (that it unscales gradients, for one) is not passed on: it does not hold for ``step`` here.
    """

    def __init__(self, inner: Optimizer) -> None:
        # Optimizer.__init__ is not called: it would make groups of its own.
        self.inner = inner

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The user's optimizer's."""
        return self.inner.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The user's optimizer's."""
        return self.inner.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """The user's optimizer's."""
        return self.inner.defaults

    def __repr__(self) -> str:
        return f"evener({self.inner!r})"

    def state_dict(self) -> dict[str, Any]:
        """The user's optimizer's."""
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load into the user's optimizer."""
        self.inner.load_state_dict(state_dict)

    def add_param_group(self, param_group: dict[str, Any]) -> NoReturn:
        """Not after ``prepare``.

        Raises:
            ScriptError: always.
        """
        raise ScriptError("add_param_group after prepare(): make all parameter groups before calling session.prepare")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        _clear((parameter for group in self.param_groups for parameter in group["params"]), set_to_none)

    def step(self, closure: Callable[[], float] | None = None, *, weight: float | None = None) -> None:  # type: ignore[override]
        """Contribute the gradient of the batch at hand.

        Args:
            closure: not supported.
            weight: what the loss is a mean over, where that is not the samples (tokens, for instance); micro-batches
                are averaged with these weights.

        Raises:
            ScriptError: a closure, or a step without a batch.
        """
        raise NotImplementedError

    @staticmethod
    def refuse_closure(closure: object) -> None:
        """Raise if there is a closure."""
        if closure is not None:
            raise ScriptError(
                "optimizer.step(closure) is not supported: a closure computes the loss again, on samples that count "
                "once. Compute loss.backward() before optimizer.step()."
            )


class AloneOptimizer(SeamOptimizer):
    """Plain training, with what ``prepare`` was asked for: clipping and the step scheduler."""

    def __init__(self, inner: Optimizer, clip_norm: float | None, step_scheduler: Any) -> None:
        super().__init__(inner)
        self._clip_norm = clip_norm
        self._step_scheduler = step_scheduler

    def step(self, closure: Callable[[], float] | None = None, *, weight: float | None = None) -> None:  # type: ignore[override]
        """One optimizer step."""
        self.refuse_closure(closure)
        if self._clip_norm is not None:
            parameters = [p for group in self.inner.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        self.inner.step()
        if self._step_scheduler is not None:
            self._step_scheduler.step()


class IdleOptimizer(SeamOptimizer):
    """Steps nothing: on the server, which steps by itself, and where only speed is measured."""

    def step(self, closure: Callable[[], float] | None = None, *, weight: float | None = None) -> None:  # type: ignore[override]
        """Do nothing."""
        self.refuse_closure(closure)


class ServerOptimizer(IdleOptimizer):
    """The server's: its groups are those that are stepped, in another thread; it clears the script's own model.

    To be made before the server takes ``inner`` over. ``state_dict`` is that of training as it goes on.
    """

    def __init__(self, inner: Optimizer) -> None:
        super().__init__(inner)
        self._parameters = [parameter for group in inner.param_groups for parameter in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients of the script's model; those of the step under way are not its to clear."""
        _clear(self._parameters, set_to_none)


class WorkerOptimizer(SeamOptimizer):
    """``step`` adds the micro-batch's mean gradient to the contribution under way.

    Args:
        inner: the user's optimizer; it is never stepped here.
        stepped: called with the weight that ``step`` was given (``None``: the samples), to add the micro-batch.
    """

    def __init__(self, inner: Optimizer, stepped: Callable[[float | None], None]) -> None:
        super().__init__(inner)
        self._stepped = stepped
        self._hyperparameters = _hyperparameters(self)

    def step(self, closure: Callable[[], float] | None = None, *, weight: float | None = None) -> None:  # type: ignore[override]
        """Contribute; see :class:`SeamOptimizer`."""
        self.refuse_closure(closure)
        if _hyperparameters(self) != self._hyperparameters:
            raise ScriptError(
                "the optimizer's parameter groups were changed on a worker, where they have no effect: the server "
                "steps. Pass schedulers to session.prepare(..., step_scheduler=…, epoch_scheduler=…)."
            )
        self._stepped(weight)


class SimulatedOptimizer(WorkerOptimizer):
    """A worker's in the loop over the loader, the server's outside: its groups are those that there are in a real run.

    To be made before the server's side takes ``inner`` over. ``on_worker`` is for the session to set.
    """

    def __init__(self, inner: Optimizer, stepped: Callable[[float | None], None]) -> None:
        self.on_worker = True
        # With the parameters of the user's model; from here on the server's schedulers change only its own groups.
        self._groups = [{**group, "params": [*group["params"]]} for group in inner.param_groups]
        super().__init__(inner, stepped)
        self.on_worker = False

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """A worker's or the server's."""
        return self._groups if self.on_worker else self.inner.param_groups


def _clear(parameters: Iterable[Tensor], set_to_none: bool) -> None:
    for parameter in parameters:
        if parameter.grad is None:
            continue
        if set_to_none:
            parameter.grad = None
        else:
            parameter.grad.detach_().zero_()


def _hyperparameters(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
