"""From an HTTP request to a person: the session's cookie, and proof that a page of ours sent it.

A browser sends the cookie with whatever request any page makes it send. So a request that may change something must say by its
Origin (or Sec-Fetch-Site, where a browser leaves that out) that it is from here, and carry a token that other pages cannot know.
"""

import hmac
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit
from uuid import UUID

from billing.kit.query import Conn
from gateway.access.members import memberships_of
from gateway.access.model import Actor, Manager, Membership
from gateway.access.scopes import ROLES
from gateway.edge.caller import HttpRequest, client_address, gateway_of, header
from gateway.edge.pages import uuid_of
from gateway.edge.replies import base_url
from gateway.errors import CrossSiteRefused, Forbidden, InvalidRequest, NotFound, NotSignedIn, SecondFactorRequired, SignInOff
from gateway.people.door import Door
from gateway.people.model import LIFETIME_S, Place, SignedIn, Stage, csrf_token
from gateway.people.sessions import find_session

_SAFE = ("GET", "HEAD", "OPTIONS")
_AGENT_MAX = 200
_NAMES = "Tallylight-Organization"


def door_of(request: HttpRequest) -> Door:
    """Raises SignInOff."""
    door = gateway_of(request).door
    if door is None:
        raise SignInOff
    return door


def origin_of(request: HttpRequest) -> str:
    """Ours, as the browser sees it."""
    url = urlsplit(base_url(request, gateway_of(request).settings.public_url))
    return f"{url.scheme}://{url.netloc}".lower()


def place_of(request: HttpRequest) -> Place:
    agent = header(request, b"user-agent") or ""
    return Place(client_address(request), "".join(filter(str.isprintable, agent))[:_AGENT_MAX])


def require_ours(request: HttpRequest) -> None:
    """Raises CrossSiteRefused for a request of another origin's page, or one that does not say; Forbidden without TLS."""
    _is_secure(request)
    origin, site = header(request, b"origin"), header(request, b"sec-fetch-site")
    if origin is None and site is None:
        raise CrossSiteRefused
    if origin is not None and origin.lower() != origin_of(request):
        raise CrossSiteRefused
    if site is not None and site != "same-origin":
        raise CrossSiteRefused


async def signed_in(request: HttpRequest, stage: Stage | None = "full") -> tuple[SignedIn, str]:
    """The session of this request, and its secret. `stage` None takes either.

    Raises SignInOff, NotSignedIn, SecondFactorRequired, Forbidden for the other stage, CrossSiteRefused.
    """
    door_of(request)
    token = session_cookie(request)
    if token is None or header(request, b"authorization") is not None:
        raise NotSignedIn
    if request.method not in _SAFE:
        require_ours(request)
        if not hmac.compare_digest((header(request, b"x-csrf-token") or "").encode(), csrf_token(token).encode()):
            raise CrossSiteRefused
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        who = await find_session(conn, token)
    if who is None:
        raise NotSignedIn
    if stage == "full" and who.stage == "password":
        raise SecondFactorRequired
    if stage == "password" and who.stage == "full":
        raise Forbidden("you are signed in already")
    return who, token


async def member(request: HttpRequest) -> Manager:
    """What the person may do in the organization that the request names, or in their only one."""
    who, _ = await signed_in(request)
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        found = _chosen(await memberships_of(conn, who.person_id, who.org_id), _organization(request))
    return Manager(found.org_id, Actor("member", found.member_id, found.email), ROLES[found.role])


async def memberships(conn: Conn, who: SignedIn) -> list[Membership]:
    """None before the second factor: a password alone tells nothing."""
    return await memberships_of(conn, who.person_id, who.org_id) if who.stage == "full" else []


def session_cookie(request: HttpRequest) -> str | None:
    return cookie(request, "tallylight")


def cookie(request: HttpRequest, name: str) -> str | None:
    """`__Host-`: no other host, no path and no page without TLS can have set it (RFC 6265bis §4.1.3.2)."""
    given = header(request, b"cookie")
    if given is None:
        return None
    named = _named(request, name) + "="
    return next((one.strip()[len(named) :] for one in given.split(";") if one.strip().startswith(named)), None)


def session_header(request: HttpRequest, token: str) -> str:
    return cookie_header(request, "tallylight", token, LIFETIME_S)


def cookie_header(request: HttpRequest, name: str, value: str, age_s: int) -> str:
    """The value of Set-Cookie; an age of 0 removes it."""
    secure = "; Secure" if _is_secure(request) else ""
    return f"{_named(request, name)}={value}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Lax{secure}"


def _named(request: HttpRequest, name: str) -> str:
    return f"__Host-{name}" if _is_secure(request) else name


def _is_secure(request: HttpRequest) -> bool:
    """Raises Forbidden without TLS, unless this is the browser's own machine."""
    url = urlsplit(origin_of(request))
    if url.scheme == "https" or url.hostname == "localhost":
        return url.scheme == "https"
    with suppress(ValueError):
        if ip_address(url.hostname or "").is_loopback:
            return False
    raise Forbidden("people sign in over https only; set public_url, and trusted_proxies where TLS ends before the gateway")


def _organization(request: HttpRequest) -> UUID | None:
    given = header(request, b"tallylight-organization")
    try:
        return None if given is None else uuid_of(given)
    except NotFound as error:
        raise InvalidRequest(
            "Tallylight-Organization must be the id of an organization", param="Tallylight-Organization"
        ) from error


def _chosen(found: Sequence[Membership], org_id: UUID | None) -> Membership:
    if org_id is None and len(found) > 1:
        known = ", ".join(f"{one.org_id} ({one.organization})" for one in found)
        raise InvalidRequest(f"say which organization with {_NAMES}: {known}", param=_NAMES)
    chosen = [one for one in found if org_id in (None, one.org_id)]
    if not chosen:
        raise Forbidden("you are no member of this organization" if org_id else "you are a member of no organization")
    return chosen[0]
