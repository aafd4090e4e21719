"""Profiles of scripts: each runs up to ``prepare`` in a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evener.launch import LaunchError, ProfileOptions, StoppedError, measure_profile
from evener.simulation.profile import Profile

from .conftest import Kept

SCRIPT = """
import sys
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import evener

session = evener.join()
model = nn.Linear(6, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
data = TensorDataset(torch.randn(90, 6), torch.randint(0, 2, (90,)))
loader = DataLoader(data, batch_size=int(sys.argv[1]))
model, optimizer, loader = session.prepare(model, optimizer, loader)
Path("after").touch()
"""

Make = Callable[[str], Path]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a script of the given body, in the current folder."""
    monkeypatch.chdir(tmp_path)

    def make(body: str) -> Path:
        path = tmp_path / "train.py"
        path.write_text(body)
        return path

    return make


def measured(path: Path, *arguments: str, **options: Any) -> Profile:
    asked = ProfileOptions(script=path, arguments=arguments, quick=True, threads=1, **options)
    return measure_profile(asked, Kept())


def test_a_script_is_measured_and_goes_no_further(script: Make) -> None:
    profile = measured(script(SCRIPT), "24", sizes=(24, 8, 24))
    assert list(profile.medians) == [8, 24]
    assert (profile.batch, profile.machine.threads, profile.parameters) == (24, 1, 14)
    assert not Path("after").exists()


def test_what_the_script_makes_impossible(script: Make) -> None:
    with pytest.raises(LaunchError, match="33 samples is larger than the script's batch of 32"):
        measured(script(SCRIPT), "32", sizes=(33,))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("print('hello')", "ended without preparing anything"),
        ("import evener; evener.join()", "ended without preparing anything"),
        ("raise SystemExit(5)", "ended with exit code 5. What it printed is above"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "was ended by SIGKILL"),
    ],
)
def test_scripts_that_prepare_nothing(script: Make, body: str, says: str) -> None:
    with pytest.raises(LaunchError, match=says):
        measured(script(body))


def test_what_is_known_beforehand(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="does not exist"):
        measured(tmp_path / "none.py")
    (tmp_path / "train.py").touch()
    with pytest.raises(LaunchError, match="at least 1 sample, not 0"):
        measured(tmp_path / "train.py", sizes=(0, 8))


def test_a_signal_ends_it(script: Make) -> None:
    path = script(f"import os, signal\nos.kill({os.getpid()}, signal.SIGTERM)\nwhile True: signal.pause()")
    with pytest.raises(StoppedError) as stopped:
        measured(path)
    assert stopped.value.code == 128 + signal.SIGTERM
