"""What a model is worth after so many samples: synchronous, balanced and balanced for real, on one of the clusters.

    python -m benchmarks.accuracy eight                             # three seeds, keys on: some ten minutes
    python -m benchmarks.accuracy groups --real balanced-groups,balanced
    python -m benchmarks.accuracy eight --seeds 0 -- --batch 256    # the rest is for study/train.py

Real runs are those of the benchmark's systems, on the emulated cluster. Simulated ones compute the same gradients in
one process, since ``synchronous`` would take an hour on hosts like these, and what it comes to does not depend on time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from evener import launch
from evener.observe import summarise
from evener.runtime import keys
from evener.runtime.place import PolicyChoice
from evener.simulation import cluster as virtual
from study.clusters import STEP_SECONDS, host
from study.collect import Reading

from . import machine
from .cluster import SERVER, EmulatedCluster
from .clusters import CLUSTERS, Cluster, find
from .places import ROOT, environment, last_words, part_of
from .run import RESULTS
from .runners.job import KEYS, Job
from .systems import System
from .systems import find as find_system

SCRIPT = ROOT / "study" / "train.py"
WORDS = ("--batch", "512", "--pieces", "10", "--steps", "16", "--lr", "0.1")
"""The study's smartphone activities: 160 steps, as there, of twice the batch; the same learning rate."""

PACE = 1250.0
"""Samples/s of its network on a whole core, as in the study."""

BITS = 0.7e6 * 8
"""Of its parameters."""

PORT = 20_000
PATIENCE = 900.0


class FailedError(Exception):
    """A run did not come to its end; the message has what it printed last."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one run came to.

    Attributes:
        how: system, and where it ran.
        accuracy: on the whole test set, in the end.
    """

    how: str
    seed: int
    accuracy: float
    samples: int
    steps: int
    stale_fraction: float
    counted_once: bool


def real(cluster: Cluster, system: System, seed: int, words: Sequence[str]) -> Found:
    """The system on the emulated cluster.

    Raises:
        FailedError: it did not end well.
    """
    with tempfile.TemporaryDirectory(prefix="evener-bench-") as name, EmulatedCluster(cluster) as hosts:
        folder = Path(name)
        if cluster.keys:
            keys.make(folder / KEYS, [f"host-{index}" for index in range(len(cluster.shares))])
        job = Job(
            index=0,
            addresses=hosts.addresses,
            server=hosts.address(SERVER),
            port=PORT,
            folder=name,
            door="",
            share=0.0,
            workload="",
            batch=0,
            parts=(),
            sizes=(),
            options=system.options,
            keys=cluster.keys,
            processes=cluster.processes,
        )
        command = [sys.executable, "-m", "benchmarks.runners.accuracy", *words, "--seed", str(seed)]
        started = []
        for index in (SERVER, *range(len(cluster.shares))):
            for member in range(cluster.processes[index] if cluster.processes and index != SERVER else 1):
                ours = part_of(job, hosts, index, (), member)
                started.append(hosts.start(index, command, environment(ours), folder / f"log-{index}"))
        server = started[0]
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise FailedError(f"no end after {PATIENCE:.0f} s{last_words(folder / 'log--1')}") from None
        if server.returncode:
            raise FailedError(f"exit code {server.returncode}{last_words(folder / 'log--1')}")
        return _found(f"{system.title}, real{', keys on' if cluster.keys else ''}", seed, folder)


def simulated(cluster: Cluster, policy: str, seed: int, words: Sequence[str]) -> Found:
    """The policy on hosts with these speeds and links, with real gradients.

    Raises:
        FailedError: it did not end well.
    """
    processes = cluster.processes or (1,) * len(cluster.shares)
    hosts = tuple(
        dataclasses.replace(
            host(PACE * share / count), uplink=there, downlink=there, latency=link.delay_ms / 1e3 + 1e-3
        )
        for share, count, link in zip(cluster.shares, processes, cluster.links, strict=False)
        for there in [BITS / ((link.rate_mbit or 1000) * 1e6) + link.delay_ms / 1e3]
        for _ in range(count)
    )
    with tempfile.TemporaryDirectory(prefix="evener-bench-") as name:
        ended = launch.simulate(
            launch.SimulateOptions(
                script=SCRIPT,
                arguments=(*words, "--seed", str(seed)),
                cluster=virtual.Cluster(hosts, step_seconds=STEP_SECONDS),
                policy=PolicyChoice(policy),
                seed=seed,
                record=Path(name) / "record",
            )
        )
        if ended.code:
            raise FailedError(f"{policy}, simulated: exit code {ended.code}; {' '.join(ended.problems)}")
        return _found(f"evener {policy}, simulated", seed, Path(name) / "record")


def _found(how: str, seed: int, record: Path) -> Found:
    summary = summarise(record)
    accuracy = Reading(record, summary.batch).final_accuracy
    if accuracy is None or not summary.ok:
        raise FailedError(f"{how}: {summary.reason or 'no accuracy is in its record'}")
    stale, once = round(summary.stale_fraction, 4), bool(summary.counted_once)
    return Found(how, seed, round(accuracy, 5), summary.samples, summary.steps, stale, once)


def table(found: Sequence[Found]) -> list[str]:
    """A line for each kind of run; the first is what the others are held against, seed by seed."""
    lines = [
        "| | test accuracy | by seed | to the first, by seed | samples | stale | each sample once |",
        "|---|---|---|---|---|---|---|",
    ]
    first = {one.seed: one.accuracy for one in found if one.how == found[0].how}
    for how in dict.fromkeys(one.how for one in found):
        own = [one for one in found if one.how == how]
        apart = " ".join(f"{100 * (one.accuracy - first[one.seed]):+.1f}" for one in own if one.seed in first)
        cells = [
            how,
            f"{statistics.fmean(one.accuracy for one in own):.1%}",
            " ".join(f"{one.accuracy:.1%}" for one in own),
            apart if how != found[0].how else "",
            " ".join(str(count) for count in sorted({one.samples for one in own})),
            f"{statistics.fmean(one.stale_fraction for one in own):.1%}",
            "yes" if all(one.counted_once for one in own) else "**NO**",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write(cluster: Cluster, words: Sequence[str], found: Sequence[Found], folder: Path) -> str:
    """The table, and what it is of; also written to ``accuracy-CLUSTER`` in the folder, as markdown and as JSON."""
    created, facts = datetime.now(UTC).isoformat(timespec="seconds"), machine.describe()
    head = [f"# Accuracy: {cluster.title}", "", f"{created}. {', '.join(f'{k} {v}' for k, v in facts.items())}.", ""]
    head += [f"`study/train.py {' '.join(words)}`; how to read this: `benchmarks/README.md`.", ""]
    text = "\n".join([*head, *table(found), ""])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"accuracy-{cluster.name}.md").write_text(text)
    plain = {"schema": 1, "cluster": cluster.name, "created": created, "machine": facts, "arguments": list(words)}
    results = [dataclasses.asdict(one) for one in found]
    (folder / f"accuracy-{cluster.name}.json").write_text(json.dumps({**plain, "results": results}, indent=1) + "\n")
    return text


def main(words: Sequence[str] | None = None) -> int:
    """Train what the command line asks for, and write down what it came to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cluster", choices=[one.name for one in CLUSTERS])
    parser.add_argument("--simulated", default="synchronous,balanced", help="policies (default: synchronous,balanced)")
    parser.add_argument("--real", default="balanced", help="systems of the benchmark (default: balanced)")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.epilog = "Behind --: arguments of study/train.py, beside or in place of the usual ones."
    given = list(sys.argv[1:] if words is None else words)
    end = given.index("--") if "--" in given else len(given)
    asked = parser.parse_args(given[:end])
    cluster, arguments = find(asked.cluster), [*WORDS, *given[end + 1 :]]
    systems = [find_system(name) for name in asked.real.split(",") if name]
    found: list[Found] = []
    try:
        for seed in map(int, asked.seeds.split(",")):
            found += [simulated(cluster, policy, seed, arguments) for policy in asked.simulated.split(",") if policy]
            found += [real(cluster, system, seed, arguments) for system in systems]
    except FailedError as error:
        print(f"benchmarks: error: {error}", file=sys.stderr)
        return 1
    finally:
        if found:
            print(f"\n{write(cluster, arguments, found, asked.out)}")
    return 0 if all(one.counted_once for one in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
