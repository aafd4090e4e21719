"""ZMTP 3.0 by hand (RFC 23), with PLAIN: for what no ZeroMQ socket would send."""

from __future__ import annotations

import socket
import struct

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"PLAIN".ljust(20, b"\0") + bytes(32)


class Raw:
    """One connection that is through with its handshake.

    Args:
        port: of the server, on this machine.
        name: its identity.
        token: of the run.
        handshake: stop after the greeting, if false.
    """

    def __init__(self, port: int, name: bytes, token: bytes = b"secret", handshake: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.socket.sendall(GREETING)
        if handshake:
            self._take(64)
            self.socket.sendall(command(b"HELLO", bytes([6]) + b"evener" + bytes([len(token)]) + token))
            self.hear()
            self.socket.sendall(
                command(b"INITIATE", _property(b"Socket-Type", b"DEALER") + _property(b"Identity", name))
            )
            self.hear()

    def _take(self, size: int) -> bytes:
        taken = b""
        while len(taken) < size:
            data = self.socket.recv(size - len(taken))
            if not data:
                raise ConnectionResetError("the server hung up")
            taken += data
        return taken

    def hear(self) -> bytes:
        """The next frame."""
        flags = self._take(1)[0]
        size = struct.unpack(">Q", self._take(8))[0] if flags & 2 else self._take(1)[0]
        return self._take(size)

    def send(self, *frames: bytes, more: bool = False) -> None:
        """Send frames of one message; with ``more`` to come if said so."""
        for number, data in enumerate(frames):
            self.socket.sendall(frame(data, more or number + 1 < len(frames)))

    def close(self) -> None:
        self.socket.close()


def frame(data: bytes, more: bool) -> bytes:
    return bytes([2 | more]) + struct.pack(">Q", len(data)) + data


def command(name: bytes, body: bytes) -> bytes:
    data = bytes([len(name)]) + name + body
    return bytes([4, len(data)]) + data


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
