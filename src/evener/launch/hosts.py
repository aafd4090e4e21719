"""Several machines by hand: a server here, and workers that join it from wherever they can dial out."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..runtime import addresses
from ..runtime.keeping import Head
from ..runtime.keys import SERVER, KeysError, ServerKeys, WorkerKeys
from ..runtime.knocking import NobodyError, knock
from ..runtime.place import KEEP, LACKING, Compress, Place, PolicyChoice
from ..runtime.transport import OpenAddressError, refuse_open
from ..trace import record_path
from ._opening import opened
from ._signals import Signals
from .behind import Behind
from .crew import Child, Crew, Steps, send
from .ending import NEVER_JOINED, STOP_NOW, RunResult, see_above, to_stop_a_server
from .options import (
    LaunchError,
    check_checkpoints,
    check_policy,
    check_record,
    check_script,
    check_targets,
    how_often,
)
from .resuming import room_for_a_part, to_go_on
from .screen import Plain, Screen

WAIT = 10.0
"""Seconds that a worker waits for its server to listen, where nobody says."""

LOADED = 10.0
"""Seconds that a worker looks for its server, at least, once its own script has loaded."""

LEAVE: Steps = ((0.0, signal.SIGINT), (2.0, signal.SIGTERM), (2.4, signal.SIGKILL))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """A server for workers elsewhere.

    Attributes:
        script: the Python file that every process runs, here and elsewhere.
        listen: ``HOST:PORT`` to listen on; ``0.0.0.0`` is every IPv4 address of this machine, ``[::]`` every address.
        keys: folder that ``evener keys`` has made; ``None``: there is none, which is refused.
        arguments: the script's.
        workers: how many to expect; the run begins when so many are there, or half a minute after the first.
        policy, seed, targets, record: as of a run on one machine.
        compare_data: ``samples``: workers must have the same data set; ``length``: one as long.
        compress: as of a run on one machine.
        checkpoint_every, keep_checkpoints, resume: as of a run on one machine.
        run: the run's id; empty: a new one, or that of the run that goes on.
        if_orphaned: what the script gets should this process die: SIGTERM ends the run, SIGKILL leaves it to resume.
    """

    script: Path
    listen: str
    keys: Path | None
    arguments: tuple[str, ...] = ()
    workers: int = 1
    policy: PolicyChoice = field(default_factory=PolicyChoice)
    seed: int = 0
    targets: dict[str, float] = field(default_factory=dict)
    record: Path | None = None
    compare_data: Literal["samples", "length"] = "samples"
    compress: Compress = "none"
    checkpoint_every: float | None = None
    keep_checkpoints: int = KEEP
    resume: Head | None = None
    run: str = ""
    if_orphaned: signal.Signals = signal.SIGTERM

    def check(self) -> None:
        """Find out what can be found out before anything is started.

        Raises:
            LaunchError: with the first thing that is wrong.
        """
        check_script(self.script)
        if self.workers < 1:
            raise LaunchError(f"a run needs at least 1 worker, not {self.workers}.")
        try:
            host, port = addresses.split(self.listen)
            ips = addresses.resolve(host)
            if self.keys is None:
                refuse_open(self.listen, "listen")
                raise LaunchError(
                    "workers that join need keys, on this machine, too. Make them with 'evener keys DIR NAME ...' and "
                    "give --keys DIR. For workers of this machine alone, without keys, there is 'evener run'."
                )
            if self.resume is not None and not (self.keys / SERVER).exists():
                raise LaunchError(
                    f"there is no {SERVER} in {self.keys}, by which the workers of this run know its server. If the "
                    "folder was moved, say where to: --keys DIR. With new keys they need new ones, too."
                )
            ServerKeys(self.keys).allowed()
        except (addresses.AddressError, OpenAddressError, KeysError) as error:
            raise LaunchError(str(error)) from None
        check_policy(self.policy)
        check_targets(self.targets)
        check_checkpoints(self.checkpoint_every, self.keep_checkpoints)
        if self.resume is None:
            check_record(self.record)
        elsewhere = ""
        if self.resume is not None:  # at another address only if that is said so
            elsewhere = (
                f"The run goes on where its workers look for it. To serve it elsewhere: evener serve {self.script} "
                f"--record {self.record} --go-on --listen HOST:PORT, where its workers join again."
            )
        check_bind(ips[0], port, self.listen, elsewhere)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOptions:
    """A worker for a server elsewhere.

    Attributes:
        address: ``HOST:PORT`` of the server.
        script: the Python file, the same as on the server.
        keys: this worker's folder of keys.
        arguments: the script's, the same as on the server.
        device: ``cpu``, ``cuda:1`` …; empty: choose.
        wait: seconds to wait for the server to listen.
    """

    address: str
    script: Path
    keys: Path | None
    arguments: tuple[str, ...] = ()
    device: str = ""
    wait: float = WAIT

    def check(self) -> WorkerKeys:
        """Find out what can be found out without asking anybody; returns the keys.

        Raises:
            LaunchError: with the first thing that is wrong.
        """
        check_script(self.script)
        if not 0 <= self.wait < 1e6:
            raise LaunchError(f"{self.wait:g} is no number of seconds to wait.")
        try:
            addresses.split(self.address)
            if self.keys is None:
                raise LaunchError(
                    "a worker needs its keys: make them on the server's machine with 'evener keys DIR NAME', copy the "
                    "folder DIR/NAME here, and give it with --keys."
                )
            return WorkerKeys.read(self.keys)
        except (addresses.AddressError, KeysError) as error:
            raise LaunchError(str(error)) from None


def serve(options: ServeOptions, screen: Screen | None = None, signals: Signals | None = None) -> RunResult:
    """Serve a run until its end. Ctrl-C ends it within three seconds, SIGTERM and SIGHUP after a last checkpoint.

    Args:
        options: what to serve.
        screen: where output goes.
        signals: what may end it; by default those of this process.

    Raises:
        LaunchError: the run cannot be served; nothing was started.
    """
    resumed = options.resume
    with (
        opened(options, screen, resumed.place.run if resumed is not None else options.run, signals) as run,
        room_for_a_part(run.folder) if resumed is not None else nullcontext(),
    ):
        assert options.keys is not None
        host, port = addresses.split(options.listen)
        if not port:
            port = check_bind(addresses.resolve(host)[0], 0, options.listen)
        address = addresses.join(host, port)
        allowed = sorted(ServerKeys(options.keys).allowed().values())
        who = ", ".join(allowed) if allowed else f"nobody is allowed yet: evener keys {options.keys} NAME"
        run.screen.note(f"serving on {address}; keys: {who}")
        called = addresses.join(socket.gethostname(), port) if host in ("0.0.0.0", "::", "*") else address
        run.screen.note(f"on each worker: evener join {called} {options.script.name} --keys DIR")
        every, share = how_often(options.checkpoint_every)
        place = Place(
            role="server",
            address=f"tcp://{address}",
            token="",
            keys=str(options.keys.resolve()),
            compare_data=options.compare_data,
            compress=options.compress,
            run=run.name,
            workers=options.workers,
            policy=options.policy,
            seed=options.seed,
            record=str(run.folder),
            targets=options.targets,
            checkpoint_every=every,
            checkpoint_share=share,
            keep_checkpoints=options.keep_checkpoints,
            resume=str(run.folder) if resumed is not None else "",
            launched=time.time(),
            spawned=time.time(),
            notes={"script": options.script.name, "listen": address},
        )
        with run.crew() as crew:
            server = _start(crew, "the server", options.script, options.arguments, place, options.if_orphaned)
            record = record_path(run.folder)
            code = _attend(crew, server, run.signals, lambda: _steps_of_a_server(run.folder, run.signals))
        problems: tuple[str, ...] = ()
        if code == 0 and not record.exists():
            code, problems = 2, (NEVER_JOINED.format(script=options.script),)
        elif code and not run.signals.exit_code:
            problems = (f"the server {server.how}.{see_above(server)}",)
        for problem in problems:
            run.screen.note(problem)
        words = ["evener", "serve", str(options.script)]
        untouched = resumed is not None and not record.exists()
        note = to_go_on(run.folder, words, options.arguments, untouched=untouched)
        if note and (run.signals.received or code):
            run.screen.note(note)
        return RunResult(run.signals.exit_code or _shown(code), run.name, run.folder, problems, record.exists())


def join(options: JoinOptions, screen: Screen | None = None) -> int:
    """Work for a server until the end of its run; returns the exit code. Ctrl-C leaves.

    Raises:
        LaunchError: the server is not there or does not want this worker; nothing was started.
    """
    keys = options.check()
    screen = screen or Plain()
    with Signals() as signals:
        try:
            address = knock(options.address, keys, options.wait, screen.note)
        except (NobodyError, addresses.AddressError) as error:
            raise LaunchError(str(error)) from None
        if signals.exit_code:
            return signals.exit_code
        screen.note(f"joining {options.address} as {keys.name}")
        assert options.keys is not None
        place = Place(
            role="worker",
            address=f"tcp://{address}",
            token="",
            keys=str(options.keys.resolve()),
            run="",
            device=options.device,
            wait=max(options.wait, LOADED),  # it was there just now
            launched=time.time(),
            spawned=time.time(),
        )
        behind = Behind(screen, lambda: len(signals.received))
        with Crew(behind) as crew:
            worker = _start(crew, "this worker", options.script, options.arguments, place, signal.SIGKILL)
            code = _attend(crew, worker, signals, lambda: LEAVE)
        behind.finish()
        if code and not signals.exit_code:
            screen.note(f"this worker {worker.how}.{see_above(worker)}")
            # A script that reads its data before it calls evener.join() has not heard of this.
            if "FileNotFoundError" in worker.last and LACKING not in worker.last:
                screen.note(LACKING)
        return signals.exit_code or _shown(code)


def _steps_of_a_server(folder: Path, signals: Signals) -> Steps:
    if not record_path(folder).exists():
        return STOP_NOW
    return to_stop_a_server(folder, signals.received[0])


def _start(
    crew: Crew, name: str, script: Path, arguments: Sequence[str], place: Place, if_orphaned: signal.Signals
) -> Child:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **place.environment()}
    return crew.start(name, [sys.executable, str(script), *arguments], environment, if_orphaned=if_orphaned)


def _attend(crew: Crew, child: Child, signals: Signals, steps: Callable[[], Steps]) -> int:
    """Attend to a process until it has ended; returns its code."""
    asked = wanted = 0
    while crew.alive:
        crew.attend()
        if signals.wanted > wanted:
            send(child, signal.SIGUSR1)
        wanted = signals.wanted
        if len(signals.received) == asked:
            continue
        asked = len(signals.received)
        if asked > 1:
            crew.kill()
        else:
            crew.screen.note(f"stopping, as {signals.received[0].name} asks. Once more ends it at once.")
            crew.end(child, steps())
    crew.screen.tick()
    return child.code or 0


def _shown(code: int) -> int:
    """An exit code as shells show it: 128 + the number of the signal, where one has ended the process."""
    return 128 - code if code < 0 else code


def check_bind(ip: str, port: int, asked: str, otherwise: str = "") -> int:
    """Whether a server could listen there; returns the port, which the system chooses for 0.

    ``otherwise``: what to do if not; by default another port or address is to be chosen.

    Raises:
        LaunchError: somebody does already, or this machine has no such address, or this user may not.
    """
    try:
        return addresses.try_listening(ip, port)
    except OSError as error:
        raise LaunchError(
            f"cannot listen on {asked}: {error.strerror or error}. Is another server running there? "
            + (otherwise or "Choose another port, or an address of this machine (0.0.0.0 is all of IPv4, [::] all).")
        ) from None
