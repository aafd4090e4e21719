"""ZeroMQ, and nothing of ours: sockets that authenticate in the handshake."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

import zmq
from zmq.utils import monitor

from . import addresses
from .allowed import Allowed
from .connections import Connections
from .gate import DOMAIN, USER, Gate
from .keys import ServerKeys, WorkerKeys
from .protocol import MAX_MESSAGE
from .wake import Wake

WAITING = 64
"""Messages of one connection that wait to be read at most; its peer waits, too, then."""

QUEUE = 1000
"""Messages that wait for one connection to take them, unless more are needed; who takes none is cut off."""

FILES = 1 << 16
"""Descriptors that a server asks its system for: idle connections are not to keep others out."""

IDLE, BETWEEN, PROBES = 10, 5, 4
"""Seconds of silence after which a system asks the one at the other end of a connection whether it is there, seconds
from one question to the next, and questions without an answer after which the connection ends. So does one where
nothing that was sent has been acknowledged for as long as all that takes.

Systems answer these, not processes: who is slow, or stopped, is there; only a host that vanished, or the way to it, is
not. And the connection alone ends, later than both sides notice silence (15 and 20 s): it decides nothing. But a worker
dials anew then, where the old connection would be found dead after a quarter of an hour."""

CONNECT = 5.0
"""Seconds after which a connection that nobody answers is tried anew: the system's own tries are up to a minute
apart."""

AGAIN = 50, 250
"""Milliseconds until one that was refused is tried anew: at first, and, as that doubles, at most. So a server that was
started again waits for nobody, and a hundred workers that try for long are nothing to a system."""

_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
"""Who speaks, but wrongly. Who hangs up without a word was looking whether anybody is there."""


class PortInUseError(OSError):
    """Another process listens there."""


class OpenAddressError(ValueError):
    """Others could reach this address, and nothing would be encrypted."""


class Listener:
    """The server's socket: one port, and nothing read from those whom the gate does not let in.

    Args:
        address: ``tcp://HOST:PORT``.
        secret: the run's token (PLAIN), for this machine alone; or the server's keys (CURVE: both ends prove who they
            are, and all is encrypted).
        queue: messages that wait for one connection to take them, at most.
        plain_outside: allow a token on an address that others can reach. It then crosses the network as it is, and so
            does all else. For networks where nobody else is, such as the benchmarks' own. Nothing but this allows it.

    Raises:
        OpenAddressError: others can reach the address, and there are no keys.
        PortInUseError: the port is taken.
        addresses.AddressError: the host is not known.
        KeysError: the folder of keys cannot be read.
    """

    def __init__(
        self, address: str, secret: str | ServerKeys, *, queue: int = QUEUE, plain_outside: bool = False
    ) -> None:
        keys = secret if isinstance(secret, ServerKeys) else None
        # Resolved once: what is judged is what is bound.
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        numeric = addresses.resolve(host.strip("[]"))
        if keys is None and not plain_outside:
            refuse_open(address, "listen", numeric)
        _want_descriptors()
        self.context = zmq.Context()
        self.connections = Connections()
        guard = Allowed(secret) if isinstance(secret, ServerKeys) else secret
        self._allowed = guard if isinstance(guard, Allowed) else None
        self._gate = Gate(self.context, guard)
        self.socket: zmq.Socket[bytes] = self.context.socket(zmq.ROUTER)
        if keys is None:
            self.socket.plain_server = True
        else:
            self.socket.curve_server = True
            self.socket.curve_publickey, self.socket.curve_secretkey = keys.public, keys.secret
        self.socket.zap_domain = DOMAIN.encode()
        self.socket.linger = 1000
        self.socket.maxmsgsize = MAX_MESSAGE
        # Never by dropping: who is full waits, or is told that it is not there.
        self.socket.rcvhwm = WAITING
        self.socket.sndhwm = queue
        self.socket.router_mandatory = True
        self.socket.router_handover = True
        _end_when_gone(self.socket)
        self.socket.ipv6 = ":" in numeric[0]
        self.news_socket: zmq.Socket[bytes] = self.socket.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | _FAILED
        )
        self.wake = Wake(self.context)
        try:
            self.socket.bind(f"tcp://{addresses.join(numeric[0], port)}")
        except zmq.ZMQError as error:
            self.close()
            raise PortInUseError(
                f"cannot listen on {address}: {error.strerror or error}. "
                "Choose another port, or none to have one chosen."
            ) from error

    def news(self) -> tuple[int, list[tuple[str, str]]]:
        """How many connections ended, and who was turned away and why, since the last call."""
        ended, failed = 0, 0
        strangers: list[tuple[str, str]] = []
        while self.news_socket.poll(0):
            news = _read(self.news_socket)
            event, value = int(str(news["event"])), int(str(news["value"]))
            if event == zmq.EVENT_ACCEPTED:
                self.connections.opened(value)
            elif event & _FAILED:
                failed += 1
            else:
                ended += 1
                peer = self.connections.closed(value)
                if failed:  # its end follows on it
                    failed -= 1
                    strangers.append((peer, "a connection with a wrong key, or that speaks otherwise than this server"))
        while self._gate.refused:
            strangers.append(self._gate.refused.popleft())
        return ended, strangers

    def allowed(self) -> dict[str, str] | None:
        """Who may take part at this moment, by the user id that their messages carry; ``None``: whoever got in."""
        return None if self._allowed is None else self._allowed.known

    def trouble(self) -> str:
        """What the user must be told of the folder of keys, if anything. To be asked every second or so."""
        return "" if self._allowed is None else self._allowed.trouble()

    def close(self) -> None:
        """Close everything; what is queued gets a second to leave."""
        self.socket.disable_monitor()
        self.news_socket.close(linger=0)
        self.wake.close()
        self.socket.close()
        if self._allowed is not None:
            self._allowed.close()
        self._gate.close()
        self.context.term()


class Dialer:
    """A worker's two connections to the server's one port: control never queues behind bulk.

    Args:
        address: the server's.
        secret: the run's token, or this worker's keys: then nobody is talked to but who has the server's.
        name: of this process, unique.
        plain_outside: as the :class:`Listener`'s.

    Attributes:
        up: whether the control connection is, as of the last news.

    Raises:
        OpenAddressError: others can reach the address, and there are no keys.
    """

    def __init__(self, address: str, secret: str | WorkerKeys, name: str, *, plain_outside: bool = False) -> None:
        if isinstance(secret, str) and not plain_outside:
            refuse_open(address, "dial")
        self.context = zmq.Context()
        self.control = self._socket(address, secret, name + "/control")
        self.bulk = self._socket(address, secret, name + "/bulk")
        # Before it dials: a refusal can be here at once, and is told once.
        self.events: zmq.Socket[bytes] = self.control.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        )
        self.up = False
        self.bulk_events: zmq.Socket[bytes] = self.bulk.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.control.connect(address)
        self.bulk.connect(address)
        self.wake = Wake(self.context)

    def _socket(self, address: str, secret: str | WorkerKeys, name: str) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self.context.socket(zmq.DEALER)
        socket.identity = name.encode()
        prove(socket, secret)
        socket.ipv6 = address.startswith("tcp://[")
        socket.linger = 1000
        socket.sndhwm = 0
        socket.rcvhwm = 0
        socket.reconnect_ivl, socket.reconnect_ivl_max = AGAIN
        socket.connect_timeout = int(CONNECT * 1000)
        _end_when_gone(socket)
        return socket

    def news(self) -> tuple[bool, bool]:
        """Whether the server refused the token, and whether the control connection was lost, since the last call.

        One that ended before its handshake was through was none: while the server is down others may listen there.
        """
        refused = lost = False
        while self.events.poll(0):
            event = _read(self.events)["event"]
            refused |= event == zmq.EVENT_HANDSHAKE_FAILED_AUTH
            lost |= self.up and event == zmq.EVENT_DISCONNECTED
            self.up = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
        return refused, lost

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


def _end_when_gone(socket: zmq.Socket[bytes]) -> None:
    """Let the system end connections whose other end has vanished without a word."""
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt = IDLE, BETWEEN, PROBES
    socket.setsockopt(zmq.TCP_MAXRT, (IDLE + BETWEEN * PROBES) * 1000)  # where the system has it, as Linux does


def _read(socket: zmq.Socket[bytes]) -> Mapping[str, object]:
    return monitor.recv_monitor_message(socket)


def prove(socket: zmq.Socket[bytes], secret: str | WorkerKeys) -> None:
    """Let a socket that dials say who it is."""
    if isinstance(secret, WorkerKeys):
        socket.curve_serverkey = secret.server
        socket.curve_publickey, socket.curve_secretkey = secret.public, secret.secret
    else:
        socket.plain_username, socket.plain_password = USER.encode(), secret.encode()


def refuse_open(address: str, verb: str, numeric: list[str] | None = None) -> None:
    """Without keys only what stays on this machine may be spoken. ``numeric`` is what the host means, if that is known.

    Raises:
        OpenAddressError: others can reach ``address``.
    """
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    ips = addresses.resolve(host) if numeric is None else numeric
    if any(addresses.reaches_out(ip) for ip in ips):
        meant = "" if ips == [host] else f" (which means {', '.join(ips)})"
        raise OpenAddressError(
            f"{host}{meant} is an address that other machines can reach, and there are no keys to {verb} there with. "
            "Make them with 'evener keys DIR NAME ...' and give --keys DIR; without keys only this machine's own "
            "address works, 127.0.0.1 or [::1]."
        )


def _want_descriptors() -> None:
    """Each connection needs one; where a shell's usual limit is 1024, strangers could take them all."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def process_name() -> str:
    """A name that no other process of a run has."""
    return os.urandom(8).hex()
