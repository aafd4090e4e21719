"""Puts tables and plots into the pages. Prose is written by hand; what stands between markers is generated::

<!-- begin har-graded -->
...
<!-- end har-graded -->
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from . import grid, plots, real, tables
from .cells import Study
from .results import Result

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("results/study/README.md", "which-policy.md")
SHORT = {grid.GRADED: "graded", grid.UNIFORM_BUT_ONE: "one-slow", grid.ROTATING: "rotating"}
NAMES = {"har": "HAR", "fashion": "Fashion-MNIST"}
NOTHING = "*Not run yet.*"


def write(results: Sequence[Result], docs: Path = DOCS, *, here: bool = True) -> list[Path]:
    """Draw the plots and fill the pages below ``docs``; returns the files.

    Args:
        here: the results are this machine's, so that it may be described.
    """
    study = Study(results)
    blocks, files = _blocks(study, docs / "results" / "study")
    if here:
        blocks["machine"] = machine(results)
    for name in PAGES:
        page = docs / name
        page.write_text(fill(page.read_text(), blocks))
        files.append(page)
    return files


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """Replace what stands between the markers of each block; blocks without markers are left out.

    Raises:
        ValueError: a block begins and does not end.

    >>> fill("<!-- begin a -->old<!-- end a -->", {"a": "new"}).split()
    ['<!--', 'begin', 'a', '-->', 'new', '<!--', 'end', 'a', '-->']
    """
    for name in re.findall(r"<!-- begin ([\w-]+) -->", text):
        begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
        if end not in text:
            raise ValueError(f"the block {name} does not end: write {end}")
        if name in blocks:
            before, rest = text.split(begin, 1)
            text = f"{before}{begin}\n{blocks[name]}\n{end}{rest.split(end, 1)[1]}"
    return text


def machine(results: Sequence[Result]) -> str:
    """What the results were made on, and what they cost."""
    model = platform.processor() or platform.machine()
    try:
        info = Path("/proc/cpuinfo").read_text()
        model = next(line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = f"Python {platform.python_version()}, torch {metadata.version('torch')}"
    evener = ", ".join(sorted({result.evener for result in results}))
    simulated = [result for result in results if result.spec["place"] == "simulated"]
    hours = sum(result.wall_s for result in results) / 3600
    return (
        f"{len(simulated)} simulated runs and {len(results) - len(simulated)} with real processes took {hours:.1f} "
        f"core-hours on {os.cpu_count()} cores ({model}); {platform.system()}, {versions}, evener {evener}. "
        f"Runs that counted each sample exactly once: {sum(one.counted_once for one in results)} of {len(results)}. "
        f"Runs that failed: {sum(not one.ok for one in results)}."
    )


def _blocks(study: Study, folder: Path) -> tuple[dict[str, str], list[Path]]:
    blocks: dict[str, str] = {}
    files: list[Path] = []
    panels = []
    both = (grid.GRADED, grid.UNIFORM_BUT_ONE)
    for problem in (grid.HAR, grid.FASHION):
        blocks[f"{problem.data}-tuning"] = tables.trials(study, problem, both)
        for cluster in both:
            name, title = f"{problem.data}-{SHORT[cluster]}", f"{NAMES[problem.data]}, {cluster}"
            cells = study.cells(problem, cluster)
            tuned = study.cells(problem, cluster, tuned=True)
            blocks[name] = tables.compared(problem, cells) if cells else NOTHING
            blocks[f"{name}-tuned"] = tables.compared(problem, tuned, rates=True) if tuned else NOTHING
            if cells:
                panels.append((title, cells))
                files.append(plots.curves(folder / f"curves-{name}.png", title, problem, cells))
                files.append(plots.staleness(folder / f"staleness-{name}.png", title, cells))
    for name, (problem, cluster) in grid.AXES.items():
        cells = study.cells(problem, cluster)
        blocks[name] = tables.compared(problem, cells) if cells else NOTHING
        own = [cell for cell in study.cells(problem, cluster, tuned=True) if cell.policy == "delayed"]
        blocks[f"{name}-tuned"] = tables.compared(problem, own, rates=True) if own else NOTHING
    if panels:
        files.append(plots.trade(folder / "trade.png", panels))
        files.append(plots.utilisation(folder / "utilisation.png", panels))
    blocks["summary"] = tables.summary(panels) if panels else NOTHING
    pairs = real.pairs(study)
    blocks["agreement"] = tables.agreement(pairs) if pairs else NOTHING
    blocks["measured"] = real.described(pairs) if pairs else NOTHING
    if pairs:
        files.append(plots.agreement(folder / "agreement.png", pairs))
    return blocks, files
