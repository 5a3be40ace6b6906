"""What a key may ask for, and from where; pure. A refusal names the rule, the value and what would be accepted."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from gateway.errors import InvalidRequest, KeyRestricted
from gateway.video import Tier, VideoRequest

Resolution: TypeAlias = Literal["480p", "720p", "1080p"]
Network: TypeAlias = IPv4Network | IPv6Network

_TIERS: tuple[Tier, ...] = ("flex", "standard", "priority")
_RESOLUTIONS: tuple[Resolution, ...] = ("480p", "720p", "1080p")


Models: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...],
    Meta(min_length=1, max_length=64, description="Only these models."),
]
SecondsMax: TypeAlias = Annotated[int, Meta(ge=1, le=3600, description="The longest video, in seconds.")]
Addresses: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(max_length=49)], ...],
    Meta(min_length=1, max_length=64, description="Only from these addresses or networks, in CIDR notation."),
]


class Restrictions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is left out is not restricted; all that is given must hold. `tier_max` goes flex, standard, priority."""

    models: Models | None = None
    tier_max: Tier | None = None
    resolution_max: Resolution | None = None
    seconds_max: SecondsMax | None = None
    addresses: Addresses | None = None


_decode = msgspec.json.Decoder(Restrictions).decode


def restrictions_of(stored: bytes) -> Restrictions | None:
    """What stands in the database; None where nothing is restricted."""
    return None if stored == b"{}" else _decode(stored)


def check_restrictions(restrictions: Restrictions) -> None:
    """Raises InvalidRequest for a network that is none, or that has bits set behind its prefix."""
    for text in restrictions.addresses or ():
        try:
            ip_network(text)
        except ValueError as error:
            sentence = f"{text!r} is no address or network; write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32"
            raise InvalidRequest(sentence, param="restrictions.addresses") from error


def refuse_request(restrictions: Restrictions, request: VideoRequest) -> None:
    """Raises KeyRestricted for the first rule that the request breaks."""
    if restrictions.models is not None and request.model not in restrictions.models:
        raise _refused("models", request.model, f"one of {', '.join(restrictions.models)}", param="model")
    if restrictions.tier_max is not None and request.tier not in (tiers := _up_to(_TIERS, restrictions.tier_max)):
        raise _refused("tier_max", request.tier, f"one of {', '.join(tiers)}", param="tier")
    if restrictions.resolution_max is not None:
        resolutions = _up_to(_RESOLUTIONS, restrictions.resolution_max)
        if request.resolution not in resolutions:
            raise _refused("resolution_max", f"{request.size} ({request.resolution})", f"up to {resolutions[-1]}", param="size")
    if restrictions.seconds_max is not None and request.max_ms > restrictions.seconds_max * 1000:
        raise _refused("seconds_max", f"{request.max_ms / 1000:g} s", f"up to {restrictions.seconds_max} s", param="seconds")


def refuse_address(restrictions: Restrictions, address: str) -> None:
    """Raises KeyRestricted for a caller who comes from elsewhere; an empty address is elsewhere."""
    if restrictions.addresses is None:
        return
    try:
        known = ip_address(address)
    except ValueError:
        known = None
    if isinstance(known, IPv6Address):
        known = known.ipv4_mapped or known
    if known is None or not any(known in network for network in _networks(restrictions.addresses)):
        raise _refused("addresses", address or "an unknown address", f"from {', '.join(restrictions.addresses)}")


def _refused(rule: str, value: str, accepted: str, *, param: str | None = None) -> KeyRestricted:
    return KeyRestricted(f"this key's {rule} does not allow {value}; it accepts {accepted}", param=param)


def _up_to(order: Iterable[str], most: str) -> tuple[str, ...]:
    below = tuple(order)
    return below[: below.index(most) + 1]


@lru_cache(maxsize=1024)
def _networks(addresses: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in addresses)
