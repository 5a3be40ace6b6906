"""Which addresses may be connected to. Pure.

`ipaddress.is_global` is no guard: on Python 3.11 it calls NAT64, 6to4 and IPv4-compatible forms of private addresses global,
and multicast too. So an address must lie in a block that is handed out to networks, and in none of the special ones, each
with its source. IPv6 addresses that carry an IPv4 address are refused whole: nothing that is meant to be reached needs them.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_SPECIAL_V4 = {
    IPv4Network(block): name
    for block, name in (
        ("0.0.0.0/8", "this network, RFC 791"),
        ("10.0.0.0/8", "private, RFC 1918"),
        ("100.64.0.0/10", "shared by carriers, RFC 6598"),
        ("127.0.0.0/8", "loopback, RFC 1122"),
        ("168.63.129.16/32", "a cloud's own host, Azure"),
        ("169.254.0.0/16", "link-local and cloud metadata, RFC 3927"),
        ("172.16.0.0/12", "private, RFC 1918"),
        ("192.0.0.0/24", "protocol assignments, RFC 6890"),
        ("192.0.2.0/24", "documentation, RFC 5737"),
        ("192.31.196.0/24", "AS112, RFC 7535"),
        ("192.52.193.0/24", "AMT, RFC 7450"),
        ("192.88.99.0/24", "6to4 relays, RFC 7526"),
        ("192.168.0.0/16", "private, RFC 1918"),
        ("192.175.48.0/24", "AS112, RFC 7534"),
        ("198.18.0.0/15", "benchmarks, RFC 2544"),
        ("198.51.100.0/24", "documentation, RFC 5737"),
        ("203.0.113.0/24", "documentation, RFC 5737"),
        ("224.0.0.0/4", "multicast, RFC 5771"),
        ("240.0.0.0/4", "reserved and broadcast, RFC 1112"),
    )
}
_GLOBAL_V6 = IPv6Network("2000::/3")
"""The only block handed out to networks so far (RFC 4291 §2.4); loopback, mapped, NAT64, unique local, multicast lie outside."""

_SPECIAL_V6 = {
    IPv6Network(block): name
    for block, name in (
        ("2001::/23", "protocol assignments with Teredo and ORCHID, RFC 2928"),
        ("2001:db8::/32", "documentation, RFC 3849"),
        ("2002::/16", "6to4, RFC 3056"),
        ("2620:4f:8000::/48", "AS112, RFC 7534"),
        ("3fff::/20", "documentation, RFC 9637"),
    )
}
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)
"""The upper half of an interface identifier that carries an IPv4 address (RFC 5214 §6.1)."""


def refusal(address: Address, allowed: Sequence[Network] = ()) -> str | None:
    """Why nothing may be sent to this address; None for one that may be reached. `allowed` are the operator's exceptions."""
    if opened(address, allowed):
        return None
    if isinstance(address, IPv4Address):
        return next((name for network, name in _SPECIAL_V4.items() if address in network), None)
    if address.scope_id is not None or address not in _GLOBAL_V6:
        return "not a global unicast address, RFC 4291"
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return "ISATAP, RFC 5214"
    return next((name for network, name in _SPECIAL_V6.items() if address in network), None)


def opened(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether an operator opened this address on purpose."""
    return any(address.version == network.version and address in network for network in allowed)


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Raises ValueError for what is no address block."""
    return tuple(ip_network(text) for text in texts)
