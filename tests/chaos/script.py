"""The script that runs are made of: a small network on the digits and, beside it, one number for each sample.

The loss of those is the mean of the numbers in the batch: with plain SGD each must end at ``-epochs * lr / B``, or a
sample was lost or counted twice.
"""

from __future__ import annotations

BATCH, COUNT, RATE = 256, 1280, 1.0
"""No step is a remainder, so each sample counts the same in each epoch."""

RATES = {"balanced": 0.1, "synchronous": 0.1}
"""Learning rates of the network where little is stale."""

USUAL = 0.02
"""Where much is: momentum and staleness add up. At 0.1 undisturbed runs under ``stale`` differ by more than a point."""

_BODY = """
import math
import random

from evener.data import digits
from evener.runtime.sealed import Files

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                                  nn.Linear(256, 64), nn.ReLU(), nn.Linear(64, 10))
        self.times = nn.Parameter(torch.zeros(COUNT))

if JUMPS:  # the wall clock, by years, each time that somebody reads it
    wall, years = time.time, random.Random(index)
    time.time = lambda: wall() + years.uniform(-1e8, 1e8)

if DIES_IN and sys.argv[1:] == ["first"]:  # in the fourth checkpoint, before this is done
    whole, rename = [], Files.rename

    def renames(*arguments):
        rename(*arguments)
        whole.append(1)

    Files.rename = renames
    usual = getattr(Files, DIES_IN)

    def dies(*arguments):
        if len(whole) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return usual(*arguments)

    setattr(Files, DIES_IN, dies)

torch.manual_seed(0)
train, test = digits()
x, y = (torch.as_tensor(part)[:COUNT] for part in (train.x, train.y))
net = Net()
groups = [{"params": net.body.parameters(), "momentum": 0.9}, {"params": [net.times], "lr": RATE}]
optimizer = torch.optim.SGD(groups, lr=LR)
falling = [lambda epoch: 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS)), lambda epoch: 1.0]
schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, falling)
loader = DataLoader(TensorDataset(x, y, torch.arange(COUNT)), batch_size=BATCH, shuffle=True)
session = evener.join()
net, optimizer, loader = session.prepare(net, optimizer, loader, epoch_scheduler=schedule)
for epoch in session.epochs(EPOCHS):
    for images, labels, where in loader:
        time.sleep(len(where) / PACES[index])
        optimizer.zero_grad()
        (nn.functional.cross_entropy(net.body(images), labels) + net.times[where].mean()).backward()
        optimizer.step()
net.eval()
with torch.no_grad():
    right = net.body(torch.as_tensor(test.x)).argmax(1) == torch.as_tensor(test.y)
keep(times=net.times.detach().clone(), accuracy=right.float().mean().item())
"""


def body(policy: str, epochs: int, paces: tuple[float, ...], jumps: bool = False, dies_in: str = "") -> str:
    """The script.

    Args:
        policy: by name.
        epochs: passes over the data.
        paces: samples/s of the workers.
        jumps: the wall clock jumps.
        dies_in: which of :class:`~evener.runtime.sealed.Files` kills the server when it writes a checkpoint.
    """
    values = {
        "BATCH": BATCH,
        "COUNT": COUNT,
        "RATE": RATE,
        "LR": RATES.get(policy, USUAL),
        "EPOCHS": epochs,
        "PACES": paces,
        "JUMPS": jumps,
        "DIES_IN": dies_in,
    }
    return "\n".join(f"{name} = {value!r}" for name, value in values.items()) + _BODY
