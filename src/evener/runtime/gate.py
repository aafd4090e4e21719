"""The gate: whom the server's socket lets in. It answers ZeroMQ's question (ZAP, RFC 27) in each handshake.

Until it has said yes nothing of ours is read. What it says yes to becomes the connection's user id, which every message
then carries: a public key, or the user of the run's token.
"""

from __future__ import annotations

import hmac
import threading
from collections import deque

import zmq

from .allowed import Allowed

DOMAIN = "evener"
USER = "evener"
"""The PLAIN user name; the password is the run's token."""

REMEMBERED = 1000
"""Refusals that wait to be read at most; more are only counted."""

_ADDRESS = "inproc://zeromq.zap.01"


class Gate:
    """Answers in a thread of its own.

    Args:
        context: of the socket that is guarded. One gate to a context.
        secret: the run's token, or who is allowed by key.

    Attributes:
        refused: ``(address, why)`` of those turned away, oldest first; to be emptied by who reads it.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], secret: str | Allowed) -> None:
        self._secret = secret
        self.refused: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)
        self._socket: zmq.Socket[bytes] = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.bind(_ADDRESS)
        self._stop: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self._stop.bind(f"inproc://gate-{id(self)}")
        self._stopped: zmq.Socket[bytes] = context.socket(zmq.PAIR)
        self._stopped.connect(f"inproc://gate-{id(self)}")
        self._thread = threading.Thread(target=self._run, name="evener-gate", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.send(b"")
        self._thread.join()
        self._stop.close(linger=0)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._stopped, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._stopped in ready:
                break
            version, request, _, address, _, mechanism, *credentials = self._socket.recv_multipart()
            user, why = self._judge(mechanism, credentials)
            if why:
                self.refused.append((address.decode("ascii", "replace"), why))
            status = [b"400", b"refused", b""] if why else [b"200", b"OK", user]
            self._socket.send_multipart([version, request, *status, b""])
        self._socket.close()
        self._stopped.close(linger=0)

    def _judge(self, mechanism: bytes, credentials: list[bytes]) -> tuple[bytes, str]:
        """The user id, and why not; one of them is empty."""
        if isinstance(self._secret, Allowed):
            if mechanism != b"CURVE" or len(credentials) != 1:
                return b"", "a connection without a key"
            key = zmq.utils.z85.encode(credentials[0])
            if key.decode() in self._secret.look():
                return key, ""
            return b"", f"the key {key[:8].decode()}..., which is not (or no longer) allowed here"
        if mechanism == b"PLAIN" and len(credentials) == 2:
            right = hmac.compare_digest(credentials[1], self._secret.encode())
            if right and credentials[0] == USER.encode():
                return USER.encode(), ""
        return b"", "a connection without this run's token"
