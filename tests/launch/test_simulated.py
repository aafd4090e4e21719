"""Simulated runs, started: one process, the same bytes each time, and clear words when it goes wrong."""

from __future__ import annotations

import dataclasses
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from evener.launch import LaunchError, SimulateOptions, simulate
from evener.observe import summarise
from evener.runtime.place import PolicyChoice
from evener.simulation.cluster import Cluster, Host
from evener.trace import check, replay

from .conftest import Kept, Script, place_in

CLUSTER = Cluster((Host(200.0, noise=0.1), Host(100.0, noise=0.1), Host(100.0, joins=1.0)), seed=5)

TRAINS = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import evener

session = evener.join()
model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.Linear(8, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
x = torch.randn(200, 4)
loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=32, shuffle=True)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(2):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        session.log(loss=loss)
    session.log(test_accuracy=0.5 + 0.2 * epoch)
"""


def options(script: Path, **changes: Any) -> SimulateOptions:
    return SimulateOptions(script=script, cluster=CLUSTER, **changes)


def test_the_same_run_writes_the_same_bytes(tmp_path: Path, screen: Kept) -> None:
    script = tmp_path / "train.py"
    script.write_text(TRAINS)
    policy = PolicyChoice("balanced", {"look_ahead": True})
    asked = [options(script, seed=3, policy=policy, record=tmp_path / name) for name in ("one", "other")]
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(simulate, asked, [screen, Kept()]))
    assert [result.code for result in results] == [0, 0], screen.err
    one, other = (result.record.read_bytes() for result in results if result.record is not None)
    assert one == other
    assert check(tmp_path / "one").counted_once
    assert replay(tmp_path / "one") is None
    summary = summarise(tmp_path / "one")
    assert (summary.ok, summary.samples, summary.test_accuracy, summary.seed) == (True, 400, 0.7, 3)
    assert [worker.speed for worker in summary.workers] == [200.0, 100.0, 100.0]
    assert 400 / 400 < (summary.total_s or 0.0) < 400 / 100
    assert screen.followed == [results[0].record]
    assert screen.ended


def test_the_process_is_told_all(script: Script, screen: Kept) -> None:
    path = script("print(json.dumps(place)); record(); print(sys.argv[1:], os.environ['OMP_NUM_THREADS'])")
    asked = options(path, seed=4, arguments=("--epochs", "2"), targets={"loss": 0.5}, threads=2)
    result = simulate(asked, screen)
    assert result.code == 0
    place = place_in(screen.out[0])
    assert (place["role"], place["workers"], place["seed"], place["threads"]) == ("simulated", 2, 4, 2)
    assert place["targets"] == {"loss": 0.5}
    assert place["record"] == str(result.folder)
    cluster: Any = place["cluster"]
    assert len(cluster["hosts"]) == 3
    assert cluster["seed"] == 9
    assert screen.out[1] == "['--epochs', '2'] 2"
    # The run's name is the same for the same run, and another for another.
    again = simulate(dataclasses.replace(asked, record=path.parent / "again"), Kept())
    other = simulate(dataclasses.replace(asked, seed=5), Kept())
    assert result.run == again.run != other.run
    assert result.folder != again.folder


@pytest.mark.parametrize("micro_batch", [0, 8])
def test_fixed_kernels_where_it_is_reproducible(
    script: Script, screen: Kept, monkeypatch: pytest.MonkeyPatch, micro_batch: int
) -> None:
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")  # the user's own way of fixing it
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    names = "OMP_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "MKL_CBWR"
    path = script(f"record(); print(place.get('micro_batch', 0), [os.environ.get(name) for name in {names}])")
    balanced = PolicyChoice("balanced", {"bound": 0})
    assert simulate(options(path, policy=balanced, micro_batch=micro_batch), screen).code == 0
    fixed = ":4096:8" if micro_batch else None
    assert screen.out == [f"{micro_batch} {['1', fixed, 'COMPATIBLE']}"]


@pytest.mark.parametrize(
    ("body", "code", "says"),
    [
        ("raise OSError('the disk is full')", 1, "ended with exit code 1. What it printed is above."),
        ("record(); sys.exit(3)", 1, "ended with exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, "was ended by SIGKILL"),
        ("print('done')", 2, "there was nothing to simulate"),
    ],
)
def test_a_script_that_goes_wrong(script: Script, screen: Kept, body: str, code: int, says: str) -> None:
    result = simulate(options(script(body)), screen)
    assert result.code == code
    assert len(result.problems) == 1
    assert says in result.problems[0]
    assert screen.notes == [*result.problems]


def test_it_ends_when_it_is_asked_to(script: Script) -> None:
    class Interrupting(Kept):
        def show(self, text: str, error: bool) -> None:
            super().show(text, error)
            if text == "here":
                signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    screen = Interrupting()
    result = simulate(options(script("record(); print('here'); for_ever()")), screen)
    assert result.code == 128 + signal.SIGINT
    assert result.problems == ()
    assert screen.ended


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"script": Path("none.py")}, "none.py does not exist"),
        ({"policy": PolicyChoice("fastest")}, "there is no policy 'fastest'"),
        ({"policy": PolicyChoice("balanced", {"bond": 1})}, "no option 'bond'"),
        ({"targets": {"loss": float("nan")}}, "not a finite number"),
        ({"threads": 0}, "at least 1 thread"),
        ({"micro_batch": 8}, "balanced with bound 0"),
        ({"micro_batch": 1, "policy": PolicyChoice("balanced", {"bound": 0})}, "2 samples or more"),
    ],
)
def test_what_cannot_be_simulated(script: Script, changes: dict[str, Any], says: str) -> None:
    asked = dataclasses.replace(options(script("")), **changes)
    with pytest.raises(LaunchError, match=says):
        simulate(asked)


def test_no_record_is_overwritten(script: Script, screen: Kept) -> None:
    asked = options(script("record()"), record=Path("kept"))
    assert simulate(asked, screen).code == 0
    with pytest.raises(LaunchError, match="never overwritten"):
        simulate(asked, screen)
