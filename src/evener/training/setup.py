"""What a script hands to ``prepare``, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ..core.state import Settings
from ..runtime.place import Place
from .checks import check_channels_last, check_clip_norm, check_loader, check_model, check_optimizer, check_scheduler


@dataclass(frozen=True, slots=True)
class Setup:
    """A model, how it is trained, and on what; see :meth:`evener.Session.prepare` for the parts.

    Raises:
        TypeError, ValueError: something that cannot work, in words.
    """

    model: nn.Module
    optimizer: Optimizer
    loader: DataLoader[Any]
    step_scheduler: Any = None
    epoch_scheduler: Any = None
    clip_norm: float | None = None
    channels_last: bool | None = None

    def __post_init__(self) -> None:
        check_model(self.model)
        check_optimizer(self.optimizer)
        check_loader(self.loader)
        check_scheduler("step_scheduler", self.step_scheduler, self.optimizer)
        check_scheduler("epoch_scheduler", self.epoch_scheduler, self.optimizer)
        check_clip_norm(self.clip_norm)
        check_channels_last(self.channels_last)

    def settings(self, place: Place, epochs: int) -> Settings:
        """What is fixed for the run that this set-up and ``place`` make."""
        return Settings(
            batch=self.batch,
            epochs=epochs,
            workers=place.workers,
            patience=place.patience,
            drop_last=self.loader.drop_last,
            seed=place.seed,
            micro_batch=place.micro_batch,
        )

    @property
    def positions(self) -> int:
        """Samples of an epoch."""
        return len(self.loader.sampler)  # type: ignore[arg-type]

    @property
    def batch(self) -> int:
        """The global batch ``B``, in samples."""
        assert self.loader.batch_size is not None
        return self.loader.batch_size
