"""A run on a Ray cluster: Ray places, watches and restarts its processes; nothing of the training goes through it."""

from __future__ import annotations

import json
import os
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtime import addresses, keys
from ..trace import parts, record_path
from . import folders
from ._actors import DOOR, Job, Server, Worker
from ._opening import Opened, opened
from .ending import LAST_WORD, WORKERS_FAREWELL, RunResult
from .hosts import ServeOptions, check_bind
from .options import LaunchError
from .ray_options import INSTALL, RayOptions, actor_options, in_words
from .resuming import to_go_on
from .screen import Screen

ROUND = 0.25
"""Seconds between two looks at the actors."""

STOP = 3.0
"""Seconds that the server gets to end the run when it is asked to."""

CONNECT = 5.0
"""Seconds for a connection to the cluster."""


def run_on_ray(options: RayOptions, screen: Screen | None = None) -> RunResult:
    """Run a script on the Ray cluster that this process belongs to, and wait for its end.

    The cluster is that of ``ray.init``, where that was called; else that of ``RAY_ADDRESS``, or of this machine. What
    the processes print comes by Ray. Ctrl-C, SIGTERM and SIGHUP end the run.

    Args:
        options: what to run.
        screen: where progress goes.

    Raises:
        LaunchError: the run cannot be started; nothing was.
    """
    options.check()
    ray, ours = _connect()
    try:
        name = options.resume.place.run if options.resume is not None else ""
        with opened(options, screen, name) as run, tempfile.TemporaryDirectory(prefix="evener-") as own:
            keys.make(Path(own), [])
            if options.resume is None:  # else the record that is there is that of the server that was lost
                run.screen.follow(record_path(run.folder))
            try:
                return _Run(ray, options, run, Path(own)).go()
            finally:
                run.screen.unfollow()
    finally:
        if ours:
            ray.shutdown()


def _connect() -> tuple[Any, bool]:
    """Ray, connected to its cluster, and whether that was done here.

    Raises:
        LaunchError: there is no cluster, or it cannot be used from here.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named.startswith("ray://"):
        raise LaunchError(
            "RAY_ADDRESS names a Ray client's address (ray://), but the run's record is kept where this command runs: "
            "on a node of the cluster. Do: ray job submit -- evener run --on ray ..., or set RAY_ADDRESS to HOST:6379."
        )
    try:
        import ray

        if ray.is_initialized():
            return ray, False
        if ":" in named:  # Ray itself would try for a minute and longer
            socket.create_connection(addresses.split(named), CONNECT).close()
        ray.init(address="auto", logging_level="warning")
    except ImportError as error:
        raise LaunchError(f"Ray cannot be loaded ({error}). {INSTALL}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise LaunchError(
            f"no Ray cluster can be used from here{f' (RAY_ADDRESS={named})' if named else ''}: {str(error).strip()}\n"
            "Start one on this machine (ray start --head), run this on a node of one, or set RAY_ADDRESS to HOST:6379."
        ) from None
    return ray, True


class _Run:
    """One run under way."""

    def __init__(self, ray: Any, options: RayOptions, run: Opened, own: Path) -> None:
        self.ray = ray
        self.options = options
        self.run = run
        self.own = own
        self.code = 0
        self.problems: list[str] = []
        self._actors: dict[str, Any] = {}
        self._waiting: dict[Any, str] = {}
        self._serving: Any = None
        self._until: float | None = None
        self._deserted: float | None = None
        self._asked = 0
        self._parts = self._before = parts(run.folder)

    def go(self) -> RunResult:
        """Ask Ray for all actors, and look after what becomes of them."""
        try:
            self._ask()
            while self._waiting and not self._late():
                done, _ = self.ray.wait(list(self._waiting), num_returns=1, timeout=ROUND)
                for reference in done:
                    self._ended(reference)
                self._heed_signals()
                self._heed_desertion()
                self._heed_resumption()
                self.run.screen.tick()
        finally:
            for actor in self._actors.values():
                self.ray.kill(actor)
        self.run.screen.tick()
        code = self.run.signals.exit_code or self.code
        if code and (note := self._once_more()):
            self.run.screen.note(note)
        record = record_path(self.run.folder).exists()
        return RunResult(code, self.run.name, self.run.folder, tuple(self.problems), record)

    def _once_more(self) -> str:
        """How to go on with this run, with as many workers of the same kinds; empty: it cannot go on."""
        options = self.options
        more = ["--workers", ",".join(map(str, options.workers))]
        for kind in options.resources:
            more += ["--worker-resources", json.dumps(dict(kind))]
        words = ["evener", "run", "--on", "ray", str(options.script)]
        return to_go_on(self.run.folder, words, options.arguments, more)

    def _ask(self) -> None:
        ray, options = self.ray, self.options
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        ip = ray.util.get_node_ip_address()
        address = addresses.join(ip, check_bind(ip, options.port or 0, addresses.join(ip, options.port or 0)))
        node = ray.get_runtime_context().get_node_id()
        if not self._room(options.server_resources, node):
            raise LaunchError(f"this node has no {in_words(options.server_resources)} for the server (ray status).")
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        # No number of retries: Ray spends some of them while it finds out that a node is gone.
        again = {"max_restarts": options.restarts, "max_task_retries": -1}
        server = ray.remote(concurrency_groups={DOOR: 1})(Server).options(
            scheduling_strategy=here, **again, **actor_options(options.server_resources)
        )
        self._actors["server"] = server.remote()
        self._serving = self._actors["server"].serve.remote(self._to_serve(address))
        self._waiting[self._serving] = "server"
        # 'ray job submit --working-dir' brings a folder to every node, each time to another place.
        brought = bool(ray.get_runtime_context().runtime_env.get("working_dir"))
        script = options.script if brought else options.script.absolute()
        job = Job(address, keys.ServerKeys(self.own).public, self.own, script, options.arguments)
        for count, resources in zip(options.workers, options.resources, strict=True):
            # A cluster that grows by itself may have room in a while, so this is no error.
            if not self._room(resources):
                wanted = in_words(resources)
                self.run.screen.note(
                    f"no node of this cluster has {wanted}: such workers wait until one has (ray status)"
                )
            worker = ray.remote(Worker).options(scheduling_strategy="SPREAD", **again, **actor_options(resources))
            for _ in range(count):
                name = f"worker-{len(self._actors) - 1}"
                self._actors[name] = worker.remote(name)
                self._waiting[self._actors[name].work.remote(self._actors["server"], job)] = name

    def _to_serve(self, address: str) -> ServeOptions:
        options = self.options
        return ServeOptions(
            script=options.script.absolute(),
            listen=address,
            keys=self.own,
            arguments=options.arguments,
            workers=sum(options.workers),
            policy=options.policy,
            seed=options.seed,
            targets=options.targets,
            record=self.run.folder,
            checkpoint_every=options.checkpoint_every,
            keep_checkpoints=options.keep_checkpoints,
            compress=options.compress,
            compare_data=options.compare_data,
            run=self.run.name,
            if_orphaned=signal.SIGKILL,
        )

    def _room(self, resources: Mapping[str, float], node: str = "") -> bool:
        """Whether some node (or this one) has so much in all, be it in use or not."""
        nodes = [one["Resources"] for one in self.ray.nodes() if one["Alive"] and node in ("", one["NodeID"])]
        return any(all(has.get(name, 0.0) >= amount for name, amount in resources.items()) for has in nodes)

    # Actors that end ----------------------------------------------------------------------------------------

    def _ended(self, reference: Any) -> None:
        name = self._waiting.pop(reference)
        try:
            outcome = self.ray.get(reference)
        except LaunchError as error:  # an error of the task, and of the class that it raised
            why = str(getattr(error, "cause", error))
            if reference is self._serving:
                raise LaunchError(why) from None
            self._lost(name, f"cannot work: {why}")
        except self.ray.exceptions.RayError as error:
            self._lost(name, f"is lost for good: {_in_short(error)}")
        else:
            if isinstance(outcome, RunResult):
                self._served(outcome)
            elif outcome and not self._asked:
                self._lost(name, f"ended with exit code {outcome}. What it printed is above, by Ray.")

    def _served(self, result: RunResult) -> None:
        if not self._asked:
            self.code = self.code or result.code
            for problem in result.problems:
                self._tell(problem)
        # Those that Ray has found no room for have nothing to finish.
        admitted = {path.stem for path in (self.own / keys.ALLOWED).glob("*.pub")}
        self._waiting = {one: name for one, name in self._waiting.items() if name in admitted}
        self._until = time.monotonic() + (0.0 if result.code else WORKERS_FAREWELL)

    def _lost(self, name: str, how: str) -> None:
        self.code = self.code or 1
        self._tell(f"{name} {how}")
        if name == "server":
            self._until = time.monotonic()

    def _tell(self, problem: str) -> None:
        self.problems.append(problem)
        self.run.screen.note(problem)

    # Reasons to stop ----------------------------------------------------------------------------------------

    def _heed_resumption(self) -> None:
        """A server that was made anew writes another part of the record."""
        if (now := parts(self.run.folder)) != self._parts:
            ours = self.options.resume is None or self._parts > self._before
            self._parts = now
            self.run.screen.note(
                f"{'the server was lost, and' if ours else 'the run'} goes on from its newest checkpoint."
            )
            self.run.screen.unfollow()
            self.run.screen.follow(record_path(self.run.folder))

    def _late(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until

    def _heed_signals(self) -> None:
        received = self.run.signals.received
        if len(received) == self._asked:
            return
        self._asked = len(received)
        if self._asked > 1:
            self._until = time.monotonic()
            return
        self.run.screen.note(f"stopping, as {received[0].name} asks. Once more ends everything at once.")
        self._stop(STOP)

    def _stop(self, within: float) -> None:
        self._actors["server"].stop.options(concurrency_group=DOOR).remote()
        self._until = time.monotonic() + within

    def _heed_desertion(self) -> None:
        """A server whose workers have all gone for good would wait for ever."""
        if self._until is not None or list(self._waiting) != [self._serving]:
            return
        now = time.monotonic()
        if self._deserted is None:
            self._deserted = now
        elif now - self._deserted >= LAST_WORD and not folders.finished(record_path(self.run.folder)):
            self._lost("every worker", "is gone before the end of the run: stopping the server.")
            self._stop(WORKERS_FAREWELL)


def _in_short(error: Exception) -> str:
    text = str(error).strip()
    if "No module named 'evener'" in text:
        return f"evener is not installed on its node. {INSTALL.replace('here and ', '')}"
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), type(error).__name__)
