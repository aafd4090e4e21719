"""The two servers: evener's own, and the bare loop that it is held against. Both take the same script's optimizer."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import zmq
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import evener
from benchmarks.workloads import LEARNING_RATE, MOMENTUM
from evener.runtime import protocol as p
from evener.runtime.place import Place, PolicyChoice
from evener.training.heap import keep_freed_memory
from evener.training.store import FlatStore

from .cells import LAYERS, POSITIONS, Cell
from .clients import OFFSET, RUN, TOKEN

POLICY = "synchronous"
"""Each worker gives one contribution to each step: exactly what the bare loop gets."""


class Model(nn.Module):
    """So many parameters. Nobody computes with it."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.layers = nn.ParameterList(torch.zeros(cell.shape) for _ in range(LAYERS))


class Nothing(Dataset[Tensor]):
    """A data set of which no sample is ever asked for."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count


def build(cell: Cell, progress: Path) -> tuple[Model, torch.optim.SGD]:
    """Model and optimizer. Each step notes its number, the time, and the process's CPU time, in seconds."""
    model = Model(cell)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    # Unbuffered: whoever measures reads along, and kills the process in the end.
    file = progress.open("ab", buffering=0)
    steps = 0

    def note(*_: object) -> None:
        nonlocal steps
        steps += 1
        file.write(b"%d %.6f %.6f\n" % (steps, time.monotonic(), time.process_time()))

    optimizer.register_step_post_hook(note)
    return model, optimizer


def serve_evener(address: str, cell: Cell, folder: Path, checkpoint_every: float = 0.0) -> None:
    """Serve until killed; what counted is in the run's record."""
    place = Place(
        role="server",
        address=address,
        token=TOKEN,
        run=RUN,
        workers=cell.workers,
        policy=PolicyChoice(POLICY),
        record=str(folder),
        checkpoint_every=checkpoint_every,
        threads=1,
        tcp=True,  # the workers stand for other machines
    )
    os.environ.update(place.environment())
    session = evener.join()
    steps = max(1, POSITIONS // cell.batch)
    loader = DataLoader(Nothing(steps * cell.batch), batch_size=cell.batch)
    _, _, loader = session.prepare(*build(cell, folder / "progress"), loader)
    for _ in session.epochs(1000):
        for _ in loader:
            pass


def serve_bare(address: str, cell: Cell, folder: Path) -> None:
    """Receive, add, step, send; until killed. No planning, no record, no checks, and no copy that can be avoided."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as evener's server does: what it saves is not a matter of planning
    warnings.filterwarnings("ignore", message="The given buffer is not writable")
    model, optimizer = build(cell, folder / "progress")
    store = FlatStore(model, model.parameters())
    total = torch.empty(store.size)
    for parameter, view in zip(store.parameters, store.split(total), strict=True):
        parameter.grad = view
    # Sent where they lie: nobody changes them before every client has answered, and who answers has them all.
    weights = store.flat.numpy().data.cast("B")
    router: zmq.Socket[bytes] = zmq.Context().socket(zmq.ROUTER)
    router.sndhwm = 0
    router.bind(address)
    names = [router.recv_multipart()[0] for _ in range(cell.workers)]
    while True:
        for name in names:
            for start, stop in p.chunks(cell.size):
                router.send_multipart([name, OFFSET.pack(start)], zmq.SNDMORE)
                router.send(weights[start:stop], copy=False)
        total.zero_()
        missing = cell.workers * cell.size
        while missing:
            _, head, chunk = router.recv_multipart(copy=False)
            values = torch.frombuffer(chunk.buffer, dtype=torch.float32)
            start = OFFSET.unpack(head.buffer)[0] // 4
            total[start : start + len(values)].add_(values, alpha=1 / cell.workers)
            missing -= 4 * len(values)
        optimizer.step()


SERVERS: dict[str, Callable[[str, Cell, Path], None]] = {"evener": serve_evener, "bare": serve_bare}
