"""What was measured of the simulator, as a page and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.plots import STYLE, save

from .gradients import WORKERS, Cost
from .measure import NOISE, PACES, WITHOUT, Result

GOAL_SECONDS, GOAL_MEBIBYTES = 60.0, 2048.0
"""For a million contributions, on one core."""

FEW = 5
"""Steps below which nothing is said of a run's mean."""

MARKS = {"balanced": "o", "asynchronous": "s", "synchronous": "^"}
COLOURS = {"balanced": "#0072b2", "asynchronous": "#d55e00", "synchronous": "#009e73"}


def read(file: Path) -> list[Result]:
    """What was measured; nothing, if there is no such file."""
    if not file.exists():
        return []
    return [Result(**one) for one in json.loads(file.read_text())["results"]]


def same(one: Result) -> tuple[str, int, int, str]:
    """What a result is of, and its place among others."""
    return one.policy, one.batch, one.workers, one.without


def line(one: Result) -> str:
    """A result in a line."""
    return (
        f"{one.policy:12} {one.workers:6} workers, batch {one.batch:7}: {one.contributions:8} contributions in "
        f"{one.seconds:6.1f} s, {one.microseconds:8.0f} us each; {one.mebibytes:5.0f} MiB, "
        f"U {one.utilisation:.3f}, stale {one.stale:.3f}{f', without {one.without}' if one.without else ''}"
    )


def write(folder: Path) -> Path:
    """Write the page, and the plot."""
    speed, scale, bounds = (read(folder / f"{part}.json") for part in ("speed", "scale", "bounds"))
    page = [
        "# The simulator",
        "",
        "`python -m benchmarks.simulator` made this page. Timing alone, without a record, one process on one core.",
        f"Hosts of {', '.join(f'{pace:g}' for pace in PACES)} samples/s in turn, noise {NOISE:g}, all else as a",
        "cluster file's defaults are. A batch has 64 samples for each worker unless it is said otherwise.",
    ]
    for name in ("speed.json", "scale.json"):
        if (folder / name).exists():
            facts = json.loads((folder / name).read_text())["machine"]
            page += ["", f"Measured on: {', '.join(f'{key} {value}' for key, value in facts.items())}."]
            break
    if speed:
        page += ["", *_speed(speed)]
    if (file := folder / "gradients.json").exists():
        page += ["", *_gradients([Cost(**one) for one in json.loads(file.read_text())["results"]])]
    if scale:
        page += ["", *_scale(scale), "", "![where the policies end](scale.png)"]
        draw(folder / "scale.png", scale)
    if bounds:
        page += ["", *_bounds(bounds)]
    words = folder / "bounds.md"  # what the numbers say, in words of whoever has read them
    if words.exists():
        page += ["", words.read_text().strip()]
    file = folder / "README.md"
    file.write_text("\n".join(page) + "\n")
    return file


def _speed(results: Sequence[Result]) -> list[str]:
    rows = [
        "## Speed",
        "",
        f"The goal is a million contributions in {GOAL_SECONDS:g} s of CPU, {GOAL_SECONDS:g} us each, within",
        f"{GOAL_MEBIBYTES:g} MiB. A cell ends at a million, or when its budget of CPU time is spent; what a million",
        "would take is worked out from what it did. The peak has the interpreter and its libraries in it, some 70 MiB.",
        "Steps take no virtual time here.",
        "",
        "| policy | workers | contributions | us each | a million, s | peak MiB |",
        "|---|---|---|---|---|---|",
    ]
    for one in sorted(results, key=lambda one: (one.policy, one.workers)):
        million = f"{one.microseconds:.0f}" if one.contributions < 1_000_000 else f"**{one.microseconds:.0f}**"
        rows.append(
            f"| {one.policy} | {one.workers} | {one.contributions} | {one.microseconds:.0f} | {million} | "
            f"{one.mebibytes:.0f} |"
        )
    return [*rows, "", "Bold: it was done. Else worked out."]


def _gradients(costs: Sequence[Cost]) -> list[str]:
    rows = [
        "## With real gradients",
        "",
        f"{WORKERS} workers, a 1-D CNN of 0.2M parameters on the phone's sensor windows, one thread. What simulating",
        "costs beyond forward and backward: the core, drawing and loading samples, sums of gradients, the optimizer,",
        "the record. The goal is under 10%.",
        "",
        "| policy | batch | micro-batches | samples of each | CPU s | of them gradients | beyond the gradients |",
        "|---|---|---|---|---|---|---|",
    ]
    return rows + [
        f"| {one.policy} | {one.batch} | {one.count} | {one.mean:.1f} | {one.seconds:.1f} | {one.gradients:.1f} | "
        f"{one.beyond:.1%} |"
        for one in costs
    ]


def _scale(results: Sequence[Result]) -> list[str]:
    rows = [
        "## Where the policies end",
        "",
        "Means over all steps but the first (three batches' worth, in which the workers are not known yet).",
        "",
        "| policy | workers | batch | steps | utilisation | stale fraction |",
        "|---|---|---|---|---|---|",
    ]
    for one in sorted(results, key=lambda one: (one.policy, one.workers, one.batch)):
        few = " (too few)" if one.counted < FEW else ""
        cells = [
            one.policy,
            one.workers,
            one.batch,
            f"{one.counted}{few}",
            f"{one.utilisation:.3f}",
            f"{one.stale:.3f}",
        ]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return rows


def _bounds(results: Sequence[Result]) -> list[str]:
    """Utilisation as it is, and without what may bound it."""
    left_out = ("", *WITHOUT, "all")
    rows = [
        "## What bounds them",
        "",
        "Utilisation as it is, and without what may bound it, one by one: the noise of durations, transfers and",
        "messages, the overhead of a micro-batch, the server's time for a step; and without all of these.",
        "",
        f"| policy | workers | batch | as it is | {' | '.join(f'no {name}' for name in WITHOUT)} | none of these |",
        f"|---|---|---|---|{'---|' * (len(WITHOUT) + 1)}",
    ]
    found = {same(one): one for one in results}
    for policy, workers, batch in sorted({(one.policy, one.workers, one.batch) for one in results}):
        some = [found.get((policy, batch, workers, without)) for without in left_out]
        cells = [f"{one.utilisation:.3f}" if one is not None else "" for one in some]
        rows.append(f"| {' | '.join(map(str, (policy, workers, batch, *cells)))} |")
    return rows


def draw(file: Path, results: Sequence[Result]) -> Path:
    """Utilisation and stale fraction by number of workers, for the fixed and the growing batch."""
    from matplotlib import pyplot as plt

    fixed = min((one.batch for one in results if one.batch != 64 * one.workers), default=0)
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(7.5, 5.2), sharex=True, sharey=True)
        for column, (title, of) in enumerate(
            (
                (f"batch {fixed}", [one for one in results if one.batch == fixed]),
                ("batch of 64 samples for each worker", [one for one in results if one.batch == 64 * one.workers]),
            )
        ):
            for policy in sorted({one.policy for one in of}):
                some = sorted(
                    (one for one in of if one.policy == policy and one.counted >= FEW), key=lambda one: one.workers
                )
                workers = [one.workers for one in some]
                style = {"color": COLOURS.get(policy, "#555555"), "marker": MARKS.get(policy, "x"), "markersize": 4}
                axes[0, column].plot(workers, [one.utilisation for one in some], label=policy, **style)
                axes[1, column].plot(workers, [one.stale for one in some], **style)
            axes[0, column].set_title(title, fontsize=9)
            axes[1, column].set(xscale="log", xlabel="workers", ylim=(0, 1.05))
        axes[0, 0].set_ylabel("samples/s by the sum of the paces")
        axes[1, 0].set_ylabel("stale fraction")
        axes[0, 0].legend(fontsize=7)
        figure.tight_layout()
        return save(figure, file)
