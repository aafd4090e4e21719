"""What the machines say. The runtime carries commands out; it never decides.

The last group tells what the ledger did, for the record and its checker; the runtime has nothing to do for it.
"""

from __future__ import annotations

from .events import Event
from .ranges import Range
from .values import value


@value
class DrawEpoch:
    """Draw the sampler's order for ``epoch`` and answer with ``EpochDrawn``."""

    epoch: int


@value
class Grant:
    """Give ``worker`` the right and duty to compute ``ranges`` of ``epoch`` once.

    It may start on any version ``≥ min_version``; tickets with one ``group`` are summed into one push.
    """

    worker: int
    ticket: int
    epoch: int
    step: int
    group: int
    ranges: tuple[Range, ...]
    min_version: int


@value
class Revoke:
    """Take ``ticket`` back from ``worker`` if it was not started; the answer is ``Released`` or ``Started``."""

    worker: int
    ticket: int


@value
class Accumulate:
    """Add ``factor · ḡ`` of ``push`` to the batch gradient of ``step``."""

    worker: int
    push: int
    step: int
    samples: int
    factor: float
    staleness: int


@value
class Discard:
    """Drop ``push``. ``refused`` tells whether its ``samples`` are lost (else they are ticketed again)."""

    worker: int
    push: int
    why: str
    samples: int
    refused: bool


@value
class Step:
    """Turn the batch gradient of ``step`` into ``version``.

    The gradient is first multiplied by ``rescale`` (1 where what was applied is the whole batch), the learning rate
    by ``rate_scale`` for this step alone. ``batches`` is how often ``step_scheduler`` is due. ``samples == 0``:
    nothing was applied, so no optimizer step is taken.
    """

    step: int
    version: int
    samples: int
    rescale: float
    rate_scale: float
    batches: int


@value
class Publish:
    """Offer the parameters of ``version`` to every worker that asks for something newer than it has."""

    version: int


@value
class EndEpoch:
    """Every position of ``epoch`` is settled: take the snapshot, step ``epoch_scheduler``."""

    epoch: int
    version: int
    applied: int
    declined: int
    refused: int
    dropped: int


@value
class Finish:
    """The run is over. ``ok`` is false where it ended for a reason that is an error."""

    reason: str
    ok: bool


@value
class SitOut:
    """``worker`` is too slow to be of use now (``why`` says it in words), or back in (``why`` empty)."""

    worker: int
    why: str


@value
class Hold:
    """The next epoch waits because the script on the server has not taken ``waiting`` snapshots."""

    epoch: int
    waiting: int


@value
class Warn:
    """Training seems to go wrong: ``text`` says how, and what to do about the likely ``cause``. Nothing is stopped."""

    cause: str
    text: str


# What the ledger did ----------------------------------------------------------------------------------------


@value
class Planned:
    """From ``step`` on, workers ``ahead`` may start up to ``reach`` steps early, ``samples`` of a step's in all."""

    step: int
    reach: int
    ahead: tuple[int, ...]
    samples: float


@value
class Moved:
    """``ticket`` is overdue and counts for ``step`` now."""

    ticket: int
    step: int


@value
class Returned:
    """The positions of ``ticket`` went back to their pool; a later contribution of it is discarded."""

    ticket: int
    why: str


@value
class Dropped:
    """``drop_last``: these positions of ``epoch`` are nobody's."""

    epoch: int
    ranges: tuple[Range, ...]


Command = (
    DrawEpoch
    | Grant
    | Revoke
    | Accumulate
    | Discard
    | Step
    | Publish
    | EndEpoch
    | Finish
    | SitOut
    | Hold
    | Warn
    | Planned
    | Moved
    | Returned
    | Dropped
)


# What a worker's machine says -------------------------------------------------------------------------------


@value
class Install:
    """Make the parameters of ``version`` the model's."""

    version: int


@value
class Compute:
    """Compute the mean gradient of ``ticket``'s samples, for ``step``, on the parameters of ``version``."""

    ticket: int
    epoch: int
    ranges: tuple[Range, ...]
    version: int
    step: int


@value
class Push:
    """Send the summed contribution of ``tickets``, computed on ``versions``."""

    tickets: tuple[int, ...]
    versions: tuple[int, ...]


@value
class Pull:
    """Ask for parameters newer than version ``newer_than``."""

    newer_than: int


@value
class Tell:
    """Report ``event`` to the coordinator."""

    event: Event


WorkerCommand = Install | Compute | Push | Pull | Tell
