"""Start a script's processes on this machine, and answer for them: none is left behind.

:func:`run` is ``evener run``; :func:`simulate` is ``evener simulate``; :func:`measure_limit` finds out what the same
workers could do without each other.
"""

from .folders import new_run_id
from .limit import StoppedError, mean_limit, measure_limit
from .local import RunResult, run
from .options import LaunchError, RunOptions, default_workers
from .screen import Plain, Screen
from .simulated import SimulateOptions, simulate

__all__ = [
    "LaunchError",
    "Plain",
    "RunOptions",
    "RunResult",
    "Screen",
    "SimulateOptions",
    "StoppedError",
    "default_workers",
    "mean_limit",
    "measure_limit",
    "new_run_id",
    "run",
    "simulate",
]
