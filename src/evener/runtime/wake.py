"""A way to wake a thread that polls ZeroMQ sockets."""

from __future__ import annotations

import threading

import zmq


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
