"""The performance monitor: how long each worker takes from one push to the next, transfers included."""

from __future__ import annotations

from .members import Mean


class Monitor:
    """Exponentially weighted times from push to push, per sample, so that sizes may differ.

    >>> monitor = Monitor()
    >>> monitor.begins(0, now=0.0); monitor.begins(1, now=0.0)
    >>> monitor.landed(0, samples=10, now=1.0); monitor.landed(1, samples=10, now=4.0)
    >>> monitor.seconds(1, samples=5), monitor.seconds(2, samples=5)
    (2.0, None)
    """

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._per_sample: dict[int, Mean] = {}

    def begins(self, worker: int, now: float) -> None:
        """It was idle, and has something to do from now on."""
        self._since[worker] = now

    def landed(self, worker: int, samples: int, now: float) -> None:
        """A push of so many samples has settled, and the next one is under way."""
        since = self._since.get(worker)
        if since is not None and now > since:
            self._per_sample.setdefault(worker, Mean(0.0)).add((now - since) / samples)
        self._since[worker] = now

    def forget(self, worker: int) -> None:
        """It is gone."""
        self._since.pop(worker, None)
        self._per_sample.pop(worker, None)

    def since(self, worker: int) -> float | None:
        """When the push under way began to count."""
        return self._since.get(worker)

    def seconds(self, worker: int, samples: int) -> float | None:
        """From push to push, for pushes of so many samples; ``None``: none has landed."""
        mean = self._per_sample.get(worker)
        return None if mean is None else mean.value * samples
