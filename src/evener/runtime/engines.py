"""A process's place in a job that torchrun, Slurm or the like has started: from the environment alone."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from . import addresses

ENGINE, JOIN, PORT = "EVENER_ENGINE", "EVENER_JOIN", "EVENER_PORT"
"""Variables: ``none`` is to run alone; the ``HOST:PORT`` of a server that is there; the port of the job's own."""

FIRST_PORT, PORTS = 20000, 10000
"""Ports that follow from a job's name: below those that Linux and macOS give away by themselves."""


class EngineError(ValueError):
    """The environment describes no place in a job; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Task:
    """One process of a job.

    Attributes:
        engine: what started it: ``torchrun``, ``slurm``, or ``env`` for who else sets what ``torch.distributed`` reads.
        job: its name, the same in all processes and through restarts; as part of a path it is safe.
        unique: whether no other job has that name, so that a run under it may be gone on with.
        rank, size: this process among all; rank 0 is where the server is.
        local_rank, local_size: among those of its node.
        node, nodes: this node among all; rank 0 is on node 0.
        leader: the host of rank 0.
        restart: how often the engine has begun the job anew.
        port: of the server.
        elsewhere: ``HOST:PORT`` of a server that is there already; empty: rank 0 starts one.
        store: host and port of a store that the engine's agents keep for as long as any of them waits for its
            processes; ``None``: there is none.
        start: tells the engine's start of this node's processes from any other.
    """

    engine: Literal["torchrun", "slurm", "env"]
    job: str
    unique: bool
    rank: int
    size: int
    local_rank: int
    local_size: int
    node: int
    nodes: int
    leader: str
    restart: int = 0
    port: int = 0
    elsewhere: str = ""
    start: str = ""
    store: tuple[str, int] | None = None

    @property
    def serves(self) -> bool:
        """Whether this process starts the server."""
        return self.rank == 0 and not self.elsewhere

    @property
    def one_host(self) -> bool:
        """Whether all of the job is on this machine."""
        return not self.elsewhere and (self.local_size == self.size or not addresses.reaches_out(self.leader))

    @property
    def here_and_now(self) -> str:
        """A name for this node's processes that no others on this machine have."""
        digest = hashlib.blake2b(f"{self.job} {self.start} {self.port}".encode(), digest_size=8).hexdigest()
        return f"{digest}-{self.node}-{self.restart}"

    @property
    def listen(self) -> str:
        """``HOST:PORT`` for the server to listen on.

        Raises:
            addresses.AddressError: nobody knows the leader's host.
        """
        if self.one_host:
            return addresses.join("127.0.0.1", self.port)
        every = "::" if ":" in addresses.resolve(self.leader)[0] else "0.0.0.0"
        return addresses.join(every, self.port)

    @property
    def server(self) -> str:
        """``HOST:PORT`` where this process finds the server, in numbers: on its own host through loopback.

        Raises:
            addresses.AddressError: nobody knows the host.
        """
        if self.elsewhere:
            host, port = addresses.split(self.elsewhere)
            return addresses.join(addresses.resolve(host)[0], port)
        if self.node == 0 or self.one_host:
            return addresses.join("127.0.0.1", self.port)
        return addresses.join(addresses.resolve(self.leader)[0], self.port)

    @classmethod
    def here(cls, environment: Mapping[str, str] | None = None) -> Task | None:
        """This process's; ``None`` where no engine has started it, or as a job of its own.

        >>> Task.here({"SLURM_JOB_ID": "7", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None  # in a batch script
        True

        Raises:
            EngineError: there is something in the environment, but it is no place in a job.
        """
        given = _Given(os.environ if environment is None else environment)
        match given.get(ENGINE, "auto"):
            case "none":
                return None
            case "auto":
                pass
            case other:
                raise EngineError(f"{ENGINE} is '{other}': set it to 'none' to run the script alone, or leave it out.")
        if "TORCHELASTIC_RUN_ID" in given:
            return _torch(given, "torchrun")
        if "SLURM_STEP_ID" in given and "SLURM_PROCID" in given:
            task = _slurm(given)
        elif all(name in given for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
            task = _torch(given, "env")
        else:
            return None
        return task if task.size > 1 or task.elsewhere else None


class _Given(dict[str, str]):
    """The environment, with words for what is wrong with it."""

    def text(self, *names: str) -> str:
        """The first of these that is set."""
        for name in names:
            if self.get(name):
                return self[name]
        raise EngineError(f"{names[0]} is not set, though other variables say that this is a process of a job. "
                          f"Set it, or {ENGINE}=none to run the script alone.")  # fmt: skip

    def number(self, *names: str, least: int = 0, default: int | None = None) -> int:
        """The first of these that is set, as a number."""
        name = next((name for name in names if self.get(name)), names[0])
        if default is not None and not self.get(name):
            return default
        text = self.text(name)
        if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
            raise EngineError(f"{name} is '{text}', which is no whole number from {least}. "
                              f"Set it right, or {ENGINE}=none to run the script alone.")  # fmt: skip
        return int(text)


def _torch(given: _Given, engine: Literal["torchrun", "env"]) -> Task:
    rank, size = given.number("RANK"), given.number("WORLD_SIZE", least=1)
    local_size = given.number("LOCAL_WORLD_SIZE", least=1, default=1)
    leader, port = given.text("MASTER_ADDR"), given.text("MASTER_PORT")
    run = given.get("TORCHELASTIC_RUN_ID", "none")
    unique = run not in ("none", "")
    shared = engine == "torchrun" and given.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return _task(
        given,
        engine,
        run if unique else f"{leader}-{port}",
        unique,
        rank=rank,
        size=size,
        local_rank=given.number("LOCAL_RANK", default=rank % local_size),
        local_size=local_size,
        node=given.number("GROUP_RANK", default=rank // local_size),
        nodes=given.number("GROUP_WORLD_SIZE", least=1, default=-(-size // local_size)),
        leader=leader,
        restart=given.number("TORCHELASTIC_RESTART_COUNT", default=0),
        store=(leader, given.number("MASTER_PORT", least=1)) if shared else None,
        # In a folder that the agent makes anew; else whoever has started all of them.
        start=os.path.dirname(os.path.dirname(given.get("TORCHELASTIC_ERROR_FILE", ""))) or str(os.getppid()),
    )


def _slurm(given: _Given) -> Task:
    size = given.number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", least=1)
    node = given.number("SLURM_NODEID", default=0)
    counts = tasks_per_node(given.get("SLURM_STEP_TASKS_PER_NODE") or given.get("SLURM_TASKS_PER_NODE") or "")
    return _task(
        given,
        "slurm",
        f"{given.text('SLURM_JOB_ID')}.{given.text('SLURM_STEP_ID')}",
        True,
        rank=given.number("SLURM_PROCID"),
        size=size,
        local_rank=given.number("SLURM_LOCALID", default=0),
        local_size=counts[node] if node < len(counts) else 1,
        node=node,
        nodes=given.number("SLURM_STEP_NUM_NODES", "SLURM_NNODES", least=1, default=1),
        # Batch files often set it, for torch.distributed.
        leader=given.get("MASTER_ADDR") or first_host(given.text("SLURM_STEP_NODELIST", "SLURM_NODELIST")),
        restart=given.number("SLURM_RESTART_COUNT", default=0),
    )


def _task(
    given: _Given, engine: Literal["torchrun", "slurm", "env"], name: str, unique: bool, /, **place: object
) -> Task:
    job = f"{engine}-" + re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:100]
    digest = hashlib.blake2b(job.encode(), digest_size=4).digest()
    port = given.number(PORT, least=1, default=FIRST_PORT + int.from_bytes(digest, "big") % PORTS)
    task = Task(engine, job, unique, **place, port=port, elsewhere=given.get(JOIN, ""))  # type: ignore[arg-type]
    if port > 65535:
        raise EngineError(f"{PORT} is {port}: a port is at most 65535.")
    if task.rank >= task.size:
        raise EngineError(f"the environment says rank {task.rank} of {task.size} processes: ranks begin with 0. "
                          f"Set it right, or {ENGINE}=none to run the script alone.")  # fmt: skip
    return task


def tasks_per_node(text: str) -> list[int]:
    """Slurm's count of tasks on each node.

    >>> tasks_per_node("2(x3),1")
    [2, 2, 2, 1]
    """
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in found for _ in range(int(times or 1))]


def first_host(nodes: str) -> str:
    """The first host of Slurm's list.

    >>> first_host("gpu[07-09,12],login"), first_host("rack[1-2]n[03,05]"), first_host("one,two")
    ('gpu07', 'rack1n03', 'one')
    """
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0] if first else nodes)
