"""What a script logs: averaged with the weights of the gradients it belongs to."""

from __future__ import annotations

from torch import Tensor

Scalar = float | int | Tensor

Sums = dict[str, tuple[float, float]]
"""``name → (Σ weight · value, Σ weight)``."""


def number(value: Scalar) -> float:
    """A metric's value.

    Raises:
        TypeError, ValueError: not a number or a tensor of one element.
    """
    return float(value.detach().item()) if isinstance(value, Tensor) else float(value)


class Metrics:
    """Weighted sums of metrics.

    >>> metrics = Metrics()
    >>> metrics.add("loss", 2.0, weight=3.0)
    >>> metrics.merge({"loss": (2.0, 1.0)})
    >>> metrics.means()
    {'loss': 2.0}
    """

    def __init__(self) -> None:
        self._sums: Sums = {}

    def add(self, name: str, value: Scalar, weight: float = 1.0) -> None:
        """Add one value."""
        self.merge({name: (number(value) * weight, weight)})

    def merge(self, sums: Sums) -> None:
        """Add what others have summed up."""
        for name, (total, weight) in sums.items():
            before = self._sums.get(name, (0.0, 0.0))
            self._sums[name] = before[0] + total, before[1] + weight

    def means(self) -> dict[str, float]:
        """The weighted mean of each metric."""
        return {name: total / weight for name, (total, weight) in self._sums.items() if weight}

    @property
    def sums(self) -> Sums:
        """A copy of the sums."""
        return dict(self._sums)

    def take(self) -> Sums:
        """The sums; they begin anew."""
        taken, self._sums = self._sums, {}
        return taken
