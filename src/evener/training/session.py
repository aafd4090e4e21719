"""The session: what users touch. Each role in a run has its own, in a file of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from .errors import ScriptError, ScriptValueError
from .metrics import Scalar
from .setup import Setup


class Session(ABC):
    """A process's part in a training run. Made by :func:`evener.join`.

    Attributes:
        device: where this process should put its model and batches (cpu, cuda or mps).

    Example (alone; ``evener run`` starts the same lines as server and workers):
        >>> import torch, evener
        >>> from torch.utils.data import DataLoader, TensorDataset
        >>> session = evener.join()
        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randn(64, 1)), batch_size=16)
        >>> model, optimizer, loader = session.prepare(model, optimizer, loader)
        >>> for epoch in session.epochs(1):  # doctest: +ELLIPSIS
        ...     for x, y in loader:
        ...         optimizer.zero_grad()
        ...         loss = torch.nn.functional.mse_loss(model(x), y)
        ...         loss.backward()
        ...         optimizer.step()
        epoch 1/1 ...
        >>> session.is_server
        True
    """

    is_server: bool = False
    """True where ``model`` receives each epoch's parameters: on the server, and when the script runs alone."""

    _in_a_run: bool = True
    """Whether the weights are others' to hold once they are prepared."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._prepared = False
        self._looped = False
        self._weights: list[tuple[nn.Parameter, int]] = []

    def prepare(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loader: DataLoader[Any],
        *,
        step_scheduler: Any = None,
        epoch_scheduler: Any = None,
        clip_norm: float | None = None,
        channels_last: bool | None = None,
    ) -> tuple[nn.Module, Optimizer, Any]:
        """Tie a model, its optimizer and its loader to the run. Every process calls it with the same things.

        Args:
            model: on :attr:`device`. Trained parameters become views of one flat buffer; the object stays the same.
            optimizer: one, over all that is trained. On the server it steps; elsewhere ``step()`` contributes.
            loader: ``batch_size`` is the global batch ``B``, in samples per optimizer step. Sampler and loading options
                are kept.
            step_scheduler: stepped once per ``B`` samples, on the server.
            epoch_scheduler: stepped once per epoch, on the server.
            clip_norm: the gradient of the whole batch is clipped to this 2-norm.
            channels_last: how workers lay out what 2-D convolutions compute: channels last, as the script does (false),
                or whatever each CPU measures to be faster (by default; a reproducible run leaves it as it is).

        Returns:
            The model, an optimizer and a loader to use in their stead.

        Raises:
            TypeError, ValueError: something that cannot work, in words.
            ScriptError: called a second time.
            evener.RunError: the run does not want this process.
        """
        if self._prepared:
            raise ScriptError("prepare() was called already: a session trains one model with one optimizer")
        setup = Setup(model, optimizer, loader, step_scheduler, epoch_scheduler, clip_norm, channels_last)
        self._prepared = True
        prepared = self._prepare(setup)
        self._weights = [(p, p._version) for p in model.parameters()]
        return prepared

    @abstractmethod
    def _prepare(self, setup: Setup) -> tuple[nn.Module, Optimizer, Any]:
        """The role's part of :meth:`prepare`."""

    def epochs(self, count: int) -> Iterator[int]:
        """The epochs to loop over, as numbers from 0.

        Args:
            count: how many; the same in every process.

        A worker that joins late begins with the epoch under way. On the server, the body after the inner loop
        runs with the parameters at the end of that epoch, while the workers train on. After the loop every
        process holds the final parameters. ``break`` on the server ends the run; on a worker it leaves.

        Raises:
            ScriptError: before ``prepare()``.
            ValueError: ``count`` is not at least 1.
            evener.RunError: the run ended for a reason that is an error.
        """
        if not self._prepared:
            raise ScriptError("epochs() before prepare(): call session.prepare(model, optimizer, loader) first")
        if count < 1:
            raise ScriptValueError(f"epochs({count}): at least one epoch is needed")
        if self._looped:
            raise ScriptError("epochs() was called already: a session is one run; make its number of epochs larger")
        if self._in_a_run and any(parameter._version != version for parameter, version in self._weights):
            raise ScriptError(
                "the model's parameters were changed between prepare() and epochs(), which has no effect: prepare() "
                "took them over. Load or initialise them before session.prepare(model, optimizer, loader)."
            )
        self._looped = True
        return self._epochs(count)

    @abstractmethod
    def _epochs(self, count: int) -> Iterator[int]:
        """The role's part of :meth:`epochs`."""

    @abstractmethod
    def log(self, **values: Scalar) -> None:
        """Record metrics.

        In the inner loop they belong to the batch at hand: on workers they are averaged over all samples of the epoch,
        alone over its batches; after it on the server, to the parameters just received. Values are numbers or
        tensors of one element.
        """
