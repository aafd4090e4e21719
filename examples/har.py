"""Which activity is it? A 1-D CNN on smartphone sensor windows, trained by machines of unequal speed.

    python examples/har.py                              # plain training, one process
    evener run examples/har.py --speeds 8,4,2,1         # four workers of unequal speed

Data: 30 people carried a phone at the waist (Reyes-Ortiz et al. 2015); 21 of them train the model, 9 test it.
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import evener
import evener.data


class Signals(nn.Module):
    """The window as it is, and beside it the motion about its mean, on a scale where steps and tremors both show."""

    def forward(self, x):  # (n, 6, 128) -> (n, 12, 128)
        return torch.cat([x, torch.asinh(20.0 * (x - x.mean(2, keepdim=True)))], 1)


def block(inputs, outputs, kernel, stride):
    convolution = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.GroupNorm(8, outputs), nn.ReLU()]


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        right = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(x.split(256), y.split(256)))
    return right / len(y)


parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("--batch", type=int, default=1024)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--fraction", type=float, default=1.0, help="share of the training windows to use")
options = parser.parse_args()

session = evener.join()  # 1: take a place in the run
torch.manual_seed(options.seed)

train, test = evener.data.har()
kept = torch.randperm(len(train.x))[: int(len(train.x) * options.fraction)]
train_set = TensorDataset(torch.from_numpy(train.x)[kept], torch.from_numpy(train.y)[kept])
test_x, test_y = torch.from_numpy(test.x).to(session.device), torch.from_numpy(test.y).to(session.device)

model = nn.Sequential(
    Signals(),
    *block(12, 64, 9, 1),
    *block(64, 96, 9, 2),
    *block(96, 96, 7, 1),
    *block(96, 96, 5, 2),
    nn.AdaptiveAvgPool1d(1),
    nn.Flatten(),
    nn.Linear(96, 6),
).to(session.device)
loader = DataLoader(train_set, batch_size=options.batch, shuffle=True)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
scheduler = torch.optim.lr_scheduler.OneCycleLR(
    optimizer, max_lr=0.003, total_steps=options.epochs * len(loader), pct_start=0.1, cycle_momentum=False
)

# 2: from here on the batch is shared out, and the server steps optimizer and scheduler.
model, optimizer, loader = session.prepare(model, optimizer, loader, step_scheduler=scheduler)

for epoch in session.epochs(options.epochs):  # 3
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(session.device)), y.to(session.device))
        loss.backward()
        optimizer.step()
        session.log(loss=loss)  # 4: averaged over samples and workers
    if session.is_server:  # 5: the model at the end of this epoch; the workers train on meanwhile
        session.log(test_accuracy=accuracy(model, test_x, test_y))
