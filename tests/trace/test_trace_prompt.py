"""A record for somebody who acts on it is written line by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from evener.core import events as e
from evener.core.policies import Balanced
from evener.core.state import Settings
from evener.trace import Tail, Writer


@pytest.mark.parametrize(("every", "seen"), [(0.0, 3), (10.0, 1)])
def test_each_line_can_be_read_at_once(tmp_path: Path, every: float, seen: int) -> None:
    tail = Tail(tmp_path)
    with Writer(tmp_path, every=every) as writer:
        writer.header(run="r", settings=Settings(batch=8, epochs=1), policy=Balanced(), parameters=1)
        for t in (0.1, 0.1):
            writer.event(t, e.Tick(), [])
        assert len(tail.lines()) == seen
    assert seen + len(tail.lines()) == 3
    tail.close()
