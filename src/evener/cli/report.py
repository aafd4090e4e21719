"""``evener report``: one HTML file that shows what happened in a run, or in several, and why."""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

MOST = 6
"""Runs of one report: more cannot be told apart in a chart."""

MISSING = "it draws its charts with Bokeh, which is not installed: pip install 'evener[report]'"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add this verb's arguments."""
    parser.usage = "evener report DIR [DIR ...] [-o FILE]"
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="a run folder, or its record.jsonl")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the HTML file to write (default: report.html in the run folder; of several runs, in this one)",
    )


def execute(options: argparse.Namespace) -> int:
    """Write the report, and say where it is."""
    from ..trace import RecordError, record_path

    folders: list[Path] = options.folders
    output: Path = options.output or (
        record_path(folders[0]).parent / "report.html" if len(folders) == 1 else Path("report.html")
    )
    if problem := _problem(folders, output):
        return _fail(problem)
    from ..observe import report

    try:
        stories = report.write(folders, output)
    except RecordError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"the report cannot be written to {output}: {error.strerror or error}")
    for story in stories:
        if story.faults.broken is not None:
            number, why = story.faults.broken
            where = "ends in the middle of" if story.accounting.truncated else "cannot be read at"
            said = f"the record of {story.label} {where} line {number} ({why}); the report says so"
            print(f"evener report: {said}", file=sys.stderr)
    size = output.stat().st_size / 1e6
    print(f"{output} ({size:.1f} MB): open it in a browser; it needs no network")
    return 0


def _problem(folders: list[Path], output: Path) -> str:
    if find_spec("bokeh") is None:
        return MISSING
    if len(folders) > MOST:
        return f"at most {MOST} runs fit in one report, not {len(folders)}"
    if output.is_dir():
        return f"-o {output} is a folder. Give the name of a file."
    if not output.absolute().parent.is_dir():
        return f"there is no folder {output.parent} for the report. Make it, or give another file with -o."
    from ..trace import FILE

    if output.name == FILE or output.suffix == ".jsonl":
        return f"-o {output} would be written over a record. Give the name of an HTML file."
    return ""


def _fail(problem: str) -> int:
    print(f"evener report: error: {problem}", file=sys.stderr)
    return 2
