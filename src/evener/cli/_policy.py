"""The arguments that choose a policy and its options, for every verb that takes one."""

from __future__ import annotations

import argparse
import inspect
from typing import TYPE_CHECKING

from ..core.policies import POLICIES

if TYPE_CHECKING:
    from ..runtime.place import PolicyChoice

Value = bool | int | float | str

SHORTCUTS = {
    "bound": ("S", "how far ahead: steps of staleness (balanced), clocks (stale)"),
    "stale_fraction": ("PHI", "balanced: mean share of a batch that may be stale"),
    "delay": ("D", "delayed: pushes of a worker between two barriers, or auto"),
}
"""Options of policies that are arguments of their own: what stands for the value, and what it is."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments, and to the help which policy has which options."""
    add = parser.add_argument
    add("--policy", metavar="NAME", default="balanced", help=f"{', '.join(POLICIES)} (default: balanced)")
    for name, (metavar, what) in SHORTCUTS.items():
        add(f"--{name.replace('_', '-')}", metavar=metavar, type=value, help=what)
    add(
        "--option",
        metavar="NAME=VALUE",
        type=option,
        action="append",
        default=[],
        help="any option of the policy, such as push=32; may be repeated",
    )
    has = "; ".join(f"{name}: {', '.join(_defaults(name)) or 'none'}" for name in POLICIES)
    parser.epilog = f"The policies' options and their defaults. {has}."


def _defaults(name: str) -> list[str]:
    return [f"{option.name}={option.default}" for option in inspect.signature(POLICIES[name]).parameters.values()]


def choice(options: argparse.Namespace) -> PolicyChoice:
    """The policy that was asked for. Whether there is such a one is the launcher's to say.

    Raises:
        LaunchError: an option was given twice.
    """
    from ..launch import LaunchError
    from ..runtime.place import PolicyChoice

    chosen: dict[str, Value] = {}
    shortcuts = ((name, getattr(options, name)) for name in SHORTCUTS)
    for name, given in (*options.option, *((name, given) for name, given in shortcuts if given is not None)):
        if name in chosen:
            raise LaunchError(f"the policy's option '{name}' was given twice. Give it once.")
        chosen[name] = given
    return PolicyChoice(options.policy, chosen)


def value(text: str) -> Value:
    """An option's value: a truth value, a number or a word.

    >>> value("true"), value("3"), value("0.5"), value("auto")
    (True, 3, 0.5, 'auto')
    """
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def option(text: str) -> tuple[str, Value]:
    """``push=32`` → name and value."""
    name, _, given = text.partition("=")
    if not name.strip() or not given.strip():
        raise argparse.ArgumentTypeError(f"'{text}' is no option; write NAME=VALUE, such as push=32 or delay=auto")
    return name.strip().replace("-", "_"), value(given.strip())
