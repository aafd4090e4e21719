"""What the machines hear. Plain values: recorded, replayed and compared as they are.

Times are seconds on the server's monotonic clock and always travel beside an event, never in it; durations
(``seconds``) are measured where they happen.
"""

from __future__ import annotations

from .ranges import Range
from .values import value


@value
class Joined:
    """A worker holds ``version`` and is ready. ``pace``: its probe's samples/s, ``None`` where it has none."""

    worker: int
    version: int = 0
    pace: float | None = None
    lookahead: int = 1


@value
class Left:
    """A worker is gone: it said so, its connection ended, or it was silent for too long."""

    worker: int
    reason: str


@value
class EpochDrawn:
    """The sampler's order for ``epoch`` exists and has ``positions`` entries."""

    epoch: int
    positions: int


@value
class Started:
    """A worker began to compute ``ticket`` on parameters of ``version``."""

    worker: int
    ticket: int
    version: int


@value
class Computed:
    """A worker finished ``ticket``: ``seconds`` from the moment it could start (loading included)."""

    worker: int
    ticket: int
    seconds: float


@value
class Arrived:
    """A push is at the server, whole.

    ``versions`` has, per ticket, the parameters it was computed on: bulk and control travel apart, so this may be
    here before ``Started`` is. ``weight`` is the sum of the ``optimizer.step`` weights (samples, unless the script
    gave others). ``verdict`` is ``"ok"`` or the numeric layer's reason to refuse it. ``norm`` is the gradient's 2-norm
    (0: not known), ``loss`` the mean loss of its samples, where the script logs one: for the watch alone.
    """

    worker: int
    push: int
    tickets: tuple[int, ...]
    versions: tuple[int, ...]
    weight: float
    verdict: str = "ok"
    norm: float = 0.0
    loss: float | None = None


@value
class Declined:
    """The script saw ``ticket``'s samples and did not step: they end here."""

    worker: int
    ticket: int


@value
class Released:
    """A worker gives a revoked ticket back, not started: its samples are free again."""

    worker: int
    ticket: int


@value
class Received:
    """A worker holds the parameters of ``version`` (installed, or ready to be)."""

    worker: int
    version: int


@value
class StepDone:
    """The numeric layer carried out the step that made ``version``; it took ``seconds``."""

    version: int
    seconds: float


@value
class SnapshotTaken:
    """The script on the server took the snapshot of ``epoch``."""

    epoch: int


@value
class StopAsked:
    """The script on the server, or the user, wants the run to end."""

    reason: str


@value
class Tick:
    """Nothing happened, but a deadline passed."""


Event = (
    Joined
    | Left
    | EpochDrawn
    | Started
    | Computed
    | Arrived
    | Declined
    | Released
    | Received
    | StepDone
    | SnapshotTaken
    | StopAsked
    | Tick
)


# What a worker's machine hears ------------------------------------------------------------------------------


@value
class Granted:
    """The coordinator's :class:`~evener.core.commands.Grant`, at the worker."""

    ticket: int
    epoch: int
    step: int
    group: int
    ranges: tuple[Range, ...]
    min_version: int


@value
class Revoked:
    """Give ``ticket`` back if it was not started."""

    ticket: int


@value
class VersionReady:
    """The parameters of ``version`` are in this process."""

    version: int


@value
class Landed:
    """A push of this worker is at the server, whatever came of it."""


@value
class ComputeDone:
    """The script stepped (``declined=False``) or asked for the next batch without stepping."""

    declined: bool = False


WorkerEvent = Granted | Revoked | VersionReady | Landed | ComputeDone
