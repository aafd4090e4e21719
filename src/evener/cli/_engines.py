"""``--on``: a run on a cluster that another system rules, and what only such a run can be asked for."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from . import _options, _policy, _resuming

if TYPE_CHECKING:
    from ..launch import RayOptions
    from ..runtime.keeping import Head

ENGINES = ("ray",)

_THEIRS = ("worker_resources", "server_resources")
_NOT_THEIRS = ("speeds", "tcp", "reproducible", "micro_batch", "faults")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("on a cluster")
    add = group.add_argument
    add("--on", choices=ENGINES, help="let Ray place, watch and restart the processes, on the cluster of this machine")
    add(
        "--worker-resources",
        metavar="JSON",
        type=resources,
        action="append",
        help='what Ray reserves for each worker (default: {"CPU": 1}); once for each kind, with --workers 6,2',
    )
    add(
        "--server-resources",
        metavar="JSON",
        type=resources,
        help="what Ray reserves for the server, on this machine (default: nothing)",
    )


def resources(text: str) -> dict[str, float]:
    """``{"CPU": 1}`` as it is meant. Whether these are amounts is the launcher's to say."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        value = error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"'{text}' names no resources; write JSON, such as '{{\"CPU\": 1}}'")
    return value


def workers(text: str) -> tuple[int, ...]:
    """``6,2`` → six of one kind, two of another."""
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of workers; write one, such as 4") from None


def check(options: argparse.Namespace) -> None:
    """Whether the options fit together; on this machine there is one kind of workers, and one number of them.

    Raises:
        LaunchError: some mean nothing where this run is.
    """
    from ..launch import LaunchError

    here = options.on is None
    why = "needs --on ray" if here else f"does not go with --on {options.on}"
    for name in _THEIRS if here else _NOT_THEIRS:
        if not any(getattr(options, name) is nothing for nothing in (None, False)):
            raise LaunchError(f"--{name.replace('_', '-')} {why}.")
    if here and options.workers is not None:
        if len(options.workers) > 1:
            raise LaunchError("several kinds of workers (--workers 6,2) need --on ray: here all are of one kind.")
        (options.workers,) = options.workers


def asked(options: argparse.Namespace) -> RayOptions:
    """The run that is asked for."""
    from .. import launch

    given = {"workers": options.workers, "resources": options.worker_resources}
    chosen: dict[str, Any] = {name: tuple(value) for name, value in given.items() if value is not None}
    if options.restart:
        chosen["restarts"] = options.restart
    if options.resume is not None:
        return _resumed(options, launch.to_resume(options.resume), chosen)
    return launch.RayOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        policy=_policy.choice(options),
        seed=options.seed,
        targets=dict(options.target),
        port=options.port,
        record=options.record,
        server_resources=options.server_resources or {},
        checkpoint_every=options.checkpoint_every,
        keep_checkpoints=_resuming.to_keep(options),
        compress=options.compress,
        **chosen,
    )


def _resumed(options: argparse.Namespace, head: Head, chosen: dict[str, Any]) -> RayOptions:
    """What the run was begun with, on any node that has its folder; the workers may be others.

    Raises:
        LaunchError: something is said that is fixed otherwise, or it was begun for one machine.
    """
    from .. import launch

    place = head.place
    if not place.keys:
        raise launch.LaunchError(
            f"the run in {options.resume} was begun with 'evener run', for one machine alone: "
            f"evener run {options.script} --resume {options.resume}"
        )
    _resuming.check(options, place)
    if "resources" not in chosen:  # of one kind: as many as there were
        chosen.setdefault("workers", (place.workers,))
    return launch.RayOptions(
        script=options.script,
        arguments=tuple(options.script_arguments),
        policy=place.policy,
        seed=place.seed,
        targets=place.targets,
        port=options.port,
        record=options.resume,
        server_resources=options.server_resources or {},
        checkpoint_every=options.checkpoint_every,
        keep_checkpoints=_resuming.to_keep(options, place),
        compress=place.compress,
        compare_data=place.compare_data,
        resume=head,
        **chosen,
    )


def words(options: argparse.Namespace) -> list[str]:
    """What was chosen, as one would type it."""
    said = ["--on", options.on]
    if options.workers is not None:
        said += ["--workers", ",".join(map(str, options.workers))]
    for kind in options.worker_resources or ():
        said += ["--worker-resources", json.dumps(kind)]
    if options.server_resources:
        said += ["--server-resources", json.dumps(options.server_resources)]
    if options.restart:
        said += ["--restart", str(options.restart)]
    return said + _options.to_compress(options.compress)
