"""The user's data set, sampler, collate function and loading options, fed with tickets."""

from __future__ import annotations

import pytest
import torch

from .harness import Launch

COUNT, BATCH, EPOCHS = 190, 24, 2

SCRIPT = f"""
class Kept(Positions):
    opened = None

    def __getitem__(self, position):
        assert self.opened == "opened by worker_init_fn", "a data set that was not opened"
        return super().__getitem__(position)

class Batched(Kept):
    def __getitems__(self, positions):
        assert positions, "the data set was asked for nothing"
        return [self[position] for position in positions]

class Rotated(torch.utils.data.Sampler):
    epoch = None

    def __iter__(self):
        return iter([(position * 7 + 50 * self.epoch) % {COUNT} for position in range({COUNT})])

    def __len__(self):
        return {COUNT}

    def set_epoch(self, epoch):
        self.epoch = epoch
        if role == "server":
            print("epoch", epoch, "drawn")

def collate(samples):
    assert samples, "the collate function was given nothing"
    return {{"positions": torch.stack(samples), "from": torch.utils.data.get_worker_info().id}}

def open_it(number):
    info = torch.utils.data.get_worker_info()
    assert info.dataset.count == {COUNT} and len(info.dataset) == {COUNT}
    info.dataset.opened = "opened by worker_init_fn"

session = evener.join()
model = nn.ParameterList([nn.Parameter(torch.zeros({COUNT}, dtype=torch.float64))])
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
data = Batched({COUNT}) if sys.argv[1] == "batched" else Kept({COUNT})
loader = DataLoader(
    data, batch_size={BATCH}, sampler=Rotated(), drop_last=True, num_workers=2, prefetch_factor=3,
    persistent_workers=sys.argv[1] == "batched", collate_fn=collate, worker_init_fn=open_it,
)
model, optimizer, loader = session.prepare(model, optimizer, loader)
assert len(loader) == {COUNT // BATCH} and len(loader.dataset) == {COUNT} and loader.batch_size == {BATCH}
origins = set()
for epoch in session.epochs({EPOCHS}):
    for batch in loader:
        optimizer.zero_grad()
        origins.add(batch["from"])
        model[0][batch["positions"]].mean().backward()
        optimizer.step()
keep(weights=model[0].detach().clone(), origins=origins)
"""


@pytest.mark.parametrize(("data", "bound"), [("batched", 0), ("single", 1)])
def test_options_are_kept_and_each_position_counts_once(launch: Launch, data: str, bound: int) -> None:
    run = launch(SCRIPT, data, bound=bound)
    run.succeed()
    used = COUNT - COUNT % BATCH
    expected = torch.zeros(COUNT, dtype=torch.float64)
    for epoch in range(EPOCHS):
        order = [(position * 7 + 50 * epoch) % COUNT for position in range(COUNT)]
        expected[order[:used]] -= 1 / BATCH
    torch.testing.assert_close(run.kept("server")["weights"], expected, rtol=1e-9, atol=0)
    accounting = run.proved()
    assert accounting.total("applied") == used * EPOCHS
    assert run.kept("worker0")["origins"] | run.kept("worker1")["origins"] == {0, 1}
    assert run.out("server") == "epoch 0 drawn\nepoch 1 drawn\n"
