"""Where a redirect may lead: a server must not send us to addresses that only this machine reaches.

Such an address may be a service of this machine, of its network, or the metadata of a cloud, which
hands out credentials. A source that is in such a network itself may redirect within it.
"""

from __future__ import annotations

import ipaddress
import socket
from enum import IntEnum
from urllib.parse import urlsplit

import requests

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Reach(IntEnum):
    """From where an address can be reached; a redirect may only lead to the same, or up."""

    MACHINE = 0  # loopback and link-local
    NETWORK = 1  # a private network
    WORLD = 2


def allowed(source: str, target: str) -> bool:
    """Return whether an address that a person named may redirect to another.

    Names are resolved, unless a proxy does that.
    """
    if urlsplit(target).scheme not in {"http", "https"}:
        return True  # The request fails with the reason.
    reach = reach_of(target)
    return reach is Reach.WORLD or reach >= reach_of(source)


def reach_of(url: str) -> Reach:
    """Return the narrowest reach of the addresses that a URL's host has."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return Reach.MACHINE
    literal = _literal(host)
    if literal is not None:
        return _reach(literal)
    if requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url)):
        return Reach.WORLD  # the proxy connects, and decides where to
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return Reach.WORLD  # the request fails with the reason
    addresses = [ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found]
    return min(map(_reach, addresses), default=Reach.WORLD)


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
