"""A pytest plugin for mutants, in CPU time, so that a busy machine changes no verdict.

A mutant that no test has found after ``MUTANT_SECONDS`` has survived: the quickest tests go first, and what is left out
then costs most and finds least, so the rate can only be higher than what is counted. A test that takes
:data:`ENDLESS` seconds will not end: the mutant is killed, as the tool's time-out would have it.
"""

from __future__ import annotations

import os
import signal
import time

import pytest

SECONDS = float(os.environ.get("MUTANT_SECONDS", "inf"))
ENDLESS = 15.0
TIMED_OUT = 36  # the tool's own code


def pytest_runtest_setup() -> None:
    if "__mutmut_" not in os.environ.get("MUTANT_UNDER_TEST", ""):
        return
    signal.signal(signal.SIGVTALRM, lambda *_: os._exit(TIMED_OUT))
    signal.setitimer(signal.ITIMER_VIRTUAL, ENDLESS)
    # Each mutant has a process of its own, whose clock of CPU time begins with it.
    if time.process_time() > SECONDS:
        pytest.skip("the mutant's time is over")
