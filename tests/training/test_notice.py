"""What torchrun's store tells of a job's run, while its host is there and when it is not."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta

import pytest
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from evener.runtime.engines import Task
from evener.training import notice
from evener.training.notice import Notice

PATIENCE = 30.0
"""Seconds."""


def task(port: int) -> Task:
    agent = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "RANK": "1", "WORLD_SIZE": "2"}
    found = Task.here({**agent, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    assert found is not None
    assert found.store == ("127.0.0.1", port)
    return found


def test_a_run_is_over_when_somebody_has_left_word() -> None:
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    here = task(store.port)
    late, first = Notice(here), Notice(here)
    assert not late.found()
    first.leave()
    assert late.found()


def test_a_host_that_answers_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notice, "CONNECT", timedelta(seconds=0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # its system takes connections, as that of a hung process
        late = Notice(task(silent.getsockname()[1]))
        found: list[bool] = []
        asking = threading.Thread(target=lambda: found.extend(late.found() for _ in range(3)), daemon=True)
        asking.start()
        asking.join(PATIENCE)
        assert found == [False] * 3
