"""The processes of a node that are one worker: what they say to each other, through ``torch.distributed``."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import FileStore  # type: ignore[attr-defined]

from ..runtime.worker import RunError
from .errors import ScriptError

PATIENCE = timedelta(hours=1)
"""How long one may wait for the others: the first waits for the server. Who dies is noticed at once."""

HEAD = 1 << 12
"""Bytes that one broadcast takes; what is longer takes two."""


class Group:
    """Some processes on one host, equal but for the first, which speaks for them.

    Bytes go by gloo, over loopback; tensors by NCCL between GPUs, else by gloo, too.

    Args:
        name: the same in all of them, and in no others that begin while these run.
        rank, size: of this one, among them.
        device: where this one computes.

    Raises:
        ScriptError: the script has a process group of its own.
        RunError: the others do not come.
    """

    def __init__(self, name: str, rank: int, size: int, device: torch.device) -> None:
        if dist.is_initialized():
            raise ScriptError(
                "torch.distributed has a process group already, and evener.join(group='node') makes it: leave out "
                "init_process_group() and DistributedDataParallel."
            )
        self.rank, self.size = rank, size
        self.first = rank == 0
        if device.type == "cuda":
            torch.cuda.set_device(device)
        with _loopback(), _told("do not come"):
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
                store=FileStore(str(_folder() / name), size),
                rank=rank,
                world_size=size,
                timeout=PATIENCE,
            )
            self.agree(True)  # so they are connected while loopback is chosen

    def broadcast(self, data: bytes = b"") -> bytes:
        """The first one's ``data``."""
        head = torch.zeros(HEAD, dtype=torch.uint8)
        room = HEAD - 8
        if self.first:
            start = len(data).to_bytes(8, "little") + data[:room]
            head[: len(start)] = torch.frombuffer(bytearray(start), dtype=torch.uint8)
        with _told():
            dist.broadcast(head, 0)
            if self.first:
                rest = torch.frombuffer(bytearray(data[room:]), dtype=torch.uint8) if len(data) > room else None
            else:
                count = int.from_bytes(_bytes(head[:8]), "little")
                data = _bytes(head[8 : 8 + min(count, room)])
                rest = torch.empty(count - room, dtype=torch.uint8) if count > room else None
            if rest is not None:
                dist.broadcast(rest, 0)
                if not self.first:
                    data += _bytes(rest)
        return data

    def gather(self, data: bytes) -> list[bytes]:
        """Everybody's ``data`` in order, at the first one; elsewhere nothing."""
        with _told():
            lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
            dist.all_gather(lengths, torch.tensor([len(data)]))
            longest = max(1, *(int(length) for length in lengths))
            padded = torch.frombuffer(bytearray(data.ljust(longest, b"\0")), dtype=torch.uint8)
            found = [torch.empty(longest, dtype=torch.uint8) for _ in lengths] if self.first else None
            dist.gather(padded, found, 0)
        return [_bytes(part[: int(length)]) for part, length in zip(found or (), lengths, strict=False)]

    def agree(self, fine: bool) -> bool:
        """Whether it is fine with all."""
        against = torch.tensor([0 if fine else 1])
        with _told():
            dist.all_reduce(against)
        return not int(against)

    def reduce(self, tensor: Tensor) -> None:
        """Make it everybody's sum at the first one. Elsewhere its values are lost."""
        with _told():
            dist.reduce(tensor, 0)


def part_of(count: int, rank: int, size: int) -> slice:
    """Which of ``count`` samples are member ``rank``'s: equal parts, the first ones one more.

    A part has two samples at least, for BatchNorm cannot do with one; the last members go without, if need be.

    >>> [part_of(7, rank, 3) for rank in range(3)]
    [slice(0, 3, None), slice(3, 5, None), slice(5, 7, None)]
    >>> [part_of(5, rank, 3) for rank in range(3)]
    [slice(0, 3, None), slice(3, 5, None), slice(0, 0, None)]
    """
    size = min(size, max(1, count // 2))
    if rank >= size:
        return slice(0, 0)
    each, more = divmod(count, size)
    start = rank * each + min(rank, more)
    return slice(start, start + each + (rank < more))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.numpy().tobytes()


@contextmanager
def _told(what: str = "are gone, or one is") -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, RunError | ScriptError):
            raise
        raise RunError(
            f"the other processes of this node {what}. Together they are one worker, which ends with any of them: its "
            f"samples go to other workers. (torch.distributed: {str(error).splitlines()[0][:200]})"
        ) from None


@contextmanager
def _loopback() -> Iterator[None]:
    """Nobody beyond this machine is to reach what has no keys."""
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    name = os.environ["GLOO_SOCKET_IFNAME"] = "lo" if sys.platform == "linux" else "lo0"
    os.environ.setdefault("NCCL_SOCKET_IFNAME", name)
    try:
        yield
    finally:
        if before is None:
            del os.environ["GLOO_SOCKET_IFNAME"]
        else:
            os.environ["GLOO_SOCKET_IFNAME"] = before


def _folder() -> Path:
    """Where they find each other: a folder on this machine that is this user's alone.

    Raises:
        RunError: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"evener-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise RunError(f"{folder} is not this user's alone: remove it, or set TMPDIR to another folder.")
    return folder
