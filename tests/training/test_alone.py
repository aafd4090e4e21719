"""The script without a launcher: plain training in one process."""

from __future__ import annotations

import re
import subprocess
import sys

import torch

from . import problem
from .harness import HERE, Launch
from .test_equality import SCRIPT


def test_it_is_a_plain_loop(launch: Launch) -> None:
    run = launch(SCRIPT, start=False)
    run.alone("sgd", "keep", "0.5")
    expected = problem.plain("sgd", False, 0.5)
    run.succeed()
    state = run.kept("alone")["state"]
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.state_dict().items())
    assert len(re.findall(r"^epoch \d/5", run.out("alone"), re.MULTILINE)) == problem.EPOCHS


COUNTED = """
session = evener.join()
assert session.is_server and isinstance(session.device, torch.device)
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
each_epoch = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
loader = DataLoader(Positions(100), batch_size=30)
model, optimizer, loader = session.prepare(model, optimizer, loader, epoch_scheduler=each_epoch)
rates = []
for epoch in session.epochs(3):
    for number, positions in enumerate(loader):
        optimizer.zero_grad()
        (0 * model(positions[:, None].float())).mean().backward()
        optimizer.step()
        session.log(number=number, epoch=torch.tensor(epoch))
        if epoch == 1:
            break
    if epoch == 0:
        assert sum(len(positions) for positions in loader) == 100  # once more, to look at it
    rates.append(optimizer.param_groups[0]["lr"])
keep(rates=[*rates, optimizer.param_groups[0]["lr"]])
"""


def test_an_epoch_is_counted_once_however_it_is_left(launch: Launch) -> None:
    run = launch(COUNTED, start=False)
    run.alone()
    run.succeed()
    # Stepped when the batches are through, or, of an epoch that was cut short, when it ends.
    assert run.kept("alone")["rates"] == [0.5, 0.5, 0.125, 0.125]
    lines = [re.sub(r"\(\d+\.\d s\)", "(time)", line) for line in run.out("alone").splitlines()]
    assert lines == [
        "epoch 1/3  number 1.5  epoch 0  (time)",
        "epoch 2/3  number 0  epoch 1  (time)",
        "epoch 3/3  number 1.5  epoch 2  (time)",
    ]


def test_as_python_starts_it(launch: Launch) -> None:
    run = launch(COUNTED, start=False)
    command = [sys.executable, str(run.script)]
    result = subprocess.run(
        command,
        cwd=run.folder,
        env={"PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("epoch ") == 6
