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
        leaves_out: so many of the cluster's last hosts do nothing.
        least_s: seconds for which it is measured at least, where samples count in large lumps.
        options: for the runner.
    """

    name: str
    title: str
    runner: str
    environment: str = ""
    server: bool = False
    oracle: bool = False
    enters: bool = False
    leaves_out: int = 0
    least_s: float = 0.0
    options: dict[str, Option] = field(default_factory=dict)


def _evener(name: str, title: str, policy: str, leaves_out: int = 0, **options: Option) -> System:
    chosen: dict[str, Option] = {"policy": policy, **options}
    return System(name, title, "evener", server=True, enters=True, leaves_out=leaves_out, options=chosen)


def _torchft(name: str, title: str, method: str, oracle: bool) -> System:
    options: dict[str, Option] = {"method": method, "period": 10}
    return System(name, title, "torchft", environment="torchft", server=True, oracle=oracle, options=options)


def _hivemind(name: str, title: str, target: int, delayed: bool, least_s: float = 0.0) -> System:
    options: dict[str, Option] = {"target": target, "delayed": delayed}
    return System(name, title, "hivemind", environment="hivemind", server=True, least_s=least_s, options=options)


LIMIT = System("limit", "the limit: all hosts at once, no communication", "limit")

SYSTEMS = (
    LIMIT,
    System(
        "limit-channels-last",
        "the limit, had the script torch's channels last",
        "limit",
        options={"channels_last": True},
    ),
    _evener("balanced", "evener balanced", "balanced"),
    _evener("balanced-first", "evener balanced, channels as the script has them", "balanced", channels_last=False),
    _evener("balanced-0", "evener balanced, nothing stale", "balanced", bound=0),
    _evener("balanced-10", "evener balanced, 10% stale", "balanced", stale_fraction=0.1),
    _evener("balanced-15", "evener balanced, 15% stale", "balanced", stale_fraction=0.15),
    _evener("balanced-20", "evener balanced, 20% stale", "balanced", stale_fraction=0.2),
    _evener("balanced-25", "evener balanced, 25% stale", "balanced", stale_fraction=0.25),
    _evener("balanced-free", "evener balanced, as stale as it needs", "balanced", stale_fraction=1.0, bound="auto"),
    _evener("balanced-without", "evener balanced, without the last host", "balanced", leaves_out=1),
    _evener("balanced-auto", "evener balanced, compressed where that saves time", "balanced", compress="auto"),
    _evener("balanced-int8", "evener balanced, compressed as int8", "balanced", compress="int8"),
    _evener("balanced-groups", "evener balanced, a host's processes as one worker", "balanced", group=True),
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
    System("local-sgd-equal", "PyTorch local SGD, 10 steps", "local_sgd", options={"period": 10}),
    _torchft("torchft-local-sgd", "torchft LocalSGD, 10 steps, oracle batches", "LocalSGD", oracle=True),
    _torchft("torchft-diloco", "torchft DiLoCo, 10 steps, oracle batches", "DiLoCo", oracle=True),
    _torchft("torchft-diloco-equal", "torchft DiLoCo, 10 steps", "DiLoCo", oracle=False),
    _hivemind("hivemind", "hivemind, target batch 4096", 4096, delayed=False),
    _hivemind("hivemind-delayed", "hivemind, target batch 4096, delayed averaging", 4096, delayed=True),
    _hivemind("hivemind-16384", "hivemind, target batch 16384", 16384, delayed=False, least_s=12.0),
    _hivemind(
        "hivemind-16384-delayed", "hivemind, target batch 16384, delayed averaging", 16384, delayed=True, least_s=12.0
    ),
    System("plain", "a plain loop on each host", "plain"),
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
