"""Measure: ``python -m benchmarks.run quick``, or ``full``, or some systems on some cluster."""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evener.runtime import keys

from . import cluster as emulation
from . import goals, machine, peers, table, throttled
from .clusters import CLUSTERS
from .measure import FailedError, Measurement, Outcome, Window
from .places import workplace
from .plan import PLANS, WARM, Block, block, estimate, parts, shorten
from .results import Result, Session
from .runners.job import KEYS, Job
from .switch import SwitchError
from .systems import LIMIT, SYSTEMS, System
from .throttled import Hosts, ThrottledCluster

RESULTS = Path("docs/results/bench")
PORTS = range(20_000, 60_000, 100)


class Bench:
    """Measures blocks, one after the other.

    Args:
        session: takes the results.
        keep: folder for everything that the measured processes leave behind; ``None``: nowhere.
    """

    def __init__(self, session: Session, keep: Path | None = None) -> None:
        self.session = session
        self.keep = keep
        self._ports = iter(PORTS)
        self._missing: dict[str, str] = {}
        self._best: dict[tuple[tuple[float, ...], str], dict[int, tuple[int, float]]] = {}

    def prepare(self, blocks: Sequence[Block]) -> None:
        """Make the peers' environments; what cannot be had is reported instead of measured."""
        for name in sorted({system.environment for one in blocks for system in one.systems} - {""}):
            print(f"{name}: its environment …", flush=True)
            try:
                peers.install(name)
            except (peers.PeerError, OSError) as error:
                self._missing[name] = str(error)
                print(error, flush=True)

    def measure(self, one: Block) -> None:
        """Measure a block."""
        print(f"\n{one.cluster.title}; model {one.workload}, batch {one.batch}", flush=True)
        kind = ThrottledCluster if self.session.missing else emulation.EmulatedCluster
        known = self._best.setdefault(one.hosts, {})  # by host: its best size, and its rate then
        with kind(one.cluster) as cluster:
            for repetition, system in one.order():
                hosts = range(len(one.cluster.shares))
                best = [(known[host][0],) if host in known else one.sizes for host in hosts]
                rates = [known[host][1] if host in known else 1.0 for host in hosts]
                blank = Result(
                    one.cluster.name, one.workload, system.name, one.batch, repetition, keys=one.keyed(system)
                )
                try:
                    outcome = self.once(cluster, one, system, best, rates)
                except FailedError as error:
                    self._take(replace(blank, failed=str(error)))
                    if system is LIMIT and not known:
                        raise
                    continue
                self._take(_result(blank, outcome))
                for host, by_size in outcome.rates.items():
                    size = max(by_size, key=lambda size: by_size[size])
                    known[host] = (size, by_size[size])

    def once(
        self,
        cluster: Hosts,
        one: Block,
        system: System,
        sizes: Sequence[tuple[int, ...]],
        rates: Sequence[float],
    ) -> Outcome:
        """Measure a system once.

        Args:
            cluster: open, and quiet.
            one: says for how long, and with which model.
            system: which.
            sizes: of micro-batch, for each host to measure (the limit only).
            rates: of the hosts, for an oracle's batches.

        Raises:
            FailedError: it did not get going.
        """
        if why := self._missing.get(system.environment):
            raise FailedError(why)
        hosts = len(rates) - system.leaves_out
        port = next(self._ports)
        with workplace(self.keep, f"{port}-{system.name}") as folder:
            if one.keyed(system):
                keys.make(folder / KEYS, [f"host-{host}" for host in range(hosts)])
            job = Job(
                index=0,
                addresses=cluster.addresses[:hosts],
                server=cluster.address(emulation.SERVER),
                port=port,
                folder=str(folder),
                door="",
                share=0.0,
                workload=one.workload,
                batch=one.batch,
                parts=parts(one.batch, rates[:hosts] if system.oracle else [1.0] * hosts),
                sizes=(),
                options=system.options,
                keys=one.keyed(system),
                processes=cluster.cluster.processes[:hosts],
            )
            window = Window(WARM, one.window(system))
            return Measurement(cluster, system, job, sizes if system.runner == LIMIT.runner else ()).run(window)

    def _take(self, result: Result) -> None:
        self.session.results.append(result)
        what = f"failed: {result.failed}" if result.failed else f"{result.samples_per_second:8.0f} samples/s"
        early = "  (ended early)" if result.ended_early else ""
        early += f"  (NOT COUNTED ONCE: {result.problems})" if result.problems else ""
        print(f"  {result.repetition + 1}  {result.system:20} {what}{early}", flush=True)


def _result(blank: Result, outcome: Outcome) -> Result:
    return replace(
        blank,
        samples_per_second=round(outcome.samples_per_second, 2),
        by_host=tuple(round(rate, 2) for rate in outcome.by_host),
        host_cpu=tuple(round(cpu, 4) for cpu in outcome.host_cpu),
        server_cpu=round(outcome.server_cpu, 4),
        stale_fraction=outcome.stale_fraction,
        counted_once=outcome.counted_once,
        problems=outcome.problems,
        sat_out=outcome.sat_out,
        seconds=round(outcome.seconds, 2),
        started_after_s=round(outcome.started_after, 2),
        ended_early=outcome.ended_early,
    )


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("plan", choices=[*PLANS, "some"], help="'some': the systems and the cluster that you name")
    parser.add_argument("--systems", default="balanced,ddp", help=", ".join(one.name for one in SYSTEMS))
    parser.add_argument("--cluster", default=CLUSTERS[0].name, help=", ".join(one.name for one in CLUSTERS))
    parser.add_argument("--workload", default="small", help="small, wearable or resnet20")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0, help="measured, each time")
    parser.add_argument("--batch", type=int, default=0, help="samples of a step (default: the workload's, by hosts)")
    parser.add_argument("--factor", type=float, default=1.0, help="on all measured times")
    parser.add_argument("--throttle", action="store_true", help="no quotas and no peers, as where root is missing")
    parser.add_argument("--estimate", action="store_true", help="print how long it would take, and end")
    parser.add_argument("--keep", type=Path, help="folder for the logs and records of what is measured")
    parser.add_argument(
        "--keys",
        action=argparse.BooleanOptionalAction,
        help="some: evener's connections are encrypted, or not (default: as the cluster says)",
    )
    parser.add_argument("--name", default="", help="of the files of results (default: the plan's, or the cluster's)")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"folder for the results (default: {RESULTS})")
    return parser.parse_args(words)


def _name(asked: argparse.Namespace) -> str:
    """What the files of results are called: as the plan, or as the one cluster that was chosen."""
    chosen = asked.plan == "some" and asked.cluster != CLUSTERS[0].name
    return str(asked.cluster if chosen else asked.plan)


def _missing(wanted: bool) -> str:
    """Why there are no quotas; empty: there are.

    Raises:
        ClusterError: nor can hosts be slowed otherwise.
    """
    if wanted:
        return "it was asked for (--throttle)."
    try:
        emulation.check()
    except emulation.ClusterError as error:
        if not throttled.possible():
            raise
        return str(error)
    return ""


def write(session: Session, folder: Path) -> None:
    """Write and print the tables, and draw the plots, of what was measured."""
    found = goals.evaluate(session)
    session.write(folder / f"{session.name}.json", goals=[one.to_dict() for one in found])
    text = table.markdown(session, found)
    (folder / f"{session.name}.md").write_text(text)
    print(f"\n{text}")
    if importlib.util.find_spec("matplotlib") is None:
        print("No plots: they need matplotlib (pip install 'evener[study]').", file=sys.stderr)
        return
    from . import plots

    for path in plots.draw(folder, session, found):
        print(f"Wrote {path}")


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for, and write it down."""
    asked = arguments(words)
    try:
        if asked.plan == "some":
            names = asked.systems.split(",")
            blocks: Sequence[Block] = [
                replace(
                    block(asked.cluster, asked.workload, names, asked.repetitions, asked.seconds, asked.batch),
                    keys=asked.keys,
                )
            ]
        else:
            blocks = PLANS[asked.plan]
        blocks = shorten(blocks, asked.factor)
        missing = _missing(asked.throttle)
    except (ValueError, emulation.ClusterError) as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 2
    if missing:
        print(f"No quotas: {missing}\nInstead, hosts pause after computing. What cannot do so is left out:")
        blocks, left = throttled.fit(blocks)
        print("".join(f"  {what}\n" for what in left), end="")
    print(f"{sum(len(list(one.order())) for one in blocks)} measurements: about {estimate(blocks) / 60:.0f} minutes.")
    if asked.estimate:
        return 0
    if asked.keep is not None and asked.keep.exists() and any(asked.keep.iterdir()):
        print(f"benchmarks: error: {asked.keep} is not empty: name another folder for what is kept", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else nothing would be cleared away
    began = time.monotonic()
    session = Session(asked.plan, {}, missing, asked.factor, asked.name or _name(asked))
    bench = Bench(session, asked.keep)
    bench.prepare(blocks)
    session.machine = machine.describe()
    code = 0
    try:
        for one in blocks:
            try:
                bench.measure(one)
            except (FailedError, emulation.ClusterError, SwitchError) as error:
                print(f"benchmarks: {one.cluster.name}: {error}", file=sys.stderr)
                code = 1
    finally:  # what was measured was measured
        write(session, asked.out)
        print(f"It took {(time.monotonic() - began) / 60:.1f} minutes.")
    if not session.sound:
        print("benchmarks: error: evener did not count each sample once; see the tables", file=sys.stderr)
        code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
