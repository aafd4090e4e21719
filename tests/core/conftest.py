"""Hypothesis profiles: ``default`` is small; ``EVENER_HYPOTHESIS=thorough`` tries a hundred times as much."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]

settings.register_profile("default", max_examples=40, deadline=None, suppress_health_check=SLOW, derandomize=True)
settings.register_profile("thorough", max_examples=3000, deadline=None, suppress_health_check=SLOW)
settings.load_profile(os.environ.get("EVENER_HYPOTHESIS", "default"))
