"""The arguments that choose a simulated cluster and what is changed about it, for every verb that simulates."""

from __future__ import annotations

import argparse
import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import _options, _policy

if TYPE_CHECKING:
    from ..observe import RunSummary
    from ..simulation.cluster import Cluster
    from ..simulation.conditions import Conditions


def configure(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """Add the arguments."""
    hosts = parser.add_mutually_exclusive_group(required=required)
    hosts.add_argument(
        "--cluster",
        metavar="FILE",
        type=Path,
        action="append",
        help="TOML with a table [[hosts]] for each kind of host; may be repeated: all their hosts, the first's server",
    )
    hosts.add_argument(
        "--paces", metavar="400,100", type=_options.paces, help="hosts that differ in their pace (samples/s) alone"
    )
    hosts.add_argument(
        "--from",
        metavar="RECORD",
        dest="recorded",
        type=Path,
        help="the machines of a recorded run, as its record shows them; real or simulated",
    )
    change = parser.add_argument_group("what if")
    add = change.add_argument
    add("--without", metavar="HOST", type=hosts_out, default=(), help="leave out hosts, by number from 0: 2 or 2,3")
    add(
        "--more",
        metavar="NxHOST",
        type=more,
        action="append",
        default=[],
        help="N more like a host: 3x1 is three like host 1; may be repeated",
    )
    add("--link", metavar="RATE", type=link, default=0.0, help="each host has a link of such a rate: '20 Mbit/s'")
    add("--parameters", metavar="SIZE", type=size, default=0, help="of a push, and of a set of parameters: '0.8 MB'")
    configure_faults(parser)
    parser.add_argument(
        "--write-cluster", metavar="FILE", type=Path, help="write the cluster as a file that --cluster takes"
    )


def configure_faults(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a script of faults."""
    parser.add_argument(
        "--faults", metavar="FILE", type=Path, help="what happens to whom when: 'at step 120 kill worker 2', …"
    )


@dataclass(frozen=True, slots=True)
class Chosen:
    """The cluster that was asked for: as it is, and changed; and the record that it is from, if it is from one."""

    plain: Cluster
    changed: Cluster
    change: str
    conditions: Conditions | None

    @property
    def clusters(self) -> dict[str, Cluster]:
        """By what is changed, in words."""
        return {"": self.plain, self.change: self.changed} if self.change else {"": self.plain}

    def judged(self, run: RunSummary) -> RunSummary:
        """The summary of a run on the changed cluster, with its limit, and with what the user should know."""
        from ..simulation.limit import limit

        total = run.total_s or 0.0
        most = limit(self.changed, total)
        rate = run.samples_per_second
        said = (small_batch(self.changed, run.batch, run.policy, run.options), beyond(self, total))
        return dataclasses.replace(
            run,
            limit_samples_per_second=most,
            utilisation=rate / most if rate is not None and most else None,
            warnings=(*run.warnings, *filter(None, said)),
        )


def choose(options: argparse.Namespace) -> Chosen:
    """Read what was asked for, and write it if that was asked for, too.

    Raises:
        ClusterError, RecordError: there is no such cluster or record, or it cannot be changed so.
    """
    from ..simulation.conditions import cluster_of
    from ..simulation.files import ClusterError, of_paces, read_clusters
    from ..simulation.what_if import WhatIf

    found = cluster_of(options.recorded) if options.recorded else None
    if found is not None:
        plain = found.cluster
    else:
        plain = of_paces(options.paces) if options.paces else read_clusters(options.cluster)
    if options.parameters:
        plain = dataclasses.replace(plain, parameters=options.parameters)
    asked = WhatIf(tuple(options.more), options.without, options.link)
    if asked.link and not plain.parameters:
        raise ClusterError(
            "what a transfer takes over a link depends on the model's size, which is not known. Say how large "
            "a push is, such as --parameters '0.8 MB' for 200,000 numbers of 4 bytes"
        )
    if options.faults is not None:
        plain = _struck(plain, options.faults)
    changed = asked.apply(plain)
    chosen = Chosen(plain, changed, asked.words if asked else "", found)
    if options.write_cluster:
        write(chosen, options)
    return chosen


def _struck(cluster: Cluster, path: Path) -> Cluster:
    from ..simulation.files import ClusterError
    from ..simulation.sentences import FaultError, read_faults
    from ..simulation.striking import script

    try:
        return script(cluster, read_faults(path))
    except FaultError as error:
        raise ClusterError(str(error)) from None
    except ValueError as error:
        raise ClusterError(f"{path}: {error}") from None


def write(chosen: Chosen, options: argparse.Namespace) -> None:
    """Write the changed cluster.

    Raises:
        ClusterError: it cannot be written there.
    """
    from ..simulation.files import ClusterError
    from ..simulation.writer import to_toml

    path: Path = options.write_cluster
    found = chosen.conditions
    comments = []
    if found is not None:
        comments.append(f"The machines of {options.recorded}, as its record shows them over {found.seconds:.1f} s.")
        comments += found.remarks
    if chosen.change:
        comments.append(f"Changed: {chosen.change}.")
    if path.exists():
        raise ClusterError(f"--write-cluster {path}: there is such a file already. Choose another name")
    try:
        path.write_text(to_toml(chosen.changed, [*comments, ""] if comments else ()), encoding="utf-8")
    except OSError as error:
        raise ClusterError(
            f"--write-cluster {path} cannot be written: {error.strerror}. Choose another place"
        ) from None


def words(options: argparse.Namespace) -> list[str]:
    """The arguments that choose the same again."""
    if options.paces:
        found = ["--paces", ",".join(f"{pace:g}" for pace in options.paces)]
    elif options.recorded:
        found = ["--from", str(options.recorded)]
    else:
        found = [word for file in options.cluster for word in ("--cluster", str(file))]
    if options.without:
        found += ["--without", ",".join(map(str, options.without))]
    found += [word for count, like in options.more for word in ("--more", f"{count}x{like}")]
    if options.faults is not None:
        found += ["--faults", str(options.faults)]
    if options.link:
        found += ["--link", f"{options.link / 1e6:g} Mbit/s"]
    if options.parameters:
        found += ["--parameters", f"{options.parameters} B"]
    return found


def small_batch(cluster: Cluster, batch: int, name: str, options: dict[str, _policy.Value]) -> str:
    """Whether the batch is too small for the workers, in words; empty if it is not."""
    from ..core.policies import POLICIES
    from ..simulation.batch import too_small

    found = too_small(cluster, batch, lambda: POLICIES[name](**options))
    return "" if found is None else f"{name}: {found}"


def beyond(chosen: Chosen, seconds: float) -> str:
    """Whether what is simulated outlasts the record that its paces are from, in words."""
    found = chosen.conditions
    if found is None or seconds <= 1.05 * found.seconds or not any(host.paces for host in chosen.plain.hosts):
        return ""
    return (
        f"the record tells how fast the machines were for {found.seconds:.0f} s, and the simulated run takes "
        f"{seconds:.0f} s: after that each keeps its last pace"
    )


# From text --------------------------------------------------------------------------------------------------


def hosts_out(text: str) -> tuple[int, ...]:
    """``2,3`` → two hosts."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of hosts; write their numbers, from 0, such as 2 or 2,3")
    return tuple(dict.fromkeys(int(word) for word in text.split(",")))


def more(text: str) -> tuple[int, int]:
    """``3x1`` → three more like host 1."""
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or int(found[1]) < 1:
        raise argparse.ArgumentTypeError(
            f"'{text}' does not say how many more like which host; write 3x1 for three more like host 1"
        )
    return int(found[1]), int(found[2])


def link(text: str) -> float:
    """``20 Mbit/s`` → bits per second."""
    from ..simulation import units

    try:
        if rate := units.rate(text):
            return rate
        raise ValueError("a link with a rate of 0 transfers nothing")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> int:
    """``0.8 MB`` → bytes."""
    from ..simulation import units

    try:
        return units.size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
