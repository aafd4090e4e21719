"""Hypothesis profiles: ``default`` is small; ``EVENER_HYPOTHESIS=thorough`` tries a hundred times as much.

``mutants`` is for mutation testing: few examples, always the same, and a failure is not made smaller.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]

settings.register_profile("default", max_examples=40, deadline=None, suppress_health_check=SLOW, derandomize=True)
settings.register_profile("thorough", max_examples=3000, deadline=None, suppress_health_check=SLOW)
settings.register_profile(
    "mutants",
    max_examples=10,
    deadline=None,
    suppress_health_check=SLOW,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile(os.environ.get("EVENER_HYPOTHESIS", "default"))
