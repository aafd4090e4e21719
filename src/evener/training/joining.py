"""Taking a place in a run.

The same script runs in every process. What a process does is decided by its place in the run: one environment
variable, set by evener's launcher; or those of torchrun, Slurm and the like. Without any it is plain training. What
only one place needs is imported when that place is taken: a worker loads neither the server nor the simulator.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from ..runtime import hosting, keys
from ..runtime.addresses import AddressError
from ..runtime.engines import EngineError, Task
from ..runtime.keys import KeysError
from ..runtime.place import LACKING, Place
from ..runtime.transport import OpenAddressError, PortInUseError
from ..runtime.worker import RunError
from ..simulation.profile import Request
from . import reproducible
from .alone import AloneSession
from .chance import Seeds, set_seed
from .errors import ScriptError, ScriptValueError, in_a_line
from .group import Group
from .heap import keep_freed_memory
from .notice import Notice
from .session import Session
from .working import WorkerSession

_PLAIN = (RunError, KeysError, AddressError, EngineError, OpenAddressError, PortInUseError)
"""Errors whose words are enough."""


def join(group: Literal["node"] | None = None) -> Session:
    """Take this process's place in a run.

    Args:
        group: ``node``: the processes that torchrun or Slurm starts on one node are one worker, for several equal GPUs;
            ``torch.distributed`` adds their gradients up. By default each process is a worker.

    Returns:
        A session: alone when no launcher started the process, else the server's, a worker's, that of a simulated run,
        or one that only measures speed: of the workers together, or of this machine.

    Raises:
        ValueError: the launcher's environment variables are damaged, or there are no keys.
    """
    if group not in (None, "node"):
        raise ScriptValueError(f"join(group={group!r}): it is 'node', or left out")
    place = Place.here()
    if place is not None:
        return take(place)
    if (request := Request.here()) is not None:
        return _to_measure(request)
    _quiet_errors()
    task = Task.here()
    return AloneSession(choose_device("")) if task is None else _work(task, group == "node")


def _work(task: Task, nodes: bool) -> Session:
    """A worker's part in a job that another launcher has started; with rank 0, the server's process, too.

    ``nodes``: each node is a worker.
    """
    address = task.server
    known = os.environ.get(keys.VARIABLE)
    if not known and not task.one_host:
        raise EngineError(
            f"this job spans several hosts ({task.engine}, rank {task.rank} of {task.size}), and there are no keys "
            "with which they could know each other. Once, on a disk that all have: evener keys DIR job; and in every "
            f"process: {keys.VARIABLE}=DIR (docs/how-to/clusters.md)."
        )
    folder = Path(known) if known else keys.own()
    own = keys.worker_folder(folder, socket.gethostname())
    keys.WorkerKeys.read(own)
    notice = Notice(task)
    group = None
    if nodes and task.local_size > 1:
        group = Group(task.here_and_now, task.local_rank, task.local_size, choose_device("", task.local_rank))
    place = Place(
        role="worker",
        address=f"tcp://{address}",
        token="",
        keys=str(own.resolve()),
        run="",
        index=task.node if nodes else task.rank,
        workers=task.nodes if nodes else task.size,
        record=hosting.folder(task),
        launched=time.time(),
        spawned=time.time(),
    )
    session = take(place, local=task.local_rank, group=group, over=notice.found)
    if task.serves:
        # After that has said how errors are shown: whatever ends this process is to end its server, too.
        hosting.Hosting(task, folder, task.nodes if nodes else task.size, _script(), notice.leave)
    return session


def _script() -> list[str]:
    """This script and its arguments.

    Raises:
        EngineError: it is none that could be started once more.
    """
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if not path or getattr(main, "__spec__", None) is not None:
        raise EngineError(
            "the process with rank 0 starts the server with the same script, and this is none (it was started with "
            "python -m, or typed in). Start it by its path: torchrun ... train.py"
        )
    return [str(Path(path).resolve()), *sys.argv[1:]]


def take(
    place: Place,
    plain_outside: bool = False,
    local: int = 0,
    group: Group | None = None,
    over: Callable[[], bool] = lambda: False,
) -> Session:
    """Take this place.

    Args:
        place: in a run.
        plain_outside: speak beyond this machine without keys; see :class:`~evener.runtime.transport.Listener`. Only who
            calls this can say so: it is no part of a place.
        local: this process's number on its machine: which of several GPUs is its.
        group: the processes that are one worker with this one.
        over: whether the run is seen to be over, where there is no server (any more).
    """
    if place.micro_batch:
        reproducible.begin()
        set_seed(Seeds(place.seed).script(), devices=True)
    elif place.threads:
        torch.set_num_threads(place.threads)
    if place.role != "limit":  # what is measured there is a plain loop
        keep_freed_memory()
    _quiet_errors(away=place.role == "worker" and bool(place.keys))
    # torch knows no read-only tensors and warns that what arrived, or is shared, could be written to. It is only read.
    warnings.filterwarnings("ignore", message="The given buffer is not writable")
    if place.role == "server":
        from .serving import ServerSession

        return ServerSession(place, choose_device(place.device or "cpu"), plain_outside)
    if place.role == "simulated":
        from .simulated import SimulatedSession

        return SimulatedSession(place, choose_device(place.device or "cpu"))
    if place.role == "limit":
        from .measuring import LimitSession

        return LimitSession(place, choose_device(place.device))
    return WorkerSession(place, choose_device(place.device, local), plain_outside, group, over)


def _to_measure(request: Request) -> Session:
    from .profiling import ProfileSession

    if request.threads:
        torch.set_num_threads(request.threads)
    keep_freed_memory()  # as a worker does
    _quiet_errors()
    return ProfileSession(request, choose_device(""))


def choose_device(wanted: str, local: int = 0) -> torch.device:
    """``wanted``, or the best there is; of several GPUs that with the number ``local``.

    Raises:
        ValueError: torch knows no such device.
    """
    if wanted:
        try:
            device = torch.device(wanted)
        except RuntimeError as error:
            raise ScriptValueError(f"no device is called {wanted!r}: use cpu, cuda, cuda:0 … or mps") from error
        if why := _missing(device):
            raise ScriptValueError(f"there is no device {wanted!r} here: {why}")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda", local % torch.cuda.device_count())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _missing(device: torch.device) -> str:
    """Why a device cannot be used on this machine; empty if it can."""
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            have = f"cuda:0 to cuda:{count - 1}" if count > 1 else "cuda:0" if count else "none of CUDA's"
            return f"this machine has {have}. Use {'one of these' if count else 'cpu'}, or leave it out."
    if device.type == "mps" and not torch.backends.mps.is_available():
        return "this machine, or its torch, has no MPS. Use cpu, or leave it out."
    return ""


def _quiet_errors(away: bool = False) -> None:
    """Errors that say what is wrong are shown in a line: a traceback of every process would only hide it.

    ``away``: this may be another machine than the one for which the script was written.
    """
    usual = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        try:
            reproducible.check_deterministic(error)
        except ScriptError as clearer:
            error = clearer
        if isinstance(error, _PLAIN):
            print(f"evener: {error}", file=sys.stderr, flush=True)
        elif isinstance(error, ScriptError):
            print(f"evener: {in_a_line(error, trace)}", file=sys.stderr, flush=True)
        else:
            usual(kind, error, trace)
            if away and isinstance(error, FileNotFoundError):
                print(f"evener: {LACKING}", file=sys.stderr, flush=True)

    sys.excepthook = show
