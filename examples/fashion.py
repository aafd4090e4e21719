"""Which garment is it? A 2-D CNN with BatchNorm on Fashion-MNIST, trained by machines of unequal speed.

    python examples/fashion.py                          # plain training, one process
    evener run examples/fashion.py --speeds 4,2,1       # three workers of unequal speed

BatchNorm normalises by micro-batch; its running statistics are pooled over all workers, so the model that is tested
does not depend on who computed what.
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import evener
import evener.data


def block(inputs, outputs):
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        right = sum((model(a).argmax(1) == b).sum().item() for a, b in zip(x.split(500), y.split(500)))
    return right / len(y)


parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch", type=int, default=256)
parser.add_argument("--images", type=int, default=60_000, help="how many training images to use")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

session = evener.join()
torch.manual_seed(options.seed)

train, test = evener.data.fashion_mnist()
train_set = TensorDataset(torch.from_numpy(train.x[: options.images]), torch.from_numpy(train.y[: options.images]))
test_x, test_y = torch.from_numpy(test.x).to(session.device), torch.from_numpy(test.y).to(session.device)

model = nn.Sequential(*block(1, 16), *block(16, 32), *block(32, 64), nn.Flatten(), nn.Linear(9 * 64, 10))
model = model.to(session.device)
loader = DataLoader(train_set, batch_size=options.batch, shuffle=True)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs * len(loader))

model, optimizer, loader = session.prepare(model, optimizer, loader, step_scheduler=scheduler)

for epoch in session.epochs(options.epochs):
    model.train()
    for x, y in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x.to(session.device)), y.to(session.device))
        loss.backward()
        optimizer.step()
        session.log(loss=loss)
    if session.is_server:
        session.log(test_accuracy=accuracy(model, test_x, test_y))
