"""The server's loop: sockets in, events to the coordinator, its commands out. One thread, which decides nothing."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable

import zmq

from ..core import commands as c
from ..core import events as e
from ..core.coordinator import Coordinator
from ..trace import EpochSaid, Writer
from . import protocol as p
from .arrivals import Arrivals
from .bulk.packing import Packing
from .bulk.server import LostError, ServerBulk
from .conduct import Report, Said, flaw
from .numeric import Buffer, ServerNumeric, Verdict, loss_of
from .past import Past
from .peers import PER_TICKET, Peer, Peers
from .reception import Reception
from .refusals import printable
from .transport import Listener

FAREWELL = 10.0
"""Seconds that workers get to fetch the final parameters."""

LAST_LINES = 1.0
"""Seconds that are waited for the disk to take the lines that say so."""

GRACE = 0.5
"""Seconds that the threads of ZeroMQ get, after this process was stopped, to read what workers said meanwhile, before
anybody counts as late."""

LINGER = 10.0
"""Seconds from its start that a server which went on can be found at least: workers look for it four times a second,
and one that is not back yet when the run is over would look for it for long."""


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
        memory: share memory with the workers of this host.
        past: where the run stands; ``coordinator`` and ``numeric`` stand there, too.
        data: the server's data set, which workers must have, too; ``None``: it is not compared.
        packing: of what goes to and from workers over TCP; ``None``: it goes as it is.

    Attributes:
        refusals: who was turned away.
        ended: the epochs that are over.
        between: called in the loop thread whenever nothing is half done: no step is under way.
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
        memory: bool = False,
        past: Past | None = None,
        data: p.DataMark | None = None,
        packing: Packing | None = None,
    ) -> None:
        past = past or Past()
        self.listener = listener
        self.coordinator = coordinator
        self.numeric = numeric
        self.writer = writer
        self.finish: c.Finish | None = None
        self.farewell = FAREWELL
        self.applied = past.applied
        self.ended = list(past.ended)
        self.between: Callable[[], None] | None = None
        self.workers_cpu: dict[int, float] = {}
        self._on_metrics = on_metrics
        self._on_epoch = on_epoch
        self._peers = Peers(listener.socket)
        self._bulk = ServerBulk(
            numeric.publish(),
            numeric.constants(),
            numeric.push_bytes,
            self._peers.send,
            self._peers.say,
            memory,
            past.standing.version,
            past.standing.resumed,
            packing,
        )
        self._posted: deque[Callable[[], None]] = deque()
        self._orders = dict(past.orders)
        self._origin = time.monotonic()
        self._arrivals = Arrivals(self._bulk, self._peers)
        self._life = past.standing.resumed
        self._came: set[bytes] = set()
        self._reception = Reception(
            listener,
            self._peers,
            self._bulk,
            coordinator,
            writer,
            self._tell,
            self.now,
            run=run,
            entries=numeric.entries,
            data=data,
            life=self._life,
        )
        self.refusals = self._reception.refusals

    @property
    def orders(self) -> dict[int, Buffer]:
        """The sampler's orders of the epochs under way, as bytes that never change."""
        return dict(self._orders)

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
        # Before the workers go: who reads along must know that they may.
        self.writer.flush(self.now(), LAST_LINES)
        self.refusals.tell(self.now(), last=True)
        until = self.now() + self.farewell
        for peer in self._peers:
            self._tell_end(peer, self.finish)
        while (self._peers or self._awaited) and self.now() < until:
            self._round(poller)

    @property
    def _awaited(self) -> bool:
        """Workers of the server that was lost may not have found this one yet, and are to hear that the run is over."""
        return self._life > 0 and len(self._came) < self.coordinator.state.settings.workers and self.now() < LINGER

    def _round(self, poller: zmq.Poller) -> None:
        deadline = self.coordinator.deadline()
        wake = self._peers.next_call
        if deadline is not None:
            wake = min(wake, max(deadline, self._peers.awake_since + GRACE))
        ready = dict(poller.poll(math.ceil(max(0.0, wake - self.now()) * 1000)))
        if self.listener.wake.socket in ready:
            self.listener.wake.hear()
            while self._posted:
                self._posted.popleft()()
        # Everything that has arrived is heard before a deadline is judged: a stall of this process must not
        # make its workers look late.
        self._receive_all()
        if self.listener.news_socket in ready:
            self._reception.news(self._receive_all)
        if self.now() >= self._peers.next_call:
            self.writer.flush(self.now())
            self._reception.patrol()
        now, deadline = self.now(), self.coordinator.deadline()
        if deadline is not None and now >= max(deadline, self._peers.awake_since + GRACE):
            self._tell(e.Tick())
        if self.between is not None:
            self.between()

    def _receive_all(self) -> None:
        for _ in range(1000):
            if not self._receive():
                break

    def _receive(self) -> bool:
        try:
            frames = self.listener.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        name = bytes(frames[0].buffer).partition(b"/")[0]
        if not self._reception.hears(name, frames):
            return True
        try:
            if not 2 <= len(frames) <= 3:
                raise p.ProtocolError(f"a message of {len(frames)} frames")
            message = p.decode(frames[1].buffer)
            self._hear(name, message, frames[2].buffer if len(frames) > 2 else memoryview(b""), frames[1])
        except p.ProtocolError as error:
            self._reception.refuse(name, f"protocol error: {error}", frames[-1])
        except LostError as error:
            self._reception.send_back(name, str(error))
        return True

    # What workers say ---------------------------------------------------------------------------------------

    def _hear(self, name: bytes, message: p.Message, payload: Buffer, frame: zmq.Frame) -> None:
        if isinstance(message, p.Hello):
            welcomed = self._reception.greet(name, message, frame)
            if welcomed is not None:
                self._came.add(name)
            if welcomed is not None and self.finish is not None:  # too late to help, in time for the result
                self._tell_end(welcomed, self.finish)
            return
        peer = self._peers.named(name)
        if peer is None:
            late = self._awaited and name not in self._came
            if (self.finish is None or late) and isinstance(message, p.Alive):
                self._peers.say(name, p.Rejoin())
            return
        peer.heard = self.now()
        if isinstance(message, Report) and (not peer.joined or message.worker != peer.worker):
            return  # of a membership that is over, and maybe of one with a server that was lost
        if isinstance(message, Said) and (why := flaw(message, self._bulk.version)):
            raise p.ProtocolError(why)
        match message:
            case p.Fetch():
                self._bulk.fetch(name)
            case p.Pull(newer_than, reads, base):
                self._bulk.pull(name, newer_than, reads, base)
            case p.Taken(key):
                self._bulk.taken(name, key)
            case p.Push() | p.Part():
                if (whole := self._bulk.push(name, message, payload)) is not None:
                    self._arrived(peer, *whole)
            case p.Ready():
                self._reception.join(peer, message)
            case p.Leave(reason, cpu_s):
                self.workers_cpu[peer.worker] = cpu_s
                self._reception.see_out(peer, printable(reason))
            case p.Alive(cpu_s):
                self.workers_cpu[peer.worker] = cpu_s
            case e.Started() | e.Computed() | e.Declined() | e.Released() | e.Received():
                peer.spend()
                self._tell(message)
            case _:
                raise p.ProtocolError(f"{type(message).__name__} is not for a worker to say")

    def _tell_end(self, peer: Peer, finish: c.Finish) -> None:
        self._peers.say(peer.name, p.Finished(self._bulk.version, finish.reason, finish.ok))

    def _arrived(self, peer: Peer, head: p.Push, whole: Buffer) -> None:
        if self.finish is not None:
            return  # nobody will ask for it, or let it go
        peer.spend()
        member = self.coordinator.state.members.get(peer.worker)
        own = member is not None and all(ticket in member.tickets for ticket in head.tickets)
        if own and max(head.versions) > self._bulk.version:
            raise p.ProtocolError(f"it holds version {max(head.versions)}, of {self._bulk.version} that there are")
        number = self._arrivals.keep(peer.worker, head, whole)
        # What is not its own is not looked at: the coordinator drops it.
        verdict = self.numeric.verdict(head, whole) if own else Verdict("some of its tickets are not this worker's")
        weight = head.weight if math.isfinite(head.weight) else 0.0
        loss = loss_of(head.metrics)
        self._tell(
            e.Arrived(peer.worker, number, head.tickets, head.versions, weight, verdict.word, verdict.norm, loss)
        )
        self._peers.say(peer.name, e.Landed())
        # What was neither taken nor kept is a contribution of a worker that the coordinator does not know.
        if not self.coordinator.state.members.get(peer.worker):
            self._arrivals.let_go(peer.worker, number)

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
                head, payload = self._arrivals.get(worker, push)
                self.numeric.accumulate(step, head, payload, factor)
                self._arrivals.let_go(worker, push)
                self.applied += samples
                if metrics := self._arrivals.metrics(head):
                    self._on_metrics(metrics)
            case c.Discard(worker, push):
                self._arrivals.let_go(worker, push)
            case c.Revoke(worker, ticket):
                if peer := self._peers.numbered(worker):
                    self._peers.say(peer.name, e.Revoked(ticket))
            case c.Step(version=version):
                began = time.monotonic()
                self.numeric.step(command)
                return e.StepDone(version, time.monotonic() - began)
            case c.Publish(version):
                self._peers.allow(2)
                self._bulk.publish(version, self.numeric.publish(self._bulk.room()))
            case c.DrawEpoch(epoch):
                self._orders[epoch] = self.numeric.draw(epoch)
                return e.EpochDrawn(epoch, len(self._orders[epoch]) // 8)
            case c.EndEpoch(epoch, version, applied, declined, refused, dropped):
                self.ended.append(EpochSaid(epoch, version, applied, declined, refused, dropped))
                self.numeric.end_epoch(epoch, version)
                self._orders.pop(epoch, None)
                self._on_epoch(command, self.now())
            case c.Finish():
                self.finish = command
            case _:
                pass
        return None

    def _grant(self, grant: c.Grant) -> None:
        if peer := self._peers.numbered(grant.worker):
            order = self._orders[grant.epoch]
            indices = b"".join(order[start * 8 : stop * 8] for start, stop in grant.ranges)
            message = e.Granted(grant.ticket, grant.epoch, grant.step, grant.group, grant.ranges, grant.min_version)
            peer.allowance += PER_TICKET
            self._peers.say(peer.name, message, indices)
