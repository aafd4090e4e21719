"""A reproducible run gives the same bytes, whoever computes what, how fast, and how often it must be done again."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from evener.core import commands as c
from evener.runtime.place import Slowness
from evener.simulation.cluster import Cluster, Host
from evener.trace import EndLine
from evener.training.chance import Seeds
from evener.training.order import SamplerOrder
from evener.training.reproducible import Slate, check_deterministic, too_few
from evener.training.store import FlatStore
from evener.training.working import likely_sizes

from .harness import Launch, Run

# All that is random, or depends on the micro-batch: the weights' start, dropout, BatchNorm, and what the data set does
# to a sample, with three libraries. Nobody sets a seed.
SCRIPT = """
import random
import numpy

name, loaders, dies = sys.argv[1], int(sys.argv[2]), sys.argv[3]
session = evener.join()


class Shaken(Dataset):
    def __init__(self):
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(241, 1, 8, 8, generator=generator)
        self.y = torch.randint(0, 5, (241,), generator=generator)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        x = self.x[i] + 0.1 * torch.randn(1, 8, 8)
        if random.random() < 0.5:
            x = x.flip(-1)
        return x * float(numpy.random.uniform(0.9, 1.1)), self.y[i]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(144, 5)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls += 1
        seen = self.norm.running_mean.sum() + self.calls
        h = nn.functional.dropout(self.norm(self.conv(x)).relu().flatten(1), 0.3)
        return self.out(h * (1 + 1e-3 * seen))


model = Net()
make = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name]
optimizer = make(model.parameters(), lr=0.05, weight_decay=0.1, **({"momentum": 0.9} if name == "sgd" else {}))
loader = DataLoader(Shaken(), batch_size=96, shuffle=True, num_workers=loaders)
model, optimizer, loader = session.prepare(model, optimizer, loader, clip_norm=1.0)
batches = 0
for epoch in session.epochs(3):
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        batches += 1
        if dies == me and batches == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.step()
        session.log(loss=loss)
keep(state=state(model))
"""

REPRODUCIBLE = {"micro_batch": 8, "seed": 5}
"""Of a batch of 96: twelve a step, so that a slow worker is of use; the remainder of 49 ends with one of 9."""
Result = tuple[str, dict[str, torch.Tensor], list[float | None]]
KNOWN: dict[str, Result] = {}


def started(
    launch: Launch,
    optimizer: str = "sgd",
    workers: int = 1,
    loaders: int = 0,
    dies: str = "nobody",
    shares: tuple[float, ...] = (),
    script: str = SCRIPT,
    **place: int,
) -> Run:
    run = launch(script, workers=workers, bound=0, start=False, place={**REPRODUCIBLE, **place})
    arguments = optimizer, str(loaders), dies
    run.server(*arguments)
    for index in range(workers):
        slowness = Slowness("throttle", shares[index]) if shares else None
        run.worker(index, *arguments, slowness=slowness)
    return run


def result(run: Run) -> Result:
    """Fingerprint, parameters with statistics, and the losses that workers logged, of a run that ended well."""
    codes = run.wait()
    assert codes["server"] == 0, run.told("the server failed")
    run.proved()
    last = run.lines()[-1]
    assert isinstance(last, EndLine)
    assert last.end.ok, run.told("it did not end well")
    assert last.end.parameters_sha256 is not None
    losses = [note.values["loss"] for note in run.logs("workers")]
    assert len(losses) == 3
    return last.end.parameters_sha256, run.kept("server")["state"], losses


def expected(launch: Launch, optimizer: str = "sgd") -> Result:
    """One worker's."""
    if optimizer not in KNOWN:
        KNOWN[optimizer] = result(started(launch, optimizer))
    return KNOWN[optimizer]


def same(ours: Result, theirs: Result) -> bool:
    tensors = all(torch.equal(ours[1][name], theirs[1][name]) for name in theirs[1])
    assert (ours[0] == theirs[0]) == tensors, "the fingerprint tells whether they are the same"
    return tensors and ours[2] == theirs[2]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("workers", [2, 3, 5])
def test_any_number_of_workers(launch: Launch, optimizer: str, workers: int) -> None:
    run = started(launch, optimizer, workers)
    assert same(result(run), expected(launch, optimizer))
    assert len(run.applied_by()) > 1, "only one took part"


def test_again(launch: Launch) -> None:
    assert same(result(started(launch)), expected(launch))


def test_unequal_speeds(launch: Launch) -> None:
    run = started(launch, workers=2, shares=(1.0, 0.25))
    assert same(result(run), expected(launch))
    assert len(run.applied_by()) == 2


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_worker_dies_half_way(launch: Launch, optimizer: str) -> None:
    run = started(launch, optimizer, workers=3, dies="worker1")
    assert same(result(run), expected(launch, optimizer))
    assert run.wait()["worker1"] == -9
    assert run.commands(c.Returned), "nothing was computed again"


@pytest.mark.parametrize("workers", [1, 3])
def test_loader_processes(launch: Launch, workers: int) -> None:
    assert same(result(started(launch, workers=workers, loaders=2)), expected(launch))


UNEQUAL = (Host(400.0, noise=0.2), Host(100.0, noise=0.2), Host(50.0, dies=1.0))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_simulated_run_gives_the_same(launch: Launch, optimizer: str) -> None:
    run = launch(SCRIPT, bound=0, start=False, place=REPRODUCIBLE)
    cluster = msgspec.to_builtins(Cluster(UNEQUAL, seed=3))
    run.server(optimizer, "0", "nobody", role="simulated", run="r", workers=len(UNEQUAL), cluster=cluster)
    run.wait()
    (run.folder / "simulated.pt").rename(run.folder / "server.pt")
    assert same(result(run), expected(launch, optimizer))
    assert len(run.applied_by()) == 3, "only some took part"


def test_another_seed_or_micro_batch_is_another_run(launch: Launch) -> None:
    assert not same(result(started(launch, seed=6)), expected(launch))
    assert not same(result(started(launch, micro_batch=12)), expected(launch))


# A worker draws more than another before its first batch, as one does whose probe lasts longer.
DRAWS_BY_HAND = """
import random

session = evener.join()
torch.manual_seed(3)
model = nn.Linear(4, 1)
model.register_forward_hook(lambda *_: [random.random() for _ in range(index + 1)] and None)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loader = DataLoader(TensorDataset(torch.randn(240, 4)), batch_size=96)
before = random.getstate(), torch.get_rng_state()
model, optimizer, loader = session.prepare(model, optimizer, loader)
untouched = random.getstate() == before[0] and torch.equal(torch.get_rng_state(), before[1])
{after_prepare}
for epoch in session.epochs(3):
    {in_epoch}
    for (x,) in loader:
        optimizer.zero_grad()
        loss = model(x + shift).square().mean()
        loss.backward()
        optimizer.step()
        session.log(loss=loss)
keep(state=state(model), untouched=untouched)
"""


@pytest.mark.parametrize("place", ["after_prepare", "in_epoch"])
def test_what_the_script_draws_between_batches(launch: Launch, place: str) -> None:
    draws = {"after_prepare": "pass", "in_epoch": "pass", place: "shift = torch.randn(4) + random.random()"}
    script = DRAWS_BY_HAND.format(**draws)
    run = started(launch, workers=2, script=script)
    assert same(result(run), result(started(launch, script=script)))
    assert len(run.applied_by()) == 2
    assert run.kept("worker1")["untouched"], "a seed that the script has set itself goes on after prepare()"


def test_nothing_is_left_of_the_micro_batch_before() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    model.register_buffer("own", torch.ones(2), persistent=False)
    store = FlatStore(model, model.parameters())
    packed = bytearray(store.statistics.pack())
    slate = Slate(Seeds(0), store, model)
    draws = []
    for position in (4, 8, 4):
        model(torch.randn(8, 3) + 5).sum().backward()
        model._buffers["own"] = torch.zeros(2)
        random.random()
        slate.wipe(1, position, packed)
        assert [parameter.grad for parameter in model.parameters()] == [None] * 4
        assert store.statistics.pack() == packed
        assert torch.equal(model.get_buffer("own"), torch.ones(2))
        draws.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert draws[0] == draws[2]
    assert not set(draws[0]) & set(draws[1])


def test_a_sampler_that_draws_in_ways_of_its_own() -> None:
    """It finds its random state set, and disturbs nobody's."""

    class Own(Sampler[int]):
        def __len__(self) -> int:
            return 9

        def __iter__(self) -> Iterator[int]:
            return iter([random.randrange(9), *np.random.permutation(9).tolist(), *torch.randperm(9).tolist()])

    loader = DataLoader(TensorDataset(torch.zeros(9)), sampler=Own(), batch_size=3)
    random.seed(1)
    expected = random.random()
    random.seed(1)
    first = SamplerOrder(loader, 3, reproducible=True)(0)
    assert random.random() == expected
    assert SamplerOrder(loader, 3, reproducible=True)(0) == first
    assert SamplerOrder(loader, 3, reproducible=True)(1) != first
    assert SamplerOrder(loader, 4, reproducible=True)(0) != first


def test_a_sampler_with_a_generator_of_its_own_leaves_the_global_ones_alone() -> None:
    """Even putting them back would rewind what the script draws at that moment, beside it."""

    class Own(Sampler[int]):
        generator = torch.Generator()

        def __len__(self) -> int:
            return 9

        def __iter__(self) -> Iterator[int]:
            found.extend([random.random(), float(np.random.random()), torch.rand(1).item()])
            return iter(torch.randperm(9, generator=self.generator).tolist())

    def script() -> list[float]:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        return [random.random(), float(np.random.random()), torch.rand(1).item()]

    found: list[float] = []
    loader = DataLoader(TensorDataset(torch.zeros(9)), sampler=Own(), batch_size=3)
    expected = script()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    SamplerOrder(loader, 3, reproducible=True)(0)
    assert found == expected


@pytest.mark.parametrize("reproducible", [False, True])
def test_any_seed_gives_an_order(reproducible: bool) -> None:
    loader = DataLoader(TensorDataset(torch.zeros(99)), shuffle=True, batch_size=3)
    orders = [SamplerOrder(loader, seed, reproducible)(epoch) for seed in (2**43, 2**63 - 1) for epoch in (0, 1)]
    assert all(sorted(order) == list(range(99)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize(("batch", "blocks"), [(96, 3), (97, 3), (98, 4), (100, 4), (31, 1), (1, 1)])
def test_too_few_micro_batches_are_counted_as_they_are_cut(batch: int, blocks: int) -> None:
    assert too_few(batch, 32, blocks) == ""
    assert too_few(batch, 32, blocks + 1).startswith(f"a step has {blocks} micro-batch")


@pytest.mark.parametrize(("batch", "sizes"), [(96, (32,)), (97, (32, 33)), (100, (4, 32)), (20, (20,))])
def test_the_sizes_that_will_come_are_warmed_up(batch: int, sizes: tuple[int, ...]) -> None:
    assert likely_sizes(batch, workers=2, micro_batch=32) == sizes


@pytest.mark.parametrize("text", ["out of memory", "mat1 and mat2 shapes cannot be multiplied"])
def test_other_errors_of_the_probe_are_nobodys_business(text: str) -> None:
    check_deterministic(RuntimeError(text))


NO_DETERMINISTIC_FORM = """
session = evener.join()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Linear(4, 4)

    def forward(self, x):
        x = self.into(x)[:, None]
        return nn.functional.max_unpool1d(*nn.functional.max_pool1d(x, 2, return_indices=True), 2)


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loader = DataLoader(TensorDataset(torch.randn(64, 4)), batch_size=32)
model, optimizer, loader = session.prepare(model, optimizer, loader)
for epoch in session.epochs(1):
    for (x,) in loader:
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
"""


def test_an_operation_without_deterministic_form_is_named_before_training(launch: Launch) -> None:
    run = launch(NO_DETERMINISTIC_FORM, workers=1, bound=0, place=REPRODUCIBLE)
    assert run.wait("worker0")["worker0"] == 1
    assert_named(run.err("worker0"), "max_unpool")
    assert run.commands(c.Grant) == []


def test_in_a_simulated_run_too(launch: Launch) -> None:
    run = launch(NO_DETERMINISTIC_FORM, bound=0, start=False, place=REPRODUCIBLE)
    run.server(role="simulated", run="r", cluster=msgspec.to_builtins(Cluster(UNEQUAL)))
    assert run.wait() == {"server": 1}
    assert_named(run.err("server"), "max_unpool")
    assert not (run.folder / "record" / "record.jsonl").exists()


def test_one_in_the_loss_is_named_in_the_first_micro_batch(launch: Launch) -> None:
    loss = "torch.zeros(8).put_(torch.arange(4), model(x).detach().flatten()[:4]).sum() + "
    script = NO_DETERMINISTIC_FORM.replace("return nn.functional.max_unpool1d", "return (lambda x, *_: x)")
    assert loss not in script
    run = launch(
        script.replace("model(x).square()", f"({loss}model(x)).square()"), workers=1, bound=0, place=REPRODUCIBLE
    )
    assert run.wait("worker0")["worker0"] == 1
    assert_named(run.err("worker0"), "put_")


def assert_named(shown: str, operation: str) -> None:
    assert re.match(rf"evener: script.py, line \d+: '{operation}\w*' has no deterministic form", shown)
    assert "--reproducible" in shown
    assert shown.count("\n") == 1, "a line, and no traceback"


def test_without_the_mode_it_trains(launch: Launch) -> None:
    run = launch(NO_DETERMINISTIC_FORM, workers=1, bound=0)
    run.succeed()
