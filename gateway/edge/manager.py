"""From an HTTP request to a manager: whoever says what callers may do, with the scope that the route asks for.

A management key, or a person who has signed in. A request that has both is the key's.
"""

from typing import cast

from billing.kit.pool import tenant
from gateway.access.managers import find_manager
from gateway.access.model import Manager, Reader, well_formed
from gateway.access.organizations import read_organization
from gateway.access.restrictions import refuse_address
from gateway.access.scopes import Scope, roles_with
from gateway.edge.caller import HttpRequest, authenticate, bearer, client_address, gateway_of, header, noted
from gateway.edge.described import Described
from gateway.edge.person import member, session_cookie
from gateway.errors import Forbidden


async def manager(request: HttpRequest) -> Manager:
    """Who manages, if they have the scope in the route's description. Raises Unauthenticated, NotSignedIn, Forbidden,
    KeyRestricted, SecondFactorRequired, CrossSiteRefused.
    """
    found = await (_by_key(request) if by_key(request) else member(request))
    noted.get().by = found
    if found.restrictions is not None:
        refuse_address(found.restrictions, client_address(request))
    if found.actor.kind == "key":
        gateway_of(request).key_uses.note(found.org_id, found.actor.id)
    _require(found, cast("Described", request.route_handler.opt["described"]).scope)
    return found


def by_key(request: HttpRequest) -> bool:
    """Whether a key is to speak for this request: where there is neither, its want is what is refused."""
    return header(request, b"authorization") is not None or session_cookie(request) is None


async def _by_key(request: HttpRequest) -> Manager:
    token = bearer(request)
    if well_formed(token):
        raise Forbidden("an inference key manages nothing; send a management key, tl_mgmt_…")
    async with gateway_of(request).pool.acquire(timeout=5) as conn:  # whose key it is, is what is asked
        return await find_manager(conn, token)


async def reader(request: HttpRequest) -> Reader:
    """Who reads the organization's books: an inference key, or a manager with the scope in the route's description.

    Raises Unauthenticated, Forbidden, KeyRestricted.
    """
    if by_key(request) and well_formed(bearer(request)):
        caller = await authenticate(request)
        return Reader(caller.org_id, caller.livemode, caller.currency)
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return Reader(who.org_id, livemode=True, currency=(await read_organization(conn, who.org_id)).currency)


def _require(found: Manager, scope: Scope | None) -> None:
    assert scope is not None, "a route for managers says its scope: Described(scope=…)"
    if scope not in found.scopes:
        has = ", ".join(sorted(found.scopes)) or "none"
        raise Forbidden(
            f"this needs the scope {scope}, which the roles {', '.join(roles_with(scope))} have and may give to a management "
            f"key; {found.actor.name!r} has {has}"
        )
