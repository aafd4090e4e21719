"""The server's account of a run: what it writes into the record beside events and commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.policies import POLICIES, Policy
from ..core.state import Settings
from ..runtime.place import Place, PolicyChoice
from ..runtime.worker import RunError
from ..trace import Resumed, Writer
from .master import Master, Snapshot
from .metrics import Metrics, Sums
from .reproducible import too_few


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """The parameters at the end of an epoch, the samples applied until then, and when that was (s)."""

    snapshot: Snapshot
    samples: int
    at: float


class Account:
    """Header, metrics and targets reached; all times are given.

    Args:
        writer: the run record.
        place: the server's.
    """

    def __init__(self, writer: Writer, place: Place) -> None:
        self.writer = writer
        self._place = place
        self._metrics = Metrics()
        self._targets = dict(place.targets)

    def open(
        self,
        settings: Settings,
        policy: Policy,
        master: Master,
        positions: int,
        kind: str = "run",
        created: str | None = None,
        notes: Mapping[str, Any] | None = None,
        resumed: Resumed | None = None,
    ) -> None:
        """Write the header; ``positions`` are an epoch's samples, the rest as in the record's header."""
        import __main__

        place = self._place
        targets = {"targets": place.targets} if place.targets else {}
        compressed = {"compress": place.compress} if place.compress != "none" else {}
        self.writer.header(
            run=place.run,
            settings=settings,
            policy=policy,
            parameters=master.store.size,
            script=getattr(__main__, "__file__", ""),
            positions=positions,
            kind=kind,
            created=created,
            notes={**place.notes, **compressed, **targets, **(notes or {})},
            resumed=resumed,
        )
        if settings.micro_batch and (why := too_few(settings.batch, settings.micro_batch, settings.workers)):
            self.writer.note(0.0, "warning", text=why)

    @property
    def targets(self) -> dict[str, float]:
        """Those that were not reached yet."""
        return dict(self._targets)

    def resume(self, sums: Sums, targets: Mapping[str, float]) -> None:
        """Go on with what was logged in the epoch under way, and the targets that were not reached."""
        self._metrics.merge(sums)
        self._targets = dict(targets)

    @property
    def sums(self) -> Sums:
        """What workers logged in the epoch under way."""
        return self._metrics.sums

    def add(self, metrics: Sums) -> None:
        """What a worker logged with a contribution that counts."""
        self._metrics.merge(metrics)

    def end_epoch(self, snapshot: Snapshot, samples: int, now: float) -> EpochEnd:
        """An epoch has ended: note the mean of what the workers logged in it."""
        end = EpochEnd(snapshot, samples, now)
        means = self._metrics.means()
        self._metrics.take()
        if means:
            self.note(now, end, means, "workers")
        return end

    def note(self, now: float, end: EpochEnd, values: dict[str, float], source: str = "server") -> None:
        """Note metrics of the parameters at an epoch's end, and the targets that they reach for the first time."""
        self.writer.note(
            now,
            "log",
            epoch=end.snapshot.epoch,
            version=end.snapshot.version,
            samples=end.samples,
            at=end.at,
            values=values,
            source=source,
        )
        for name, value in values.items():
            wanted = self._targets.get(name)
            if wanted is None or not reached(name, value, wanted):
                continue
            # The script's thread and the loop thread both come here; who takes it out notes it.
            if self._targets.pop(name, None) is not None:
                self.writer.note(now, "target", name=name, value=wanted, reached=value, at=end.at)


def policy_for(choice: PolicyChoice, batch: int) -> Policy:
    """The policy that a launcher chose, which did not know the script's ``batch`` (samples) yet.

    Raises:
        RunError: its options do not fit this batch.
        ValueError: no policy has this name, or it does not have these options.
    """
    policy = build_policy(choice)
    try:
        policy.check(batch)
    except ValueError as error:
        raise RunError(f"the policy {choice.name} cannot be used so: {error}.") from None
    return policy


def build_policy(choice: PolicyChoice) -> Policy:
    """The policy that a launcher chose.

    Raises:
        ValueError: no policy has this name, or it does not have these options.
    """
    kind = POLICIES.get(choice.name)
    if kind is None:
        raise ValueError(f"no policy is called {choice.name!r}; valid are {', '.join(sorted(POLICIES))}")
    try:
        return kind(**choice.options)
    except TypeError as error:
        raise ValueError(f"policy {choice.name!r} does not take {sorted(choice.options)}: {error}") from error


def reached(name: str, value: float, wanted: float) -> bool:
    """Whether a metric is as good as wanted: at least, or at most for what is called a loss or an error."""
    lower_is_better = "loss" in name or "error" in name
    return value <= wanted if lower_is_better else value >= wanted
