"""A server that trains with an honest worker, while somebody who has a key, too, sends it mutated messages."""

from __future__ import annotations

import random
import tempfile
import threading
from pathlib import Path

import zmq

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..core.policies import Balanced
from ..core.state import Settings
from ..runtime import admission, keys
from ..runtime import protocol as p
from ..runtime.numeric import Buffer, Verdict
from ..runtime.server import Server
from ..runtime.transport import Dialer, Listener
from ..runtime.work import Compute, Install
from ..runtime.worker import Link
from ..trace import Writer
from .mutants import ENTRY, HELLO, mutant

STEPS = 20
"""Steps that the honest worker makes beside the mutants, at least, and without ever joining anew."""

PATIENCE = 60.0
"""Seconds for the last of them."""


class Nothing:
    """A numeric layer without numbers."""

    entries = [ENTRY]  # noqa: RUF012 (what the protocol asks for)
    push_bytes = 32

    def constants(self) -> Buffer:
        """None."""
        return memoryview(b"")

    def draw(self, epoch: int) -> Buffer:
        """Some; there are epochs enough that the run does not end."""
        return memoryview(bytes(8 * 1024))

    def verdict(self, head: p.Push, payload: Buffer) -> Verdict:
        """All is well if it is as long as it should be."""
        return Verdict("ok", 1.0) if len(payload) == self.push_bytes else Verdict("another length")

    def accumulate(self, step: int, head: p.Push, payload: Buffer, factor: float) -> None:
        """Nothing."""

    def step(self, step: c.Step) -> None:
        """Nothing."""

    def publish(self, into: Buffer | None = None) -> Buffer:
        """Zeros."""
        return memoryview(bytes(32))

    def end_epoch(self, epoch: int, version: int) -> None:
        """Nothing."""


class Honest:
    """A worker that trains, in a thread of its own.

    Attributes:
        pushes: its contributions so far.
        problem: why it ended, if it did.
    """

    def __init__(self, address: str, secret: keys.WorkerKeys) -> None:
        self.pushes = 0
        self.problem = ""
        self.enough = threading.Event()
        self._link = Link(address, secret, "run", 0, [ENTRY], Nothing.push_bytes, "cpu")
        self._thread = threading.Thread(target=self._train, daemon=True)
        self._thread.start()

    def _train(self) -> None:
        try:
            link = self._link
            install = link.open()[2]
            link.ready(install.version, 1000.0, 2)
            while (work := link.work()) is not None:
                if isinstance(work, Compute):
                    link.done(False, work.generation)
                elif isinstance(work, Install):
                    link.give_back(work)
                else:
                    link.push(work, memoryview(bytes(Nothing.push_bytes)), 32.0, b"", {"loss": (1.0, 1.0)})
                    self.pushes += 1
                    if self.pushes == STEPS:
                        self.enough.set()
            if link.generation:
                self.problem = f"the honest worker was given up {link.generation} times"
        except BaseException as error:
            self.problem = f"the honest worker ended: {error!r}"
        self.enough.set()

    def finish(self) -> None:
        """Wait until it has ended; the run has."""
        self._thread.join(PATIENCE)
        self._link.close("enough")


def at_a_live_port(count: int, first: int, seed: int) -> str:
    """Send ``count`` mutants to a server; what is wrong with it or with its run afterwards, or nothing."""
    # Who begins anew again and again is turned away; here that would only keep mutants from where they could harm.
    admission.GREETINGS = 1 << 62
    settings, policy = Settings(batch=32, epochs=1_000_000, workers=1), Balanced()
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="evener-fuzz-") as name, Writer(name) as writer:
        folder = Path(name) / "keys"
        keys.make(folder, ["honest", "liar"])
        listener = Listener("tcp://127.0.0.1:*", keys.ServerKeys(folder))
        address = listener.socket.getsockopt_string(zmq.LAST_ENDPOINT)
        writer.header(run="run", settings=settings, policy=policy, parameters=8)
        run = Coordinator(settings, policy)

        def end_epoch(command: c.EndEpoch, _: float) -> None:
            server.post(e.SnapshotTaken(command.epoch))  # or the epoch after the next one waits

        server = Server(listener, run, Nothing(), writer, "run", lambda _: None, end_epoch)
        server.farewell = 2.0

        def serve() -> None:
            try:
                server.run()
            except BaseException as error:
                problems.append(f"the server ended: {error!r}")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        honest = Honest(address, keys.WorkerKeys.read(folder / "honest"))
        liar = Dialer(address, keys.WorkerKeys.read(folder / "liar"), "liar")
        for number in range(first, first + count):
            _send(liar, number, seed)
            if problems or honest.problem:
                return f"{(*problems, honest.problem)[0]} (by number {number})"
        if not honest.enough.wait(PATIENCE):
            problems.append(f"the run stands still, after {honest.pushes} contributions of the honest worker")
        liar.close()
        server.post(e.StopAsked("enough"))
        thread.join(PATIENCE)
        honest.finish()
        listener.close()
        writer.end(server.now(), ok=True, reason="enough", server_cpu_s=0.0)
        size = writer.path.stat().st_size / 1e6
        print(
            f"port: {count:,} messages, {server.refusals.count:,} refused, beside {honest.pushes:,} contributions to "
            f"{run.state.issued:,} steps; the record has {size:.1f} MB"
        )
        problems += [honest.problem] if honest.problem else []
    return problems[0] if problems else ""


def _send(liar: Dialer, number: int, seed: int) -> None:
    chance = random.Random(number)
    if not number % 5:  # back in, after what was refused
        liar.control.send(p.encode(HELLO))
        liar.control.send(p.encode(p.Ready(0, 100.0, 2)))
    channel = liar.control if chance.random() < 0.5 else liar.bulk
    channel.send_multipart([mutant(number, seed), bytes(chance.choice((0, 32, 33)))][: chance.randrange(1, 3)])
    for each in (liar.control, liar.bulk):
        while each.poll(0):
            each.recv_multipart()
