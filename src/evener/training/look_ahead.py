"""Look-ahead: a micro-batch that starts early is computed where momentum will have carried the parameters by then."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from .store import FlatStore


class Trail:
    """The last two versions that a worker has had; ``values`` has shape ``(size,)`` and must not change later.

    Versions that it skipped are not known to it: the change per step is then the mean over those between.
    """

    def __init__(self) -> None:
        self.version = -1
        self.values: Tensor | None = None
        self.before: Tensor | None = None
        self.steps = 0
        """How many steps lie between the two."""

    def move(self, version: int, values: Tensor) -> None:
        """The worker has ``version`` now."""
        if version > self.version:
            self.before, self.steps = self.values, version - self.version
        elif version < self.version:  # a server that began anew from its checkpoint
            self.before = None
        self.version, self.values = version, values


class LookAhead:
    """Shifts a model for the micro-batches that start early. A gradient for step ``s`` on version ``v < s`` is taken at

        w_v + Σ_{k=1..s−v} μᵏ · (w_v − w_u) / (v − u)

    with ``u`` the version before (usually ``v − 1``) and ``μ`` the momentum of the parameter's group at the time of
    ``prepare``: momentum alone would carry ``w_v`` there. (Linear weight prediction: Kosson et al. 2021, for
    the delay of pipelined backpropagation.)

    Args:
        store: the model's layout; its values are shifted in place.
        optimizer: whose momentum it is: ``momentum``, or the first of ``betas``; without either there is no effect.
    """

    def __init__(self, store: FlatStore, optimizer: Optimizer) -> None:
        self._store = store
        self._shifted = False
        momenta = {id(p): momentum(group) for group in optimizer.param_groups for p in group["params"]}
        self._spans: list[tuple[int, int, float]] = []
        for parameter, start, stop in zip(store.parameters, store.offsets, store.offsets[1:], strict=False):
            mu = momenta[id(parameter)]
            if self._spans and self._spans[-1][2] == mu:
                start = self._spans.pop()[0]
            self._spans.append((start, stop, mu))

    def shift(self, trail: Trail, steps: int) -> None:
        """Make the model's values those to compute at, ``steps`` after the version at hand (0: that version's own)."""
        if steps <= 0 or trail.before is None:
            self.restore(trail)
            return
        assert trail.values is not None
        self._shifted = True
        with torch.no_grad():
            for start, stop, mu in self._spans:
                reach = sum(mu**k for k in range(1, steps + 1)) / trail.steps
                span = slice(start, stop)
                torch.lerp(trail.before[span], trail.values[span], 1.0 + reach, out=self._store.flat[span])

    def restore(self, trail: Trail) -> None:
        """Make the model's values those of the version at hand again."""
        if self._shifted and trail.values is not None:
            with torch.no_grad():
                self._store.flat.copy_(trail.values)
        self._shifted = False


def momentum(group: dict[str, Any]) -> float:
    """The momentum of an optimizer's parameter group.

    >>> weight = torch.zeros(1, requires_grad=True)
    >>> momentum(torch.optim.SGD([weight], lr=0.1, momentum=0.9).param_groups[0])
    0.9
    >>> momentum(torch.optim.AdamW([weight]).param_groups[0])
    0.9
    """
    betas = group.get("betas")
    return float(betas[0] if betas else group.get("momentum", 0.0))
