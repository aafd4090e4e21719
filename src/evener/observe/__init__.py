"""Looks at runs: while they go on (:class:`LiveView`) and afterwards (:func:`summarise`, :func:`render`).

Everything here reads the run record, and nothing else: what it shows can be checked, and shown again later.
"""

from .live import LiveView
from .summary import RunSummary, WorkerSummary, demo, speedup, summarise
from .table import render

__all__ = ["LiveView", "RunSummary", "WorkerSummary", "demo", "render", "speedup", "summarise"]
