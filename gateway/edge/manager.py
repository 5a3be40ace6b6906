"""From an HTTP request to a manager: whoever says what callers may do, with the scope that the route asks for."""

from typing import cast

from billing.kit.pool import tenant
from gateway.access.managers import find_manager
from gateway.access.model import Manager, Reader, well_formed
from gateway.access.organizations import read_organization
from gateway.access.restrictions import refuse_address
from gateway.access.scopes import Scope, roles_with
from gateway.edge.caller import HttpRequest, authenticate, bearer, client_address, gateway_of, noted
from gateway.edge.described import Described
from gateway.errors import Forbidden


async def manager(request: HttpRequest) -> Manager:
    """Who manages, if they have the scope in the route's description. Raises Unauthenticated, Forbidden, KeyRestricted."""
    token, gateway = bearer(request), gateway_of(request)
    if well_formed(token):
        raise Forbidden("an inference key manages nothing; send a management key, tl_mgmt_…")
    async with gateway.pool.acquire(timeout=5) as conn:  # whose key it is, is what is asked
        found = await find_manager(conn, token)
    noted.get().by = found
    if found.restrictions is not None:
        refuse_address(found.restrictions, client_address(request))
    gateway.key_uses.note(found.org_id, found.actor.id)
    _require(found, cast("Described", request.route_handler.opt["described"]).scope)
    return found


async def reader(request: HttpRequest) -> Reader:
    """Who reads the organization's books: an inference key, or a manager with the scope in the route's description.

    Raises Unauthenticated, Forbidden, KeyRestricted.
    """
    if well_formed(bearer(request)):
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
