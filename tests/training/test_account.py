"""What the server writes into the record beside events and commands."""

from __future__ import annotations

from typing import Any, cast

from evener.runtime.place import Place
from evener.trace import Writer
from evener.training.account import Account, EpochEnd
from evener.training.master import Snapshot


class Kept:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.notes: list[dict[str, Any]] = []

    def note(self, now: float, kind: str, **values: Any) -> None:
        self.notes.append({"kind": kind, **values})


def test_a_target_that_both_threads_reach_at_once_is_noted_once() -> None:
    end = EpochEnd(Snapshot(epoch=0, version=1, data=memoryview(b"")), samples=8, at=1.0)

    class Interrupted(float):
        """While one thread compares it, the other notes one that is as good."""

        def __ge__(self, wanted: float) -> bool:
            account.note(2.0, end, {"accuracy": 0.95}, "workers")
            return float(self) >= wanted

    writer = Kept()
    place = Place(role="server", address="", token="", run="a", targets={"accuracy": 0.9})
    account = Account(cast(Writer, writer), place)
    account.note(1.0, end, {"accuracy": Interrupted(0.92)})
    account.note(3.0, end, {"accuracy": 0.99})
    assert [note["reached"] for note in writer.notes if note["kind"] == "target"] == [0.95]
