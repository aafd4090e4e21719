"""What a script may hand to ``prepare``, and clear words about what it may not."""

from __future__ import annotations

import copy
from collections.abc import Sized
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from .errors import ScriptTypeError, ScriptValueError

OUTSIDE = "iterate over the loader inside 'for epoch in session.epochs(n)': before it there are no batches yet"
"""What a script is told that asks the loader for batches too early."""


def check_device(found: torch.device, wanted: torch.device) -> None:
    """Raise unless the model is where this process computes.

    Raises:
        ValueError: it is elsewhere.
    """
    if found.type != wanted.type:
        raise ScriptValueError(f"the model is on {found}, but session.device is {wanted}: use model.to(session.device)")


def check_scheduler(name: str, scheduler: Any, optimizer: object) -> None:
    """Raise unless ``scheduler`` can be stepped by the server.

    Raises:
        TypeError: it has no ``step``, wants a metric, or is another optimizer's.
    """
    if scheduler is None:
        return
    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        raise ScriptTypeError(f"{name} wants a metric, which is not supported: use a schedule of steps or epochs")
    if not callable(getattr(scheduler, "step", None)):
        raise ScriptTypeError(f"{name} must be a torch scheduler, not {type(scheduler).__name__}")
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ScriptTypeError(f"{name} belongs to another optimizer than the one given to prepare()")


def check_model(model: object) -> None:
    """Raise unless ``model`` is a module that is complete.

    Raises:
        TypeError: it is none.
        ValueError: its lazy layers have no shapes yet.
    """
    if not isinstance(model, nn.Module):
        raise ScriptTypeError(f"prepare() takes a torch.nn.Module first, not {type(model).__name__}")
    lazy = [name for name, tensor in [*model.named_parameters(), *model.named_buffers()] if is_lazy(tensor)]
    if lazy:
        raise ScriptValueError(
            f"{lazy[0]!r} has no shape yet: call the model once, on a batch, before making the optimizer"
        )


def check_channels_last(channels_last: object) -> None:
    """Raise unless ``channels_last`` is a yes, a no or ``None``.

    Raises:
        TypeError: it is something else.
    """
    if channels_last not in (None, True, False) or isinstance(channels_last, int | float) != isinstance(
        channels_last, bool
    ):
        raise ScriptTypeError(f"channels_last must be True, False or None (what is faster), not {channels_last!r}")


def check_clip_norm(clip_norm: object) -> None:
    """Raise unless ``clip_norm`` is a norm.

    Raises:
        TypeError: it is no number.
        ValueError: it is not positive.
    """
    if clip_norm is None:
        return
    if isinstance(clip_norm, bool) or not isinstance(clip_norm, int | float):
        raise ScriptTypeError(f"clip_norm must be a positive number, not {clip_norm!r}")
    if not clip_norm > 0:
        raise ScriptValueError(f"clip_norm must be positive, not {clip_norm}")


def copied(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """A deep copy of the model, for the server to train while the script evaluates its own.

    Raises:
        ValueError: it cannot be copied.
    """
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise ScriptValueError(
            "the server trains a copy of the model, and this one cannot be copied. If torch.nn.utils.weight_norm is in "
            "it, use torch.nn.utils.parametrizations.weight_norm; else keep no tensor as an attribute that is neither "
            f"a parameter nor a buffer. {type(error).__name__}: {error}"
        ) from error


def check_optimizer(optimizer: object) -> None:
    """Raise unless ``optimizer`` is one optimizer that steps from gradients alone.

    Raises:
        TypeError: it is none, or more than one.
        ValueError: it needs a closure.
    """
    if isinstance(optimizer, list | tuple | dict):
        raise ScriptTypeError(
            f"prepare() takes one optimizer, not {len(optimizer)}: use parameter groups of one optimizer instead"
        )
    if not isinstance(optimizer, Optimizer):
        raise ScriptTypeError(f"prepare() takes a torch.optim.Optimizer second, not {type(optimizer).__name__}")
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ScriptValueError(
            "LBFGS evaluates a closure several times a step, which is not supported: use SGD or Adam(W)"
        )


def check_loader(loader: object) -> int:
    """Raise unless ``loader`` is a DataLoader over indexable samples; returns the global batch size ``B``.

    Raises:
        TypeError: it is no DataLoader.
        ValueError: it has no length, no batch size, a batch sampler of its own, or nothing to load.
    """
    if not isinstance(loader, DataLoader):
        raise ScriptTypeError(f"prepare() takes a torch.utils.data.DataLoader third, not {type(loader).__name__}")
    if isinstance(loader.dataset, IterableDataset):
        raise ScriptValueError(
            "the loader's data set is an IterableDataset, which has no length and no positions: workers could not tell "
            "who computes what. Use a map-style data set (__len__ and __getitem__)."
        )
    sampler: Any = loader.sampler
    if not isinstance(loader.dataset, Sized) or not hasattr(sampler, "__len__"):
        raise ScriptValueError("the loader has no length: its data set and its sampler need __len__")
    if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
        raise ScriptValueError(
            "the loader needs a batch_size (it is the global batch, over all workers) and no batch_sampler of its own; "
            "a sampler is fine"
        )
    if len(sampler) == 0:
        raise ScriptValueError("the loader's sampler is empty: there is nothing to train on")
    if loader.drop_last and len(sampler) < loader.batch_size:
        raise ScriptValueError(
            f"drop_last with {len(sampler)} samples and a batch of {loader.batch_size} drops everything: "
            "make the batch smaller, or set drop_last=False"
        )
    return int(loader.batch_size)


def check_batch(batch: int, workers: int) -> None:
    """Raise if a batch cannot give every worker a sample."""
    if batch < workers:
        raise ScriptValueError(
            f"the batch of {batch} samples is smaller than the {workers} workers: "
            "the loader's batch_size is the global batch; make it at least as large, or use fewer workers"
        )
