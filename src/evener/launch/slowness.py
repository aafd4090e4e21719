"""Emulate machines of unequal speed on one machine: CPU quotas where the user may set them, else pauses."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from ..runtime.place import Slowness
from . import _cgroups

FOR_WORKERS = 0.75
"""The part of the machine's cores that workers may use together. The server needs the rest."""

WHOLE_CORE = 1.0
"""A worker has one thread, so the fastest gets one core at most."""


@dataclass(frozen=True, slots=True)
class Emulation:
    """How a run's workers are slowed.

    Attributes:
        workers: for each worker, what it must do to be slow (``None``: nothing).
        words: the same for people, such as ``CPU quotas (cgroup v1): 0.80 0.40 0.20 0.10 of a core``.
        lift: lets them be as fast as they can from now on: at a tenth of a core, even ending takes seconds.
    """

    workers: tuple[Slowness | None, ...]
    words: str
    lift: Callable[[], None] = field(default=lambda: None, compare=False)

    @property
    def shares(self) -> list[float]:
        """Each worker's share of a core; empty when they are not slowed."""
        return [slowness.share for slowness in self.workers if slowness is not None]


def check(speeds: Sequence[float]) -> None:
    """Whether speeds can be emulated.

    Raises:
        ValueError: some speed is no positive number, or the slowest is too slow beside the others.
    """
    text = ",".join(f"{speed:g}" for speed in speeds)
    for speed in speeds:
        if not (speed > 0 and math.isfinite(speed)):
            raise ValueError(
                f"a speed must be a positive number, not {speed:g} (in {text}). "
                "Speeds are relative: 8,4,2,1 makes the first worker eight times as fast as the last."
            )
    if speeds:
        # One core is the least a machine has: what can be done there can be done anywhere.
        least = min(shares(speeds, cores=1.0))
        if least < _cgroups.LEAST_SHARE:
            raise ValueError(
                f"speeds {text} are too unequal: the slowest worker would get {least:.2g} of a core, and "
                f"{_cgroups.LEAST_SHARE:g} is the least that can be given. Use a smaller ratio."
            )


def shares(speeds: Sequence[float], cores: float) -> list[float]:
    """Each worker's share of one core, in proportion to ``speeds``.

    The fastest gets at most one core, and all together at most three quarters of the machine's.

    Example:
        >>> shares([8, 4, 2, 1], cores=2)
        [0.8, 0.4, 0.2, 0.1]
    """
    unit = min(WHOLE_CORE / max(speeds), FOR_WORKERS * cores / sum(speeds))
    return [round(speed * unit, 6) for speed in speeds]


@contextlib.contextmanager
def emulate(speeds: Sequence[float], run: str, quotas: bool = True) -> Iterator[Emulation]:
    """Provide for workers as fast as ``speeds`` says, and clear up afterwards whatever happens.

    Args:
        speeds: relative; empty: the workers are not slowed, and this does nothing.
        run: the run's id; names the control groups.
        quotas: use CPU quotas where possible. They do not slow a GPU down, pauses do.
    """
    if not speeds:
        yield Emulation((), "")
        return
    each = shares(speeds, _cgroups.cores_allowed())
    figures = " ".join(f"{share:.2f}" if share >= 0.01 else f"{share:.2g}" for share in each)
    groups, refusal = _groups(run, each) if quotas else (None, "they do not slow a GPU down")
    if groups is None:
        words = f"pauses after computing, as CPU quotas cannot be used ({refusal}): {figures} of full speed"
        yield Emulation(tuple(Slowness(kind="throttle", share=share) for share in each), words)
        return
    try:
        doors = zip(groups.doors, each, strict=True)
        yield Emulation(
            tuple(Slowness(kind="cgroup", share=share, path=str(door)) for door, share in doors),
            f"CPU quotas (cgroup v{groups.version}): {figures} of a core",
            groups.lift,
        )
    finally:
        groups.close()


def _groups(run: str, each: Sequence[float]) -> tuple[_cgroups.Groups | None, str]:
    refusal = "this system has no control groups with CPU quotas"
    for parent in _cgroups.here():
        _cgroups.sweep(parent)
        # Twice: a run that starts at the same moment may take our new, still unlocked group for a left-over.
        for _ in range(2):
            try:
                return _cgroups.Groups(parent, run, each), ""
            except PermissionError:
                refusal = "they need rights that this user does not have"
                break
            except OSError as error:
                refusal = f"{parent.path}: {error.strerror or error}"
    return None, refusal
