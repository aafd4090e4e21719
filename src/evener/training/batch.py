"""The micro-batch that a worker's script has in hand: contributed once, or left without a step."""

from __future__ import annotations

from .errors import ScriptError
from .metrics import Metrics, Scalar


class BatchInHand:
    """Follows the script from batch to batch; its logs count where its gradients do, with the same weight."""

    def __init__(self) -> None:
        self.open = False
        self._samples = 0
        self._metrics = Metrics()
        self._stepped = True
        self._weight = 0.0
        self._logged: dict[str, Scalar] = {}

    def begin(self, samples: int, metrics: Metrics) -> None:
        """The script gets a batch of ``samples``; what it logs goes to ``metrics``."""
        self.open, self._stepped = True, False
        self._samples, self._metrics = samples, metrics

    def contribute(self, weight: float | None) -> float:
        """The script steps; returns the weight of its gradient (by default the samples).

        Raises:
            ScriptError: there is no batch that was not contributed yet, or the weight is none.
        """
        if not self.open or self._stepped:
            raise ScriptError(
                "optimizer.step() without a new batch: each batch is contributed once, in the loop over the loader"
            )
        weight = float(self._samples) if weight is None else float(weight)
        if not weight > 0:
            raise ScriptError(f"optimizer.step(weight={weight}): a weight is positive (what the loss is a mean over)")
        self._stepped = True
        self._weight = weight
        for name, value in self._logged.items():
            self._metrics.add(name, value, weight)
        self._logged.clear()
        return weight

    def log(self, values: dict[str, Scalar]) -> None:
        """Metrics of this batch. They wait for its step; without one they are dropped."""
        for name, value in values.items():
            if self.open and not self._stepped:
                self._logged[name] = value
            elif self.open:
                self._metrics.add(name, value, self._weight)

    def leave(self) -> bool:
        """The script is through with its batch, if it had one; true if it left it without a step."""
        if not self.open:
            return False
        self.open = False
        self._logged.clear()
        return not self._stepped
