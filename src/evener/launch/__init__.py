"""Start a script's processes on this machine, and answer for them: none is left behind.

:func:`run` is ``evener run``; :func:`serve` and :func:`join` are the verbs of the same names, for several machines;
:func:`run_on_ray` is ``evener run --on ray``;
:func:`simulate` is ``evener simulate``, :func:`simulate_timing` the same without a script, in this process;
:func:`measure_limit` finds out what the same workers could do without each other, and :func:`measure_profile`
(``evener profile``) what this machine could.
"""

from .ending import RunResult
from .folders import new_run_id
from .hosts import JoinOptions, ServeOptions, join, serve
from .limit import StoppedError, mean_limit, measure_limit
from .local import run
from .options import LaunchError, RunOptions, default_workers
from .profile import ProfileOptions, measure_profile
from .ray import run_on_ray
from .ray_options import RayOptions
from .resuming import begun, to_resume
from .screen import Plain, Screen
from .simulated import SimulateOptions, simulate
from .timing import TimingOptions, TimingResult, simulate_timing

__all__ = [
    "JoinOptions",
    "LaunchError",
    "Plain",
    "ProfileOptions",
    "RayOptions",
    "RunOptions",
    "RunResult",
    "Screen",
    "ServeOptions",
    "SimulateOptions",
    "StoppedError",
    "TimingOptions",
    "TimingResult",
    "begun",
    "default_workers",
    "join",
    "mean_limit",
    "measure_limit",
    "measure_profile",
    "new_run_id",
    "run",
    "run_on_ray",
    "serve",
    "simulate",
    "simulate_timing",
    "to_resume",
]
