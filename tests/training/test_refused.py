"""Bad input gets an error that says what happened, and what to do."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import evener
from evener.core import commands as c
from evener.core import events as e
from evener.runtime.place import PolicyChoice
from evener.simulation.cluster import Cluster, Host
from evener.trace import WarningNote

from .harness import Launch, says

DATA = TensorDataset(torch.randn(40, 2))


class Endless(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(10))


class Unmeasured(torch.utils.data.Sampler[int]):
    def __iter__(self) -> Any:
        return iter(range(10))


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1)


def loader(**options: Any) -> DataLoader[Any]:
    return DataLoader(DATA, **{"batch_size": 8, **options})


# What is wrong with the call, whatever part a process has in the run ----------------------------------------

CALLS: dict[str, tuple[Callable[[nn.Module], tuple[Any, ...]], type[Exception], str]] = {
    "no model": (lambda m: (sgd, sgd(m), loader()), TypeError, "takes a torch.nn.Module first, not function"),
    "two optimizers": (
        lambda m: (m, [sgd(m), sgd(m)], loader()),
        TypeError,
        "takes one optimizer, not 2: use parameter groups of one optimizer instead",
    ),
    "no optimizer": (
        lambda m: (m, None, loader()),
        TypeError,
        "takes a torch.optim.Optimizer second, not NoneType",
    ),
    "LBFGS": (
        lambda m: (m, torch.optim.LBFGS(m.parameters()), loader()),
        ValueError,
        r"evaluates a closure several times a step, which is not supported: use SGD or Adam\(W\)",
    ),
    "no loader": (
        lambda m: (m, sgd(m), [1]),
        TypeError,
        "takes a torch.utils.data.DataLoader third, not list",
    ),
    "iterable": (
        lambda m: (m, sgd(m), DataLoader(Endless(), batch_size=2)),
        ValueError,
        r"is an IterableDataset, which has no length and no positions.*Use a map-style data set",
    ),
    "no length": (
        lambda m: (m, sgd(m), loader(sampler=Unmeasured())),
        ValueError,
        "the loader has no length: its data set and its sampler need __len__",
    ),
    "batch sampler": (
        lambda m: (
            m,
            sgd(m),
            DataLoader(DATA, batch_sampler=[[1, 2]]),
        ),
        ValueError,
        "needs a batch_size .* and no batch_sampler of its own; a sampler is fine",
    ),
    "no batch": (lambda m: (m, sgd(m), loader(batch_size=None)), ValueError, "the loader needs a batch_size"),
    "empty": (
        lambda m: (m, sgd(m), loader(sampler=[])),
        ValueError,
        "sampler is empty: there is nothing to train",
    ),
    "all dropped": (
        lambda m: (m, sgd(m), loader(batch_size=50, drop_last=True)),
        ValueError,
        "40 samples and a batch of 50 drops everything: make the batch smaller, or set drop_last=False",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_prepare(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENER_PLACE", raising=False)
    make, kind, text = CALLS[name]
    with pytest.raises(kind, match=text):
        evener.join().prepare(*make(nn.Linear(2, 1)))


def test_calls_out_of_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EVENER_PLACE", raising=False)
    session = evener.join()
    with pytest.raises(evener.ScriptError, match=r"epochs\(\) before prepare\(\): call session.prepare"):
        session.epochs(1)
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="clip_norm must be positive, not 0"):
        session.prepare(model, sgd(model), loader(), clip_norm=0)
    _, optimizer, _ = session.prepare(model, sgd(model), loader())
    with pytest.raises(evener.ScriptError, match=r"prepare\(\) was called already: a session trains one model"):
        session.prepare(model, sgd(model), loader())
    with pytest.raises(ValueError, match=r"epochs\(0\): at least one epoch is needed"):
        session.epochs(0)
    with pytest.raises(evener.ScriptError, match=r"step\(closure\) is not supported.*before optimizer.step\(\)"):
        optimizer.step(lambda: 0.0)
    with pytest.raises(evener.ScriptError, match="make all parameter groups before"):
        optimizer.add_param_group({"params": []})


def test_a_damaged_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENER_PLACE", '{"role": "king"}')
    with pytest.raises(ValueError, match=r"EVENER_PLACE does not describe a place .*unset it to run the script alone"):
        evener.join()


# What the server refuses ------------------------------------------------------------------------------------

SERVER = """
made = {
    "batch": lambda: (nn.Linear(2, 1), 2),
    "sync": lambda: (nn.Sequential(nn.Linear(2, 2), nn.SyncBatchNorm(2)), 8),
    "instance": lambda: (nn.Sequential(nn.Linear(2, 2), nn.InstanceNorm1d(2, track_running_stats=True)), 8),
    "dtypes": lambda: (nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()), 8),
    "port": lambda: (nn.Linear(2, 1), 8),
}
texts = {}
for name, make in made.items():
    model, batch = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(TensorDataset(torch.randn(40, 2)), batch_size=batch)
    try:
        evener.join().prepare(model, optimizer, loader)
    except Exception as error:
        texts[name] = f"{type(error).__name__}: {error}"
keep(**texts)
"""


def test_what_the_server_refuses(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        run = launch(SERVER, workers=3, start=False, place={"address": address})
        run.server()
        run.succeed()
    texts = run.kept("server")
    assert texts["batch"] == (
        "ScriptValueError: the batch of 2 samples is smaller than the 3 workers: the loader's batch_size is the "
        "global batch; make it at least as large, or use fewer workers"
    )
    assert texts["sync"].startswith(
        "ScriptValueError: '1' is SyncBatchNorm, which needs a process group of equals. Use"
    )
    assert "InstanceNorm with track_running_stats=True is not supported; set it to False" in texts["instance"]
    assert "must share one floating dtype and one device, but are: torch.float32 on cpu" in texts["dtypes"]
    assert re.match(
        f"PortInUseError: cannot listen on {address}: Address already in use.* Choose another", texts["port"]
    )


# What a worker's script does wrong --------------------------------------------------------------------------

WORKER = """
wrong = sys.argv[1]
session = evener.join()
model = nn.Embedding(2000, 5 if wrong == "model" else 3, sparse=wrong == "sparse")
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(Positions(2000), batch_size=40)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(3 if wrong == "epochs" else 2):
    for positions in loader:
        if wrong == "none" and epoch == 0:
            wait_for("the others")
            wrong = "nothing"
        if wrong == "rate":
            optimizer.param_groups[0]["lr"] = 0.2
        optimizer.zero_grad()
        model(positions).square().sum(1).mean().backward()
        closure = (lambda: 0.0) if wrong == "closure" else None
        optimizer.step(closure, weight=-1 if wrong == "weight" else None)
        if wrong == "twice":
            optimizer.step()
"""

TEXTS = {
    "model": "the model differs: 'weight' is float32 (2000, 3), trained, on the server but float32 "
    "(2000, 5), trained here. Every process must build the same model.",
    "epochs": "epochs(3) here, but the server's script asked for 2: use the same number",
    "rate": "the optimizer's parameter groups were changed on a worker, where they have no "
    "effect: the server steps. Pass schedulers to session.prepare(..., step_scheduler=…, epoch_scheduler=…).",
    "sparse": "parameter 0 has a sparse gradient, which is not supported: use sparse=False",
    "twice": "optimizer.step() without a new batch: each batch is contributed once, in the loop over the loader",
    "closure": "optimizer.step(closure) is not supported",
    "weight": "optimizer.step(weight=-1.0): a weight is positive (what the loss is a mean over)",
    "token": "refused this run's token: is another run listening on that port?",
    "run": "this server runs run0, not another",
}

IN_THE_SCRIPT = {"epochs", "rate", "sparse", "twice", "closure", "weight"}
LINE = r"script\.py, line \d+: "


def test_what_a_worker_does_wrong_costs_the_others_nothing(launch: Launch) -> None:
    run = launch(WORKER, policy="asynchronous", workers=1, start=False, gates=["the others"])
    run.server("none")
    run.worker(0, "none")
    run.wait_line(says(e.Joined, 0))
    names = {}
    for index, wrong in enumerate(TEXTS, 1):
        places = {"token": {"token": "guess"}, "run": {"run": "another"}}
        run.worker(index, wrong, **places.get(wrong, {}))
        names[wrong] = f"worker{index}"
    codes = run.wait(*names.values())
    assert {codes[name] for name in names.values()} == {1}, run.told("some did not notice")
    for wrong, text in TEXTS.items():
        # About the run, or about a line of the script: a traceback would only hide it.
        assert text in run.err(names[wrong])
        where = LINE if wrong in IN_THE_SCRIPT else ""
        assert re.fullmatch(rf"evener: {where}[^\n]+\n", run.err(names[wrong]))
    run.let("the others")
    run.wait()
    assert run.end() == (True, "complete")
    accounting = run.proved()
    assert (accounting.complete, accounting.total("applied")) == (True, 4000)
    warnings = [note.text for note in run.notes(WarningNote)]
    assert warnings.count("refused: a connection without this run's token (from 127.0.0.1)") == 1
    assert sum(text.startswith(("refused: the model differs", "refused: this server runs")) for text in warnings) == 2


REFUSED = {
    "push": "evener: the policy asynchronous cannot be used so: push must be 2 to 8 samples (the batch), not 9.\n",
    "clip": "evener: script.py, line 7: clip_norm must be positive, not -1\n",
}


@pytest.mark.parametrize("wrong", REFUSED)
@pytest.mark.parametrize("role", ["server", "simulated"])
def test_what_is_refused_at_prepare_is_a_line(launch: Launch, role: str, wrong: str) -> None:
    script = f"""
    session = evener.join()
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(TensorDataset(torch.randn(40, 2)), batch_size=8)
    session.prepare(model, optimizer, loader, clip_norm={-1 if wrong == "clip" else None})
    """
    place = {"policy": PolicyChoice("asynchronous", {"push": 9 if wrong == "push" else 4})}
    run = launch(script, start=False, place=place)
    run.server(role=role, cluster=msgspec.to_builtins(Cluster((Host(100.0),))))
    assert run.wait() == {"server": 1}
    assert run.err("server") == REFUSED[wrong]


# Contributions that are not finite --------------------------------------------------------------------------

NAN = """
session = evener.join()
model = nn.ParameterList([nn.Parameter(torch.zeros(2000, dtype=torch.float64))])
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
loader = DataLoader(Positions(2000), batch_size=40)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(1):
    for positions in loader:
        optimizer.zero_grad()
        loss = model[0][positions].mean()
        if sys.argv[1] == "all" or (positions % 700 == 9).any():
            loss = loss * float("nan")
        loss.backward()
        optimizer.step()
keep(weights=model[0].detach().clone())
"""


@pytest.mark.parametrize(("policy", "options"), [("balanced", {"bound": 1}), ("asynchronous", {})])
def test_a_contribution_of_nan_is_refused_and_counted(launch: Launch, policy: str, options: dict[str, float]) -> None:
    run = launch(NAN, "some", policy=policy, **options)
    run.succeed()
    weights = run.kept("server")["weights"]
    assert bool(weights.isfinite().all())
    accounting = run.proved()
    refused = int((weights == 0).sum())
    assert {9, 709, 1409} <= set((weights == 0).nonzero().flatten().tolist())
    assert (accounting.total("refused"), accounting.total("applied")) == (refused, 2000 - refused)
    whys = {discard.why for discard in run.commands(c.Discard) if discard.refused}
    assert whys == {"its gradient has values that are not finite (NaN or infinite)"}


def test_a_run_of_nan_stops_with_the_reason(launch: Launch) -> None:
    run = launch(NAN, "all")
    assert run.wait("server")["server"] == 1
    reason = "every contribution was refused: its gradient has values that are not finite (NaN or infinite)"
    assert run.end() == (False, reason)
    assert run.err("server") == f"evener: {reason}\n"
    run.wait()
    assert run.proved().counted_once
