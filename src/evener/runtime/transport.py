"""ZeroMQ, and nothing of ours: sockets that authenticate in the handshake, and a way to wake a poll."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import monitor

from .protocol import MAX_MESSAGE

DOMAIN = "evener"
USER = "evener"
"""The PLAIN user name; the password is the run's token."""

log = logging.getLogger("evener")


class PortInUseError(OSError):
    """Another process listens there."""


class Listener:
    """The server's socket: one port, PLAIN against the run's token, nothing read from those who lack it.

    Args:
        address: ``tcp://127.0.0.1:PORT``.
        token: the run's secret.

    Raises:
        PortInUseError: the port is taken.
    """

    def __init__(self, address: str, token: str) -> None:
        self.context = zmq.Context()
        self._authenticator = ThreadAuthenticator(self.context, log=_quiet_log())
        self._authenticator.start()
        self._authenticator.configure_plain(domain=DOMAIN, passwords={USER: token})
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
        self.socket.plain_server = True
        self.socket.zap_domain = DOMAIN.encode()
        self.socket.linger = 1000
        self.socket.maxmsgsize = MAX_MESSAGE
        # Bounded by the protocol (one version under way to a worker, two pushes from one), and never by dropping.
        self.socket.sndhwm = 0
        self.socket.router_mandatory = True
        self.socket.router_handover = True
        self.news_socket: zmq.Socket[bytes] = self.socket.get_monitor_socket(
            zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
        )
        self.wake = Wake(self.context)
        try:
            self.socket.bind(address)
        except zmq.ZMQError as error:
            self.close()
            raise PortInUseError(
                f"cannot listen on {address}: {error.strerror or error}. "
                "Choose another port, or none to have one chosen."
            ) from error

    def news(self) -> tuple[int, int]:
        """How many connections ended, and how many were refused for lack of the token, since the last call."""
        ended = strangers = 0
        while self.news_socket.poll(0):
            event = _read(self.news_socket)["event"]
            ended += event == zmq.EVENT_DISCONNECTED
            strangers += event == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        return ended, strangers

    def close(self) -> None:
        """Close everything; what is queued gets a second to leave."""
        self.socket.disable_monitor()
        self.news_socket.close(linger=0)
        self.wake.close()
        self.socket.close()
        self._authenticator.stop()
        self.context.term()


class Dialer:
    """A worker's two connections to the server's one port: control never queues behind bulk.

    Args:
        address: the server's.
        token: the run's secret.
        name: of this process, unique.
    """

    def __init__(self, address: str, token: str, name: str) -> None:
        self.context = zmq.Context()
        self.control = self._socket(token, name + "/control")
        self.bulk = self._socket(token, name + "/bulk")
        # Before it dials: a refusal can be here at once, and is told once.
        self.events: zmq.Socket[bytes] = self.control.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        self.bulk_events: zmq.Socket[bytes] = self.bulk.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.control.connect(address)
        self.bulk.connect(address)
        self.wake = Wake(self.context)

    def _socket(self, token: str, name: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        socket.identity = name.encode()
        socket.plain_username = USER.encode()
        socket.plain_password = token.encode()
        socket.linger = 1000
        socket.sndhwm = 0
        socket.rcvhwm = 0
        socket.reconnect_ivl = 50
        socket.reconnect_ivl_max = 1000
        return socket

    def refused(self) -> bool:
        """Whether the server refused the token (reads the monitor)."""
        refused = False
        while self.events.poll(0):
            refused |= _read(self.events)["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH
        return refused

    def bulk_lost(self) -> bool:
        """Whether the bulk connection ended since the last call, and what was under way there may be lost."""
        lost = False
        while self.bulk_events.poll(0):
            lost |= _read(self.bulk_events)["event"] == zmq.EVENT_DISCONNECTED
        return lost

    def close(self) -> None:
        """Close everything; what is queued gets a second to leave."""
        self.control.disable_monitor()
        self.bulk.disable_monitor()
        self.events.close(linger=0)
        self.bulk_events.close(linger=0)
        self.wake.close()
        self.control.close()
        self.bulk.close()
        self.context.term()


class Wake:
    """Wakes a thread that polls: any thread may ring, one polls ``socket``."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        address = f"inproc://wake-{id(self)}"
        self.socket: zmq.Socket[bytes] = context.socket(zmq.PULL)
        self.socket.bind(address)
        self._bell: zmq.Socket[bytes] = context.socket(zmq.PUSH)
        self._bell.connect(address)
        self._lock = threading.Lock()
        self._ringing = False

    def ring(self) -> None:
        """Make the poll return. Cheap when it was rung already."""
        with self._lock:
            if not self._ringing and not self._bell.closed:
                self._ringing = True
                self._bell.send(b"", zmq.NOBLOCK)

    def hear(self) -> None:
        """After a poll: take the ring. What was queued before the ring is visible now."""
        with self._lock:
            self._ringing = False
            while self.socket.poll(0):
                self.socket.recv()

    def close(self) -> None:
        """Close both ends."""
        with self._lock:
            self._bell.close(linger=0)
            self.socket.close(linger=0)


def _read(socket: zmq.Socket[bytes]) -> Mapping[str, object]:
    return monitor.recv_monitor_message(socket)


def _quiet_log() -> logging.Logger:
    """The authenticator logs each handshake; only refusals are of interest."""
    quiet = logging.getLogger("evener.handshake")
    quiet.setLevel(logging.ERROR)
    return quiet


def process_name() -> str:
    """A name that no other process of a run has."""
    return os.urandom(8).hex()
