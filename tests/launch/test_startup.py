"""From ``evener run`` to the first step: what is ours of it is short."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = """
import torch
from torch.utils.data import DataLoader, TensorDataset
import evener

session = evener.join()
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
loader = DataLoader(TensorDataset(torch.randn(64, 4), torch.randn(64, 1)), batch_size=32)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(1):
    for x, y in loader:
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
"""


@pytest.fixture
def startup(tmp_path: Path) -> dict[str, float]:
    """What ``--json`` says of the start, after what a clock beside it says was checked."""
    (tmp_path / "tiny.py").write_text(SCRIPT)
    command = [sys.executable, "-c", "from evener.cli import main; raise SystemExit(main())"]
    began = time.monotonic()
    subprocess.run([*command, "run", "tiny.py", "--workers", "2", "--json", "out.json"], cwd=tmp_path, check=True)
    seconds = time.monotonic() - began
    found: dict[str, float] = json.loads((tmp_path / "out.json").read_text())["startup_s"]
    assert 0 < found["imports"] < found["total"] < seconds
    assert found["probe"] >= 0  # none where the server, which has none, was ready last
    return found


def test_the_first_step_comes_soon(startup: dict[str, float]) -> None:
    assert startup["total"] == pytest.approx(startup["imports"] + startup["probe"] + startup["rest"])
    # Imports are slowed by what else the machine does, too: they are some twenty times what we add to them.
    assert 0 <= startup["rest"] < startup["imports"]
