"""The server's reception: who comes in and as whom, who is turned away, and who is gone."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from ..core import events as e
from ..core.coordinator import Coordinator
from ..trace import Writer
from . import protocol as p
from .admission import PER_KEY, Admission, near
from .bulk.codec import NONE
from .bulk.server import ServerBulk
from .conduct import flaw
from .peers import Peer, Peers, objection, way
from .refusals import Refusals, printable
from .transport import Listener
from .versions import here

TAKEN_BACK = "this worker's key was taken back on the server"


class Reception:
    """Greets workers, and sees them out. Nothing that it refuses reaches the coordinator.

    Args:
        listener: whose connections these are.
        peers, bulk: of the server; filled and emptied here.
        coordinator: whose terms workers are told.
        writer: the run record.
        tell: hands the coordinator an event.
        now: the server's time (s).
        run: the run's id, which workers must name if they name one.
        entries: what the model looks like.
        data: the server's data set, which workers must have, too; ``None``: it is not compared.
        life: how often the run was resumed.

    Attributes:
        refusals: who was turned away.
    """

    def __init__(
        self,
        listener: Listener,
        peers: Peers,
        bulk: ServerBulk,
        coordinator: Coordinator,
        writer: Writer,
        tell: Callable[[e.Event], None],
        now: Callable[[], float],
        *,
        run: str,
        entries: list[p.Entry],
        data: p.DataMark | None,
        life: int,
    ) -> None:
        self.refusals = Refusals(lambda now, text: writer.note(now, "warning", text=text))
        self._listener = listener
        self._peers = peers
        self._bulk = bulk
        self._coordinator = coordinator
        self._writer = writer
        self._tell = tell
        self._now = now
        self._run = run
        self._entries = entries
        self._data = data
        self._life = life
        self._versions = here()
        self._admission = Admission(listener)

    # Coming in ----------------------------------------------------------------------------------------------

    def hears(self, name: bytes, frames: list[zmq.Frame]) -> bool:
        """Whether what came in this name counts. If not, its connection is ended."""
        user, fd = str(frames[-1].get("User-Id")), int(frames[-1].get(zmq.SRCFD))
        connections = self._listener.connections
        connections.took(fd, sum(len(frame.buffer) for frame in frames), len(frames))
        peer, why = self._peers.named(name), ""
        if peer is not None and peer.user != user:
            why = "another one's name"
        elif not self._admission.heard(user):
            why = TAKEN_BACK
            if peer is not None:
                self._take_back(peer)
        if why:
            # Nothing is answered: it would reach the one whose name it is, or was.
            self.refusals.add(self._now(), self._admission.who(frames[-1]), why)
            connections.end(fd)
        return not why

    def greet(self, name: bytes, hello: p.Hello, frame: zmq.Frame) -> Peer | None:
        """Welcome whoever says this, and came by ``frame``; ``None`` if it is refused.

        Raises:
            ProtocolError: nobody may say this.
        """
        if why := flaw(hello, self._bulk.version):
            raise p.ProtocolError(why)
        user, admission, old = str(frame.get("User-Id")), self._admission, self._peers.named(name)
        why = objection(hello, self._run, self._entries, self._versions, self._data)
        if not why and admission.by_key and self._peers.of(user) >= PER_KEY and old is None:
            why = f"{PER_KEY} processes take part with this key already: make another with 'evener keys'"
        if not why and not admission.may_greet(user, self._now()):
            why = "it begins anew again and again"
        if why:
            self.refuse(name, why, frame)
            return None
        if old is not None and not old.joined:
            self._welcome(old)  # it repeats its greeting: the answer may be lost, or on its way
            return old
        if old is not None:
            self.see_out(old, "it began anew")
        peer = self._peers.add(name, hello.index, self._now(), user, near(frame))
        # Numbers that name memory are looked up only for who is on this machine.
        peer.readable = self._bulk.join(name, hello.offer if peer.near else None)
        called = f"{key} ({peer.worker})" if (key := admission.name(user)) else f"worker {peer.worker}"
        note = {"worker": peer.worker, "name": called, "pid": hello.pid, "host": printable(hello.host)}
        self._writer.note(self._now(), "worker", **note, device=printable(hello.device))
        self._welcome(peer)
        return peer

    def _welcome(self, peer: Peer) -> None:
        settings, policy = self._coordinator.state.settings, self._coordinator.policy
        terms: dict[str, int | float | bool] = {
            "batch": settings.batch,
            "epochs": settings.epochs,
            "workers": settings.workers,
            "seed": settings.seed,
            "micro_batch": settings.micro_batch,
            "look_ahead": policy.collects and policy.look_ahead,
        }
        constants, offer = len(self._bulk.constants), self._bulk.offer if peer.near else None
        how = peer.readable, self._run, self._life, self._bulk.compress
        self._peers.say(peer.name, p.Welcome(peer.worker, constants, terms, offer, *how))

    def join(self, peer: Peer, ready: p.Ready) -> None:
        """It is ready for tickets.

        Raises:
            ProtocolError: it was before.
        """
        if peer.joined:
            raise p.ProtocolError("Ready was said before")
        peer.joined = True
        note = {"worker": peer.worker, "imports_s": ready.imports_s, "probe_s": ready.probe_s}
        bulk = way(ready.reads, peer.readable, self._bulk.codec if ready.packed else NONE)
        how = {"bulk": bulk, "channels_last": ready.channels_last}
        why = {"transfer_s": ready.transfer_s, "packing_s": ready.packing_s} if ready.transfer_s else {}
        self._writer.note(self._now(), "start", **note, **how, **why)
        self._tell(e.Joined(peer.worker, ready.version, ready.pace, max(1, min(ready.lookahead, 8))))

    # Going out ----------------------------------------------------------------------------------------------

    def refuse(self, name: bytes, why: str, frame: zmq.Frame) -> None:
        """Turn away who has this name and sent ``frame``."""
        self._peers.say(name, p.Refusal(why))
        self.refusals.add(self._now(), self._admission.who(frame), why)
        if peer := self._peers.named(name):
            self.see_out(peer, why)

    def send_back(self, name: bytes, why: str) -> None:
        """What this worker has under way is lost: its tickets are others', and it may join again."""
        if peer := self._peers.named(name):
            self.see_out(peer, why)
            self._peers.say(name, p.Rejoin())

    def see_out(self, peer: Peer, why: str) -> None:
        """It takes part no longer."""
        self._peers.remove(peer)
        self._bulk.forget(peer.name)
        if peer.joined:
            self._tell(e.Left(peer.worker, why))

    def _take_back(self, peer: Peer) -> None:
        self._peers.say(peer.name, p.Refusal(TAKEN_BACK))
        self.see_out(peer, TAKEN_BACK)

    def patrol(self) -> None:
        """Once a second: who is silent, whose key was taken back, and who sends what never ends."""
        for peer, why in self._peers.roll_call(self._now()):
            self.see_out(peer, why)
        for peer in self._peers:
            if not self._admission.heard(peer.user):
                self.refusals.add(self._now(), self._admission.name(peer.user), TAKEN_BACK)
                self._take_back(peer)
        for fd, who in self._listener.connections.overfull():
            self.refusals.add(self._now(), who, "more bytes than a message has, without its end")
            self._listener.connections.end(fd)
        if text := self._listener.trouble():
            self._writer.note(self._now(), "warning", text=text)
        self.refusals.tell(self._now())

    def news(self, receive_all: Callable[[], None]) -> None:
        """Connections began and ended, or strangers knocked. ``receive_all`` takes what has come since."""
        ended, strangers = self._listener.news()
        for who, why in strangers:
            self.refusals.add(self._now(), who, why)
        if ended and (lost := self._peers.unreachable()):
            receive_all()  # a goodbye may have come
            for peer in lost:
                if self._peers.named(peer.name) is peer:
                    self.see_out(peer, "its connection ended")
