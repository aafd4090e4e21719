"""Addresses: which ones only this machine reaches, and which ones others do."""

from __future__ import annotations

import ipaddress
import socket


class AddressError(ValueError):
    """An address that is none, or that may not be used so; the message says what to do."""


def split(text: str) -> tuple[str, int]:
    """``HOST:PORT`` → host and port; an IPv6 address stands in brackets.

    >>> split("gpu.lab:4000"), split("[::1]:4000")
    (('gpu.lab', 4000), ('::1', 4000))

    Raises:
        AddressError: it is none.
    """
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or (":" in bare and bare == host) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise AddressError(
            f"'{text}' is no address: write HOST:PORT, such as 192.168.1.20:4000, gpu.lab:4000 or [fd00::2]:4000."
        )
    return bare, int(port)


def join(host: str, port: int | str) -> str:
    """Host and port as ``HOST:PORT``.

    >>> join("::1", 4000)
    '[::1]:4000'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(host: str) -> list[str]:
    """The numeric addresses of a host, each once.

    >>> resolve("127.0.0.1")
    ['127.0.0.1']

    Raises:
        AddressError: nobody knows it.
    """
    if host == "*":
        return ["0.0.0.0"]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressError(
            f"the host '{host}' is not known here ({getattr(error, 'strerror', None) or error}). Check its spelling, "
            "or give its numeric address."
        ) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def reaches_out(host: str) -> bool:
    """Whether any of a host's addresses is one that other machines may reach.

    >>> reaches_out("127.0.0.1"), reaches_out("::1"), reaches_out("0.0.0.0"), reaches_out("::ffff:127.0.0.1")
    (False, False, True, False)
    """
    return not all(_loopback(address) for address in resolve(host))


def try_listening(ip: str, port: int) -> int:
    """Listen there for a moment; returns the port, which the system chooses for 0.

    Raises:
        OSError: somebody does already, or this machine has no such address, or this user may not.
    """
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((ip, port))
        probe.listen(1)  # with SO_REUSEADDR only this tells that somebody listens
        return int(probe.getsockname()[1])


def listens(address: str) -> bool:
    """Whether somebody listens on a numeric ``HOST:PORT``."""
    try:
        socket.create_connection(split(address), 1.0).close()
    except OSError:
        return False
    return True


def _loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
