"""The reach of an address: a redirect must not lead to an address that only we can reach.

Such an address may be a service of this machine, of its network, or the metadata of a cloud, which
hands out credentials. A source that is in such a network itself may redirect within it.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from enum import IntEnum

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(IntEnum):
    """Where an address can be reached from; a redirect may lead only to the same, or up."""

    MACHINE = 0  # loopback and link-local
    NETWORK = 1  # a private network
    WORLD = 2


def reach_of_name(host: str) -> Reach | None:
    """Return the reach of a host that is an address, or this machine; None for other names."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return Reach.MACHINE
    address = _literal(host)
    return None if address is None else _reach(address)


def reach_of_addresses(addresses: Iterable[str]) -> Reach:
    """Return the narrowest reach of the addresses that a name has."""
    found = (ipaddress.ip_address(address.partition("%")[0]) for address in addresses)
    return min(map(_reach, found), default=Reach.WORLD)


def _literal(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:  # the short forms that connect as well: 127.1, 0x7f000001
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def _reach(address: _Address) -> Reach:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return _reach(inner)
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return Reach.MACHINE
    return Reach.WORLD if address.is_global else Reach.NETWORK
