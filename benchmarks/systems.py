"""The systems that are compared, as data: which runner, in which environment, with which options."""

from __future__ import annotations

from dataclasses import dataclass, field

Option = bool | float | int | str


@dataclass(frozen=True, slots=True)
class System:
    """Something that trains, or the limit of all that do.

    Attributes:
        name: for the command line and the results.
        title: for people.
        runner: module of :mod:`benchmarks.runners`; every host runs it.
        environment: a virtual environment of its own (see :mod:`benchmarks.peers`); empty: this one.
        server: whether the runner also runs on the server's host, with the index -1.
        oracle: each host's part of the batch is as large as its speed, measured beforehand, makes best.
        enters: its processes enter their quota by themselves, once warm; the others are moved in.
        options: for the runner.
    """

    name: str
    title: str
    runner: str
    environment: str = ""
    server: bool = False
    oracle: bool = False
    enters: bool = False
    options: dict[str, Option] = field(default_factory=dict)


def _evener(name: str, title: str, policy: str, **options: Option) -> System:
    chosen: dict[str, Option] = {"policy": policy, **options}
    return System(name, title, "evener", server=True, enters=True, options=chosen)


LIMIT = System("limit", "the limit: all hosts at once, no communication", "limit")

SYSTEMS = (
    LIMIT,
    _evener("balanced", "evener balanced", "balanced"),
    _evener("balanced-0", "evener balanced, nothing stale", "balanced", bound=0),
    _evener("synchronous", "evener synchronous", "synchronous"),
    _evener("asynchronous", "evener asynchronous", "asynchronous"),
    _evener("stale", "evener stale (SSP)", "stale"),
    _evener("dynamic", "evener dynamic (DSSP)", "dynamic"),
    _evener("delayed", "evener delayed", "delayed"),
    System("ddp", "PyTorch DDP", "ddp"),
    System("ddp-oracle", "PyTorch DDP, oracle batches", "ddp", oracle=True),
    System(
        "local-sgd", "PyTorch local SGD, 10 steps, oracle batches", "local_sgd", oracle=True, options={"period": 10}
    ),
    System(
        "torchft-local-sgd",
        "torchft LocalSGD, 10 steps, oracle batches",
        "torchft",
        environment="torchft",
        server=True,
        oracle=True,
        options={"method": "LocalSGD", "period": 10},
    ),
    System(
        "torchft-diloco",
        "torchft DiLoCo, 10 steps, oracle batches",
        "torchft",
        environment="torchft",
        server=True,
        oracle=True,
        options={"method": "DiLoCo", "period": 10},
    ),
    System(
        "hivemind",
        "hivemind, target batch 4096",
        "hivemind",
        environment="hivemind",
        server=True,
        options={"target": 4096, "delayed": False},
    ),
    System(
        "hivemind-delayed",
        "hivemind, target batch 4096, delayed averaging",
        "hivemind",
        environment="hivemind",
        server=True,
        options={"target": 4096, "delayed": True},
    ),
)


def find(name: str) -> System:
    """The system of that name.

    Raises:
        ValueError: there is none.
    """
    for system in SYSTEMS:
        if system.name == name:
            return system
    raise ValueError(f"there is no system '{name}'. Choose from: {', '.join(one.name for one in SYSTEMS)}.")
