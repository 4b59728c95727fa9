"""Where requests may go: rules for URLs, hosts and addresses, and the socket factory that enforces them.

A name can resolve to anything, and to something else the next time. So the rule that counts is the one on the
address that a socket is about to connect to: `socket_factory` is called for every single connection attempt,
literal addresses included (a resolver is not). The checks of the URL at CREATE only tell the user early.

Some addresses are always refused, as no webhook lives there and credentials do: link-local and the metadata
services of clouds, multicast, unspecified, reserved. Private ones are refused where `block_private_networks`
says so. An IPv6 address that carries an IPv4 address is judged by both.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Any
from urllib.parse import SplitResult, urlsplit

from yarl import URL

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL = 2048  # characters


class Refused(ValueError):
    """A URL, host or address that webhooks may not reach. The message says which rule refused it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The [webhooks.security] part of the configuration that says where requests may go."""

    allowed_hosts: tuple[str, ...] = ()  # globs over host names and literal addresses; empty = all
    block_private_networks: bool = False
    allowed_networks: tuple[Network, ...] = ()  # exceptions to block_private_networks


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(cidr) for cidr in text.split())


# Refused whatever the configuration says.
_NEVER: dict[str, tuple[Network, ...]] = {
    "a cloud metadata": _networks(
        "169.254.169.254/32 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32"
        " fd00:ec2::254/128 fd20:ce::254/128"
    ),
    "a link-local": _networks("169.254.0.0/16 fe80::/10"),
    "an unspecified": _networks("0.0.0.0/8 ::/128"),
    "a multicast": _networks("224.0.0.0/4 ff00::/8"),
    "a reserved": _networks("240.0.0.0/4"),
}

_PRIVATE: dict[str, tuple[Network, ...]] = {
    "a loopback": _networks("127.0.0.0/8 ::1/128"),
    "a private": _networks("10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10 64:ff9b:1::/48"),
    "a carrier-grade NAT": _networks("100.64.0.0/10"),
    "a special-purpose": _networks("192.0.0.0/24 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24"),
}

_COMPATIBLE = IPv6Network("::/96")
_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_ISATAP = (0x00005EFE, 0x02005EFE)  # the third 32-bit word of an ISATAP address


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses inside an IPv6 address: where a translator or tunnel would take it."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if (
        address.ipv4_mapped is not None
        or (address in _COMPATIBLE and number > 0xFFFF)  # not :: or ::1, which are themselves
        or any(address in network for network in _NAT64)
        or (number >> 32) & 0xFFFFFFFF in _ISATAP
    ):
        yield IPv4Address(number & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo


def check_address(address: Address, rules: Rules) -> None:
    """Raises Refused unless requests may go to this address."""
    for one in (address, *_embedded(address)):
        kind = _kind(one, _NEVER)
        if kind:
            raise Refused(f"{kind} address is never allowed: {address}")
        if rules.block_private_networks:
            kind = _kind(one, _PRIVATE)
            if kind and not any(one in network for network in rules.allowed_networks):
                raise Refused(f"{kind} address is not allowed (block_private_networks): {address}")


def _kind(address: Address, table: dict[str, tuple[Network, ...]]) -> str:
    for kind, networks in table.items():
        if any(address in network for network in networks):
            return kind
    return ""


def literal_address(host: str) -> Address | None:
    """The address that a host part spells, in any form a resolver would take (127.1, 0x7f.1, 017700000001,
    fe80::1%eth0); None for a name."""
    try:
        return ip_address(host.partition("%")[0].strip("[]"))
    except ValueError:
        pass
    last = host.rstrip(".").rpartition(".")[2]
    if last[:1].isascii() and last[:1].isdigit():  # no top-level domain begins so
        try:
            return IPv4Address(socket.inet_aton(host.rstrip(".")))
        except (OSError, ValueError):
            pass
    return None


def _is_plain(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]) is not None
    except ValueError:
        return False


def allowed_host(host: str, globs: tuple[str, ...]) -> bool:
    """Whether a host (in any case, with or without the root's dot) matches a glob, or there are none."""
    name = host.lower().rstrip(".")
    return not globs or any(fnmatchcase(name, glob.lower().rstrip(".")) for glob in globs)


def check_host(host: str, rules: Rules) -> None:
    """Raises Refused for a host outside allowed_hosts, or a literal address that the rules refuse."""
    if not allowed_host(host, rules.allowed_hosts):
        raise Refused(f"host {host[:255]!a} is not in allowed_hosts")
    address = literal_address(host)
    if address is not None:
        check_address(address, rules)


def check_url(url: str, rules: Rules = Rules()) -> None:
    """Raises Refused unless a webhook may have this URL. Names are judged again when connecting."""
    if len(url) > MAX_URL:
        raise Refused(f"a URL has at most {MAX_URL} characters")
    if any(c <= " " or c == "\x7f" or c == "\\" or 0xD800 <= ord(c) < 0xE000 for c in url):
        raise Refused("a URL has no spaces, control characters or backslashes")
    try:
        parts: SplitResult = urlsplit(url)
        port = parts.port
        host = URL(url).host  # what the client will connect to: the name in its IDNA form
        (host or "").encode("idna")  # what the resolver will want: labels of 1 to 63 characters
    except ValueError:
        raise Refused("the URL is malformed")
    if parts.scheme.lower() not in ("http", "https"):
        raise Refused("a webhook's URL begins with http:// or https://")
    if "@" in parts.netloc:
        raise Refused("a URL has no user info; use AUTH basic user:password")
    if not host or port == 0:
        raise Refused("the URL has no host" if not host else "the URL's port is 0")
    check_host(host, rules)
    address = literal_address(host)
    if address is not None and not _is_plain(host):  # 127.1, 0x7f000001: the client refuses them
        raise Refused(f"the URL's host is an odd spelling of {address}; write that")


def socket_factory(rules: Rules) -> Callable[[tuple[Any, ...]], socket.socket]:
    """What aiohttp's TCPConnector(socket_factory=…) calls with the address of each attempt to connect.

    Raises PermissionError, which the client reports as a failure to connect, for an address that is refused.
    """

    def make(info: tuple[Any, ...]) -> socket.socket:
        family, kind, proto, _, sockaddr = info
        if family not in (socket.AF_INET, socket.AF_INET6):
            raise PermissionError(errno.EACCES, "not an internet address")
        try:
            check_address(ip_address(str(sockaddr[0]).partition("%")[0]), rules)
        except Refused as refusal:
            raise PermissionError(errno.EACCES, str(refusal)) from None
        return socket.socket(family, kind, proto)

    return make
