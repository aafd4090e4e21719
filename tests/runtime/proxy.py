"""A connection in between, which can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading
import time


class Proxy:
    """Passes on what comes, and can cut one kind of connection alone.

    Attributes:
        up: bytes that went by to the server.
        rate: bytes per second that it lets through to the worker; ``None``: all.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listening.getsockname()[1]}"
        self.up = 0
        self.rate: float | None = None
        self._kinds: dict[socket.socket, str] = {}
        self._counting = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                near.close()  # nobody listens there yet: who dialled will try again
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(one, other, near), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket, near: socket.socket) -> None:
        begun = b""
        try:
            while data := one.recv(1 << 16):
                # A connection says its name in the handshake, which is not encrypted.
                if one is near and len(begun) < 1000:
                    begun += data
                    for kind in ("bulk", "control"):
                        if b"/" + kind.encode() in begun:
                            self._kinds[near] = kind
                if one is near:
                    with self._counting:
                        self.up += len(data)
                elif self.rate is not None:
                    time.sleep(len(data) / self.rate)
                other.sendall(data)
        except OSError:
            pass
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self, kind: str = "bulk") -> None:
        """End the newest connection of this kind; it may be made again."""
        newest = [near for near, its in self._kinds.items() if its == kind][-1]
        del self._kinds[newest]
        newest.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
