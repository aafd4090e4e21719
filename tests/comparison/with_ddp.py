"""The workload, trained by PyTorch's DDP over gloo. Prints the seconds that the steps took."""

import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler
from workload import BATCH, data, network

torch.set_num_threads(1)
rank, world, group = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
dist.init_process_group("gloo", init_method=sys.argv[4], rank=rank, world_size=world)
model = DistributedDataParallel(network())
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
samples = data()
loader = DataLoader(samples, batch_size=BATCH // world, sampler=DistributedSampler(samples, world, rank))
for _ in range(2):  # as evener does: warm up at full speed, then become slow
    nn.functional.cross_entropy(model(samples.tensors[0][:16]), samples.tensors[1][:16]).backward()
optimizer.zero_grad()
with open(group, "w") as procs:
    procs.write(str(os.getpid()))
dist.barrier()
began = time.perf_counter()
for x, y in loader:
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
dist.barrier()
if rank == 0:
    print(time.perf_counter() - began, flush=True)
os._exit(0)  # tearing the group down hangs at times: see tests/training/ddp.py
