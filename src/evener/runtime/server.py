"""The server's loop: sockets in, events to the coordinator, its commands out. One thread, which decides nothing."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import zmq

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..trace import Writer
from . import protocol as p
from .numeric import Buffer, ServerNumeric, loss_of
from .transport import Listener

SILENCE = 15.0
"""Seconds after which a worker that says nothing counts as gone (its I/O thread speaks every second)."""

ROLL_CALL = 1.0
"""Seconds between two signs of life, and between two looks for workers that give none."""

FAREWELL = 10.0
"""Seconds that workers get to fetch the final parameters."""


@dataclass(slots=True)
class _Peer:
    """A worker's process, by the name its connections carry."""

    name: bytes
    worker: int
    hello: p.Hello
    heard: float
    joined: bool = False
    pull: int | None = None
    head: p.Push | None = None
    buffer: bytearray = field(default_factory=bytearray)
    filled: int = 0


class Server:
    """Carries out what the coordinator says.

    Args:
        listener: the open socket.
        coordinator: decides.
        numeric: knows tensors.
        writer: the run record.
        run: the run's id, which workers must name.
        on_metrics: called with what workers logged, as ``(name → (Σ weight · value, Σ weight))`` of an accepted push.
        on_epoch: called at an epoch's end, with its command and the time. Both are called in the loop thread.
    """

    def __init__(
        self,
        listener: Listener,
        coordinator: Coordinator,
        numeric: ServerNumeric,
        writer: Writer,
        run: str,
        on_metrics: Callable[[dict[str, tuple[float, float]]], None],
        on_epoch: Callable[[c.EndEpoch, float], None],
    ) -> None:
        self.listener = listener
        self.coordinator = coordinator
        self.numeric = numeric
        self.writer = writer
        self.run_id = run
        self.finish: c.Finish | None = None
        self.farewell = FAREWELL
        self.applied = 0
        self.workers_cpu: dict[int, float] = {}
        self._on_metrics = on_metrics
        self._on_epoch = on_epoch
        self._peers: dict[bytes, _Peer] = {}
        self._by_worker: dict[int, _Peer] = {}
        self._posted: deque[Callable[[], None]] = deque()
        self._pushes: dict[tuple[int, int], tuple[p.Push, Buffer]] = {}
        self._orders: dict[int, Buffer] = {}
        self._version = 0
        self._parameters: Buffer = numeric.publish()
        self._constants = numeric.constants()
        self._origin = time.monotonic()
        self._next_round = 0.0
        self._called = 0.0
        self._strangers = 0
        self._arrivals = 0
        self._now = 0.0

    def now(self) -> float:
        """Seconds since the record was opened."""
        return time.monotonic() - self._origin

    def post(self, event: e.Event) -> None:
        """Hand the coordinator an event, from any thread."""
        self.call(lambda: self._tell(event))

    def call(self, action: Callable[[], None]) -> None:
        """Run ``action`` in the loop thread, soon."""
        self._posted.append(action)
        self.listener.wake.ring()

    # The loop -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the run is over and every worker has the final parameters, or had time to."""
        poller = zmq.Poller()
        for socket in (self.listener.socket, self.listener.wake.socket, self.listener.news_socket):
            poller.register(socket, zmq.POLLIN)
        while self.finish is None:
            self._round(poller)
        self.writer.flush(self.now())  # before the workers go: who reads along must know that they may
        until = self.now() + self.farewell
        for peer in self._peers.values():
            self._send(peer, "control", p.Finished(self._version, self.finish.reason, self.finish.ok))
        while self._peers and self.now() < until:
            self._round(poller)

    def _round(self, poller: zmq.Poller) -> None:
        deadline = self.coordinator.deadline()
        wake = self._next_round if deadline is None else min(deadline, self._next_round)
        ready = dict(poller.poll(math.ceil(max(0.0, wake - self.now()) * 1000)))
        if self.listener.wake.socket in ready:
            self.listener.wake.hear()
            while self._posted:
                self._posted.popleft()()
        # Everything that has arrived is heard before a deadline is judged: a stall of this process must not
        # make its workers look late.
        self._receive_all()
        if self.listener.news_socket in ready:
            self._news()
        if self.now() >= self._next_round:
            self._next_round = self.now() + ROLL_CALL
            self._roll_call()
        deadline = self.coordinator.deadline()
        if deadline is not None and self.now() >= deadline:
            self._tell(e.Tick())

    def _receive_all(self) -> None:
        for _ in range(1000):
            if not self._receive():
                break

    def _receive(self) -> bool:
        try:
            frames = self.listener.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        name, _, channel = bytes(frames[0].buffer).partition(b"/")
        try:
            if len(frames) < 2:
                raise p.ProtocolError("a message without a body")
            message = p.decode(frames[1].buffer)
            self._hear(name, channel, message, frames[2].buffer if len(frames) > 2 else memoryview(b""))
        except p.ProtocolError as error:
            self._refuse(name, f"protocol error: {error}")
        return True

    # What workers say ---------------------------------------------------------------------------------------

    def _hear(self, name: bytes, channel: bytes, message: p.Message, payload: Buffer) -> None:
        peer = self._peers.get(name)
        if isinstance(message, p.Hello):
            self._welcome(name, message)
            return
        if peer is None:
            if self.finish is None and isinstance(message, p.Alive):
                self._to(name, "control", p.Rejoin())
            return
        peer.heard = self.now()
        match message:
            case p.Fetch():
                self._send_bulk(peer, lambda offset: p.Constants(offset), self._constants)
            case p.Pull(newer_than):
                peer.pull = newer_than
                self._answer_pull(peer)
            case p.Push():
                peer.head, peer.filled = message, 0
                if len(peer.buffer) != self.numeric.push_bytes:
                    peer.buffer = bytearray(self.numeric.push_bytes)
                self._part(peer, message.push, 0, payload)
            case p.Part(push, offset):
                self._part(peer, push, offset, payload)
            case p.Ready(version, pace, lookahead, imports_s, probe_s):
                peer.joined = True
                self.writer.note(self.now(), "start", worker=peer.worker, imports_s=imports_s, probe_s=probe_s)
                self._tell(e.Joined(peer.worker, version, pace, max(1, min(lookahead, 8))))
            case p.Leave(reason, cpu_s):
                self.workers_cpu[peer.worker] = cpu_s
                self._gone(peer, reason)
            case p.Alive(cpu_s):
                self.workers_cpu[peer.worker] = cpu_s
            case e.Started() | e.Computed() | e.Declined() | e.Released() | e.Received():
                if message.worker == peer.worker and peer.joined:
                    self._tell(message)
            case _:
                raise p.ProtocolError(f"{type(message).__name__} is not for a worker to say")

    def _welcome(self, name: bytes, hello: p.Hello) -> None:
        why = ""
        if hello.protocol != p.PROTOCOL:
            why = f"the server speaks protocol {p.PROTOCOL}, this worker {hello.protocol}: install the same evener"
        elif hello.run != self.run_id:
            why = f"this server runs {self.run_id}, not {hello.run}"
        elif difference := p.mismatch(self.numeric.entries, hello.entries):
            why = f"the model differs: {difference}. Every process must build the same model."
        if why:
            self._refuse(name, why)
            return
        worker = hello.index
        if worker < 0 or worker in self._by_worker:
            worker = max([-1, *self._by_worker]) + 1
        peer = _Peer(name, worker, hello, self.now())
        self._peers[name] = self._by_worker[worker] = peer
        note = {"worker": worker, "name": f"worker {worker}", "pid": hello.pid, "host": hello.host}
        self.writer.note(self.now(), "worker", **note, device=hello.device)
        settings = self.coordinator.state.settings
        terms: dict[str, int | float | bool] = {
            "batch": settings.batch,
            "epochs": settings.epochs,
            "workers": settings.workers,
            "seed": settings.seed,
            "micro_batch": settings.micro_batch,
            "look_ahead": self.coordinator.policy.collects and self.coordinator.policy.look_ahead,
        }
        self._send(peer, "control", p.Welcome(worker, len(self._constants), terms))
        if self.finish is not None:  # too late to help, in time for the result
            self._send(peer, "control", p.Finished(self._version, self.finish.reason, self.finish.ok))

    def _refuse(self, name: bytes, why: str) -> None:
        self._to(name, "control", p.Refusal(why))
        self.writer.note(self.now(), "warning", text=f"a worker was refused: {why}")
        if peer := self._peers.get(name):
            self._gone(peer, why)

    def _part(self, peer: _Peer, push: int, offset: int, payload: Buffer) -> None:
        head = peer.head
        if head is None or head.push != push or offset != peer.filled:
            raise p.ProtocolError(f"part {offset} of push {push} is out of order")
        total = self.numeric.push_bytes
        if offset + len(payload) > total:
            raise p.ProtocolError(f"push {push} is longer than the {total} bytes of this model")
        whole = payload
        if offset or len(payload) < total:
            peer.buffer[offset : offset + len(payload)] = payload
            whole = memoryview(peer.buffer)
        peer.filled += len(payload)
        if peer.filled < total:
            return
        peer.head = None
        if whole is not payload:
            peer.buffer = bytearray()  # the coordinator may keep this push until its step: the next gets its own
        # The server's own number: a worker's would begin anew when its process does.
        number = self._arrivals
        self._arrivals += 1
        self._pushes[peer.worker, number] = head, whole
        verdict = self.numeric.verdict(head, whole)
        weight = head.weight if math.isfinite(head.weight) else 0.0
        loss = loss_of(head.metrics)
        self._tell(
            e.Arrived(peer.worker, number, head.tickets, head.versions, weight, verdict.word, verdict.norm, loss)
        )
        # What was neither taken nor kept is a contribution of a worker that the coordinator does not know.
        if not self.coordinator.state.members.get(peer.worker):
            self._pushes.pop((peer.worker, number), None)

    def _gone(self, peer: _Peer, reason: str) -> None:
        self._peers.pop(peer.name, None)
        self._by_worker.pop(peer.worker, None)
        if peer.joined:
            self._tell(e.Left(peer.worker, reason))

    def _news(self) -> None:
        """Connections ended, or strangers knocked."""
        ended, strangers = self.listener.news()
        if strangers and not self._strangers:
            self.writer.note(self.now(), "warning", text="a connection without this run's token was refused")
        self._strangers += strangers
        if ended:
            lost = [peer for peer in self._peers.values() if not self._send(peer, "control", p.Alive())]
            if lost:
                self._receive_all()  # a goodbye may have come since
            for peer in lost:
                if self._peers.get(peer.name) is peer:
                    self._gone(peer, "its connection ended")

    def _roll_call(self) -> None:
        self.writer.flush(self.now())
        stopped = self.now() - self._called > 3 * ROLL_CALL
        self._called = self.now()
        for peer in list(self._peers.values()):
            if stopped:
                # This process was, for a while: what workers said meanwhile may not have been read yet.
                peer.heard = self._called
            if self.now() - peer.heard > SILENCE:
                self._gone(peer, f"silent for {SILENCE:.0f} s")
            elif not self._send(peer, "control", p.Alive()):
                self._gone(peer, "its connection ended")

    # What the coordinator says ------------------------------------------------------------------------------

    def _tell(self, event: e.Event) -> None:
        # Commands may cause events at once (a step is done, an order is drawn): one after the other, in order.
        waiting = [event]
        while waiting:
            now = self.now()
            next_event = waiting.pop(0)
            commands = self.coordinator.handle(next_event, now)
            self.writer.event(now, next_event, commands)
            for command in commands:
                answer = self._carry_out(command)
                if answer is not None:
                    waiting.append(answer)

    def _carry_out(self, command: c.Command) -> e.Event | None:
        match command:
            case c.Grant():
                self._grant(command)
            case c.Accumulate(worker, push, step, samples, factor, _):
                head, payload = self._pushes.pop((worker, push))
                self.numeric.accumulate(step, head, payload, factor)
                self.applied += samples
                if head.metrics:
                    self._on_metrics(head.metrics)
            case c.Discard(worker, push):
                self._pushes.pop((worker, push), None)
            case c.Revoke(worker, ticket):
                if peer := self._by_worker.get(worker):
                    self._send(peer, "control", e.Revoked(ticket))
            case c.Step(version=version):
                began = time.monotonic()
                self.numeric.step(command)
                return e.StepDone(version, time.monotonic() - began)
            case c.Publish(version):
                self._version = version
                self._parameters = self.numeric.publish()
                for peer in list(self._peers.values()):
                    self._answer_pull(peer)
            case c.DrawEpoch(epoch):
                self._orders[epoch] = self.numeric.draw(epoch)
                return e.EpochDrawn(epoch, len(self._orders[epoch]) // 8)
            case c.EndEpoch(epoch, version):
                self.numeric.end_epoch(epoch, version)
                self._orders.pop(epoch, None)
                self._on_epoch(command, self.now())
            case c.Finish():
                self.finish = command
            case _:
                pass
        return None

    def _grant(self, grant: c.Grant) -> None:
        peer = self._by_worker.get(grant.worker)
        if peer is None:
            return
        order = self._orders[grant.epoch]
        indices = b"".join(order[start * 8 : stop * 8] for start, stop in grant.ranges)
        message = e.Granted(grant.ticket, grant.epoch, grant.step, grant.group, grant.ranges, grant.min_version)
        self._send(peer, "control", message, indices)

    # Sending ------------------------------------------------------------------------------------------------

    def _answer_pull(self, peer: _Peer) -> None:
        if peer.pull is not None and self._version > peer.pull:
            peer.pull = None
            version = self._version
            self._send_bulk(peer, lambda offset: p.Version(version, offset), self._parameters)

    def _send_bulk(self, peer: _Peer, head: Callable[[int], p.Message], data: Buffer) -> None:
        for start, stop in p.chunks(len(data)):
            # The bytes never change and are shared by all who are sent them.
            if not self._send(peer, "bulk", head(start), data[start:stop], copy=False):
                return

    def _send(
        self, peer: _Peer, channel: str, message: p.Message, payload: Buffer | bytes | None = None, copy: bool = True
    ) -> bool:
        return self._to(peer.name, channel, message, payload, copy)

    def _to(
        self, name: bytes, channel: str, message: p.Message, payload: Buffer | bytes | None = None, copy: bool = True
    ) -> bool:
        """Whether the peer is still connected."""
        frames: list[bytes | Buffer] = [name + b"/" + channel.encode(), p.encode(message)]
        try:
            if payload is None:
                self.listener.socket.send_multipart(frames)
            else:
                self.listener.socket.send(frames[0], zmq.SNDMORE)
                self.listener.socket.send(frames[1], zmq.SNDMORE)
                self.listener.socket.send(payload, 0, copy)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True


def process_cpu() -> float:
    """CPU seconds this process has used."""
    times = os.times()
    return times.user + times.system
