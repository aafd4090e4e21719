"""Is the server there, and does it take these keys? Asked before a script is started, which may take a minute."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable

import zmq
from zmq.utils import monitor

from . import addresses
from .keys import WorkerKeys
from .transport import prove

CONNECT, HANDSHAKE = 4.0, 5.0
"""Seconds that a connection, and then the handshake on it, may take."""

LOOK = 2.0
"""Seconds that a look at a server may take."""

PAUSE = 0.5
"""Seconds between two attempts."""


class NobodyError(ConnectionError):
    """There is no server that would take this worker; the message says what to do."""


class NoAnswerError(NobodyError):
    """Whoever is there does not say who it is: it may be a server that is stopped at present."""


def knock(address: str, keys: WorkerKeys, wait: float = 0.0, tell: Callable[[str], None] = lambda text: None) -> str:
    """Find the server.

    Args:
        address: ``HOST:PORT``.
        keys: of this worker.
        wait: seconds to go on trying while the machine is there and nobody listens on the port: the server's script may
            still be loading.
        tell: is told, once, that nobody listens yet.

    Returns:
        ``HOST:PORT`` in numbers: of a host's addresses, the one that answers.

    Raises:
        NobodyError: it is not there, or it is not who these keys are for, or does not take them.
        addresses.AddressError: the host is not known, or the address is none.
    """
    host, port = addresses.split(address)
    until = time.monotonic() + wait
    while True:
        ips = addresses.resolve(host)
        errors = []
        for ip in ips:
            try:
                socket.create_connection((ip, port), CONNECT).close()
            except OSError as error:
                errors.append(error)
                continue
            _shake_hands(addresses.join(ip, port), address, keys)
            return addresses.join(ip, port)
        refused = any(error.errno == errno.ECONNREFUSED for error in errors)
        if not refused or time.monotonic() + PAUSE > until:
            raise NobodyError(_nobody(address, host, port, ips, errors, refused))
        tell(f"nobody listens on {address} yet: trying for {wait:.0f} s")
        tell = _nothing
        time.sleep(PAUSE)


def seen(address: str, secret: str | WorkerKeys) -> str:
    """What is to be seen of a server that does not answer (yet): in words, with what to do.

    Raises:
        NobodyError: somebody is there who is another, as far as keys can tell.
    """
    host, port = addresses.split(address)
    try:
        socket.create_connection((host, port), LOOK).close()
    except ConnectionRefusedError:
        return "nobody listens there yet. Its script may still be loading; or the run is over."
    except OSError as error:
        return (
            f"it cannot be reached ({error.strerror or 'no answer'}). Is that machine on, and does its firewall let "
            f"TCP port {port} in?"
        )
    if isinstance(secret, WorkerKeys):
        try:
            _shake_hands(address, address, secret)
        except NoAnswerError as error:
            return str(error)
    return "somebody listens there, but does not answer as this worker's server. Is it another program, or run?"


def _nothing(text: str) -> None:
    pass


def _nobody(address: str, host: str, port: int, ips: list[str], errors: list[OSError], refused: bool) -> str:
    meant = "" if ips == [host] else f" ({', '.join(ips)})"
    if refused:
        return (
            f"{host}{meant} is there, but nobody listens on port {port}. Is that the port that 'evener serve' was "
            "given with --listen, and has its script come as far as session.prepare()? (--wait SECONDS tries longer.)"
        )
    why = "; ".join(dict.fromkeys(str(error.strerror or "no answer") for error in errors))
    return (
        f"{address}{meant} cannot be reached ({why}). Is the machine on, and on this network (try: ping {host})? Does "
        f"its firewall let TCP port {port} in? The server must listen on an address that this machine can reach "
        "(--listen 0.0.0.0:PORT is all of IPv4, [::]:PORT of both)."
    )


def _shake_hands(numeric: str, address: str, keys: WorkerKeys) -> None:
    """Raise unless both ends are who they should be."""
    context = zmq.Context()
    try:
        channel: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        channel.linger = 0
        channel.ipv6 = numeric.startswith("[")
        prove(channel, keys)
        events: zmq.Socket[bytes] = channel.get_monitor_socket(zmq.EVENT_ALL)
        channel.connect(f"tcp://{numeric}")
        refusal = _outcome(events, address, keys)
        channel.disable_monitor()
        events.close(linger=0)
        channel.close()
    finally:
        context.destroy(linger=0)
    if refusal is not None:
        raise refusal


def _outcome(events: zmq.Socket[bytes], address: str, keys: WorkerKeys) -> NobodyError | None:
    """Why the handshake failed, if it did."""
    until = time.monotonic() + HANDSHAKE
    while (left := until - time.monotonic()) > 0 and events.poll(int(left * 1000) + 1):
        match int(str(monitor.recv_monitor_message(events)["event"])):
            case zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return None
            case zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                return NobodyError(
                    f"the server at {address} does not allow the key of '{keys.name}' (any more). On its machine its "
                    f"folder of keys must have allowed/{keys.name}.pub; 'evener keys DIR NAME' makes a new key."
                )
            case zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
                return NobodyError(
                    f"what listens on {address} is not the server that the key of '{keys.name}' was made for: another "
                    "program, a run without keys, or a server with other keys. Check the port, and copy this worker's "
                    "folder of keys from the server's machine again."
                )
    return NoAnswerError(
        f"{address} takes connections but does not answer as an evener server does within {HANDSHAKE:.0f} s."
    )
