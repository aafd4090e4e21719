"""The workload, trained by evener."""

import torch
from torch import nn
from torch.utils.data import DataLoader
from workload import BATCH, data, network

import evener

session = evener.join()
model = network()
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
model, optimizer, loader = session.prepare(model, optimizer, DataLoader(data(), batch_size=BATCH, shuffle=True))
for _ in session.epochs(1):
    for x, y in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
