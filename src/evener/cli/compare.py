"""``evener compare``: several policies on one cluster, simulated or real: a table, plots, and which to take."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.policies import POLICIES
from . import _cluster, _options, _policy, _timing

if TYPE_CHECKING:
    from ..launch.compare import CompareOptions
    from ..observe.compare import Compared
    from ..runtime.place import PolicyChoice
    from ._screen import Lines

FEW = ("synchronous", "balanced")
"""Compared by default where each run takes its time."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = (
        "evener compare [SCRIPT] (--cluster FILE | --paces 400,200 | --from RECORD) [options] [-- script arguments]\n"
        "       evener compare SCRIPT --real [--speeds 4,2,1] [options] [-- script arguments]"
    )
    add = parser.add_argument
    add(
        "script",
        metavar="SCRIPT",
        type=Path,
        nargs="?",
        help="with it, real gradients on a virtual clock (or --real); without it, timing alone: seconds",
    )
    add(
        "--policies",
        metavar="A,B",
        type=policies,
        default=(),
        help=f"such as synchronous,balanced,balanced:bound=0 (default: all without a script, else {','.join(FEW)}). "
        f"They are {', '.join(POLICIES)}",
    )
    _cluster.configure(parser, required=False)
    _timing.configure(parser)
    real = parser.add_argument_group("real runs")
    real.add_argument("--real", action="store_true", help="run the script's processes on this machine")
    real.add_argument("--workers", metavar="N", type=_options.whole, help="processes that compute")
    real.add_argument("--speeds", metavar="8,4,2,1", type=_options.speeds, help="emulate workers of unequal speed")
    real.add_argument("--limit", action="store_true", help="measure first what they compute without communication")
    _options.configure(parser, seed="of all runs")
    parser.set_defaults(threads=None)
    add("--no-plots", action="store_true", help="draw none (they need matplotlib: pip install 'evener[study]')")


def execute(options: argparse.Namespace) -> int:
    """Compare, and say which."""
    from .. import launch
    from ..simulation.files import ClusterError
    from ..trace import RecordError
    from . import _report, _screen

    screen = _screen.choose()
    try:
        if problem := _report.check_json(options.json):
            raise launch.LaunchError(problem)
        if options.recorded is None and options.real is False and not (options.cluster or options.paces):
            raise launch.LaunchError(
                "what is to be compared on? Name a cluster with --cluster FILE, --paces 400,100 or --from RECORD; "
                "or run for real with --real."
            )
        chosen = _chosen(options)
        asked = _asked(options, chosen)
        return _carry_out(options, chosen, asked, screen)
    except (launch.LaunchError, ClusterError, RecordError) as error:
        print(f"evener compare: error: {error}", file=sys.stderr)
        return 2
    except launch.StoppedError as stopped:
        return stopped.code


def _chosen(options: argparse.Namespace) -> _cluster.Chosen | None:
    from .. import launch

    if not options.real:
        for name in ("workers", "speeds", "limit"):
            if getattr(options, name):
                raise launch.LaunchError(f"--{name} is about real runs. Add --real, or leave it out.")
        return _cluster.choose(options)
    if options.script is None:
        raise launch.LaunchError("real runs need a script: evener compare SCRIPT --real")
    for name, given in (
        ("--cluster", options.cluster),
        ("--paces", options.paces),
        ("--faults", options.faults),
        ("--from", options.recorded),
        ("--without", options.without),
        ("--more", options.more),
        ("--link", options.link),
        ("--write-cluster", options.write_cluster),
    ):
        if given:
            raise launch.LaunchError(f"{name} is about simulated runs. Leave it out, or leave --real out.")
    return None


def _asked(options: argparse.Namespace, chosen: _cluster.Chosen | None) -> CompareOptions:
    from .. import launch
    from ..launch.compare import CompareOptions
    from ..runtime.place import PolicyChoice

    _timing.check_script(options)
    what: launch.TimingOptions | launch.SimulateOptions | launch.RunOptions
    arguments, targets = tuple(options.script_arguments), dict(options.target)
    if chosen is None:
        workers = options.workers or (len(options.speeds) if options.speeds else launch.default_workers())
        what = launch.RunOptions(
            script=options.script,
            arguments=arguments,
            workers=workers,
            speeds=options.speeds or (),
            targets=targets,
        )
    elif options.script is not None:
        what = launch.SimulateOptions(
            script=options.script, cluster=chosen.changed, arguments=arguments, targets=targets
        )
    else:
        what = _timing.training(options, chosen)
    names = POLICIES if options.script is None else FEW
    return CompareOptions(
        policies=options.policies or tuple(PolicyChoice(name) for name in names),
        what=what,
        clusters=chosen.clusters if chosen else {},
        folder=options.record,
        seed=options.seed,
        measure=options.limit,
    )


def _carry_out(
    options: argparse.Namespace, chosen: _cluster.Chosen | None, asked: CompareOptions, screen: Lines
) -> int:
    from ..launch.compare import compare
    from ..observe import summarise
    from ..observe.compare import Compared, render, to_dict
    from . import _report

    for remark in chosen.conditions.remarks if chosen and chosen.conditions else ():
        screen.note(remark)
    runs = [
        Compared(done.leg.label, summarise(done.record, done.limit), done.leg.change) for done in compare(asked, screen)
    ]
    folder = Path(runs[0].run.record).parent.parent
    warnings = _warnings(runs, chosen)
    pointers = [("records", str(folder))]
    if not options.no_plots:
        pointers.append(("plots", _plots(runs, folder)))
    if chosen is not None and options.write_cluster:
        pointers.append(("cluster", str(options.write_cluster)))
    if any(worker.sat_out is not None for one in runs for worker in one.run.workers):
        pointers.append(("!", "this worker sat out: too slow for the batch"))
    _report.print_table(render(runs, _title(runs, chosen, options), pointers, warnings))
    _report.write_json(options.json, to_dict(runs, warnings))
    return 0


def _title(runs: Sequence[Compared], chosen: _cluster.Chosen | None, options: argparse.Namespace) -> str:
    from ..observe import words

    first = runs[0].run
    how = (
        "real runs" if chosen is None else "simulated, real gradients" if options.script else "simulated, timing alone"
    )
    what = options.script.name if options.script else Path(first.script).name
    facts = [what, how, words.count(len(first.workers), "worker")]
    if chosen is not None and options.recorded:
        facts.append(f"machines of {options.recorded}")
    facts += [f"batch {first.batch}", f"seed {first.seed}"]
    return " · ".join(fact for fact in facts if fact)


def _warnings(runs: Sequence[Compared], chosen: _cluster.Chosen | None) -> list[str]:
    if chosen is None:
        return []
    said = []
    if problem := _cluster.small_batch(chosen.changed, runs[0].run.batch, *_preferred(runs)):
        said.append(problem)
    if problem := _cluster.beyond(chosen, max(one.run.total_s or 0.0 for one in runs)):
        said.append(problem)
    return said


def _preferred(runs: Sequence[Compared]) -> tuple[str, dict[str, _policy.Value]]:
    """The policy that the batch is judged with: the one that is recommended, as that is to be used."""
    from ..observe.compare import best

    run = (best(runs) or runs[0]).run
    return run.policy, run.options


def _plots(runs: Sequence[Compared], folder: Path) -> str:
    from ..observe.plots import draw

    try:
        drawn = draw(runs, folder)
    except ImportError:
        return "none: they need matplotlib (pip install 'evener[study]')"
    return ", ".join(str(path) for path in drawn)


# From text --------------------------------------------------------------------------------------------------


def policies(text: str) -> tuple[PolicyChoice, ...]:
    """``synchronous,balanced:bound=0`` → two policies, the second with an option."""
    from ..runtime.place import PolicyChoice

    found = []
    for word in text.split(","):
        name, *options = word.strip().split(":")
        if not name:
            raise argparse.ArgumentTypeError(
                f"'{text}' is no list of policies; write synchronous,balanced or balanced:bound=0:stale_fraction=0.1"
            )
        found.append(PolicyChoice(name, dict(_policy.option(option) for option in options)))
    return tuple(found)
