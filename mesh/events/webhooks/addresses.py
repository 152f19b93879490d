"""Where messages may go: to addresses that everybody can reach, and to none of ours.

A name is resolved once for each try, every address that it has is checked, and the connection goes
to one that was: an answer that changes between the check and the connection (DNS rebinding) changes
nothing. OWASP API7:2023, server side request forgery.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from mesh.errors import InvalidArgument, Transient, Violation

__all__ = ["Refusal", "Target", "check_url", "is_public", "resolve"]

_PORTS: Final = {"http": 80, "https": 443}
_TRANSLATED: Final = ipaddress.IPv6Network("64:ff9b::/96")
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refusal(Exception):
    """A message may not go there: `reason` is a stable name."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """Where a message goes: a URL in parts, and an address that was checked."""

    scheme: str
    host: str
    port: int
    path: str
    address: str

    @property
    def authority(self) -> str:
        """The host and the port, as the `Host` header names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def check_url(url: str, *, is_open: bool) -> None:
    """Raises `InvalidArgument` for a URL to which no message goes, whatever its name resolves to.

    `is_open` lets messages go to our own addresses, without TLS too: in development.
    """
    try:
        _, host, _, _ = _parts(url, is_open=is_open)
        literal = _literal(host)
        if literal is not None and not is_open and not is_public(literal):
            raise Refusal("ADDRESS_NOT_PUBLIC")
    except Refusal as refusal:
        rule = Violation("url", "must be https, and an address that everybody can reach")
        raise InvalidArgument(refusal.reason, "No message goes there.", rule) from None


async def resolve(url: str, *, is_open: bool) -> Target:
    """Finds the address of a URL. Raises `Refusal`, or `Transient` if its name has none now."""
    scheme, host, port, path = _parts(url, is_open=is_open)
    literal = _literal(host)
    if literal is not None:
        found = [literal]
    else:
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(
                host, port, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError):
            raise Transient("NAME_NOT_RESOLVED", "The name has no address.") from None
        found = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
    if not found:
        raise Transient("NAME_NOT_RESOLVED", "The name has no address.")
    if not is_open and not all(map(is_public, found)):
        raise Refusal("ADDRESS_NOT_PUBLIC")
    return Target(scheme, host, port, path, str(found[0]))


def is_public(address: _Address) -> bool:
    """Whether an address is on the internet, however it is written down."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is None and address in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _parts(url: str, *, is_open: bool) -> tuple[str, str, int, str]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Refusal("URL_INVALID") from None
    if not host or parts.username or parts.password or parts.fragment:
        raise Refusal("URL_INVALID")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise Refusal("URL_INVALID")
    if parts.scheme != "https" and not (is_open and parts.scheme == "http"):
        raise Refusal("URL_NOT_HTTPS")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return parts.scheme, host, port or _PORTS[parts.scheme], path


def _literal(host: str) -> _Address | None:
    """Reads a host that is an address, as resolvers do: `127.1` and `0x7f000001` are, too."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
