"""Policies as a header names them, and back."""

from __future__ import annotations

import inspect

from ..core.policies import POLICIES, Policy
from .schema import PolicyUsed, RecordError


def describe(policy: Policy) -> PolicyUsed:
    """The policy's name and every option its constructor takes, as it is set.

    >>> from evener.core.policies import Balanced
    >>> describe(Balanced(bound=2)).options
    {'bound': 2, 'stale_fraction': 0.05, 'look_ahead': False}
    """
    options = {name: getattr(policy, name) for name in inspect.signature(type(policy)).parameters}
    return PolicyUsed(policy.name, options)


def rebuild(used: PolicyUsed) -> Policy:
    """A fresh policy of that name and those options.

    Raises:
        RecordError: the name or an option is unknown to this version.
    """
    if used.name not in POLICIES:
        known = ", ".join(sorted(POLICIES))
        raise RecordError(f"the record's policy is {used.name!r}; this version knows {known}", line=1)
    try:
        return POLICIES[used.name](**used.options)
    except (TypeError, ValueError) as error:
        raise RecordError(f"the record's options of {used.name} do not fit this version: {error}", line=1) from error
