"""A way to the server that can be cut: what passes is held meanwhile, as by a network that comes back."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Passes on what comes for a port of this machine. While it is cut nothing passes, and nobody is told.

    Connections stay: TCP, too, keeps them for minutes and sends again. Two threads a connection; for tests and
    experiments, not for speed.

    Args:
        port: the server's.
        host: its address, and where this listens.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._to = host, port
        self._open = threading.Event()
        self._open.set()
        self._ends: set[socket.socket] = set()
        self._closed = False
        self._listening = socket.create_server((host, 0))
        self.address = f"tcp://{host}:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, name="evener-proxy", daemon=True).start()

    def cut(self) -> None:
        """From now on nothing passes."""
        self._open.clear()

    def mend(self) -> None:
        """Everything passes again, what was held first."""
        self._open.set()

    def drop(self) -> None:
        """End all connections; they may be made again."""
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all connections for good. May be called more than once."""
        self._closed = True
        self._open.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.drop()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return  # it was closed
            self._open.wait()
            try:
                far = socket.create_connection(self._to)
            except OSError:
                near.close()  # nobody listens there yet: who dialled will try again
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._ends.add(end)
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other), name="evener-proxy", daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                self._open.wait()
                other.sendall(data)
        self._open.wait()  # the end of a connection does not get through either
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
            self._ends.discard(end)
