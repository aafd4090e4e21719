"""A report: one HTML file about one run or several, made from their records. Needs Bokeh (``evener[report]``).

:mod:`~evener.observe.report.story` reads a record, :mod:`~evener.observe.report.figures` makes charts of it, and
:mod:`~evener.observe.report.page` the page. Only those two need Bokeh.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..levels import ROOM
from .story import Story, labels, tell

__all__ = ["Story", "labels", "tell", "write"]


def write(records: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]) -> list[Story]:
    """Write the report on ``records`` (run folders) to ``output``; returns what it tells.

    Raises:
        RecordError: there is no record, or none that this version reads. Nothing is written.
        ImportError: Bokeh is not installed.
        OSError: ``output`` cannot be written.
    """
    from .page import page

    paths = [Path(record) for record in records]
    stories = [tell(path, label, ROOM // len(paths)) for path, label in zip(paths, labels(paths), strict=True)]
    Path(output).write_text(page(stories), "utf-8")
    return stories
