"""The disk of a run's folder hangs in the middle of the run, and comes back when everybody has the final weights."""

from __future__ import annotations

from .harness import Launch
from .test_exactly_once import SCRIPT, counted_once

DISK = """
import io, pathlib

class Hangs(io.FileIO):
    hung = False

    def write(self, data):
        if self.tell() > 4000 and not Hangs.hung:
            Hangs.hung = True
            let("hangs")
            wait_for("disk")
        return super().write(data)

usual = pathlib.Path.open
pathlib.Path.open = lambda path, mode="r", *more, **ways: (
    Hangs(path, "xb") if (role, path.name, mode) == ("server", "record.jsonl", "xb")
    else usual(path, mode, *more, **ways)
)
at_batch = lambda number: None
"""


def test_training_does_not_wait_for_it(launch: Launch) -> None:
    run = launch(DISK + SCRIPT, gates=["hangs", "disk"], start=False, bound=1)
    run.server(checkpoint_every=0.02)
    for index in range(2):
        run.worker(index)
    run.wait_for("hangs")
    record = run.folder / "record" / "record.jsonl"
    size = record.stat().st_size
    codes = run.wait("worker0", "worker1")
    assert (codes["worker0"], codes["worker1"]) == (0, 0)
    assert "server" not in codes
    assert record.stat().st_size == size, "nothing was written meanwhile"
    run.let("disk")
    run.succeed()
    counted_once(run, "balanced")
    assert run.end() == (True, "complete")
