"""Every policy there is, with options that are worth trying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core.policies import POLICIES, Policy
from .schedules import Schedule

VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "balanced": (
        *({"bound": bound, "stale_fraction": fraction} for bound, fraction in ((0, 0.1), (1, 0.0), (1, 0.25))),
        *({"bound": bound, "stale_fraction": fraction} for bound, fraction in ((1, 1.0), (2, 0.1), (2, 0.5))),
        {"bound": "auto", "stale_fraction": 0.5, "look_ahead": True},
    ),
    "asynchronous": ({"push": 2, "rate_scaling": "staleness"},),
    "stale": ({"bound": 0}, {"bound": 1, "push": 3}, {"bound": 5}),
    "dynamic": ({"s_min": 0, "s_max": 0}, {"s_min": 1, "s_max": 4}, {"s_min": 0, "s_max": 2, "push": 5}),
    "delayed": ({"delay": 1}, {"delay": 2, "push": 4}, {"delay": 5}),
}
"""Options beside the defaults, which are tried for every policy there is."""


@dataclass(frozen=True)
class Maker:
    """Makes a policy that suits a schedule, each time the same."""

    name: str
    options: dict[str, Any]

    def __call__(self, schedule: Schedule) -> Policy:
        """The policy, new."""
        options = dict(self.options)
        if "push" in options:
            batch = schedule.settings.batch
            options["push"] = max(min(options["push"], batch), min(2, batch))
        return POLICIES[self.name](**options)

    def __str__(self) -> str:
        return "-".join((self.name, *(f"{name}={value}" for name, value in self.options.items())))


MAKERS = [Maker(name, options) for name in POLICIES for options in ({}, *VARIANTS.get(name, ()))]
