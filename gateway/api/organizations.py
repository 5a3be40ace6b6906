"""The manager's own organization: GET and PATCH /v1/organization."""

import msgspec
from litestar import Response, get, patch
from msgspec import UNSET, UnsetType

from billing.customers.register import customer
from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.model import Name, OrganizationSettings
from gateway.access.organizations import read_organization, rename_organization
from gateway.access.view import OrganizationView, organization_view
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described
from gateway.edge.manager import manager
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.errors import Conflict, InvalidRequest, TooLarge, UnsupportedContent, UnsupportedField

BODY_ERRORS = (InvalidRequest, UnsupportedField, TooLarge, UnsupportedContent)


class ChangeOrganization(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change; what is left out stays."""

    name: Name | UnsetType = UNSET


_encode = msgspec.json.Encoder().encode
_change = msgspec.json.Decoder(ChangeOrganization)
_GET = Described(tag="Organization", answers={200: Answer("It.", OrganizationView, headers=ETAG)}, scope="organization:read")
_CHANGE = Described(
    tag="Organization",
    body=ChangeOrganization,
    answers={200: Answer("As it is now.", OrganizationView, headers=ETAG)},
    parameters=(IF_MATCH,),
    errors=(*BODY_ERRORS, *VERSION_ERRORS, Conflict),
    scope="organization:write",
)


@get("/v1/organization", operation_id="get_organization", opt={"described": _GET})
async def get_organization(request: HttpRequest) -> Response[bytes]:
    """The organization of this management key."""
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return await _reply(conn, await read_organization(conn, who.org_id))


@patch("/v1/organization", operation_id="change_organization", opt={"described": _CHANGE})
async def change_organization(request: HttpRequest) -> Response[bytes]:
    """Rename the organization."""
    who, change = await manager(request), await read_json(request, _change)

    async def write(conn: Conn) -> Response[bytes]:
        found = await read_organization(conn, who.org_id, lock=True)
        require_match(request, found.version)
        if change.name is UNSET or change.name == found.name:
            return await _reply(conn, found)
        changed = await rename_organization(conn, who.org_id, change.name)
        await record(conn, acted(request, who, who.org_id, before=await _view(conn, found), after=await _view(conn, changed)))
        return await _reply(conn, changed)

    return await transact(gateway_of(request).pool, write, of=who.org_id)


async def _reply(conn: Conn, found: OrganizationSettings) -> Response[bytes]:
    return json_reply(_encode(await _view(conn, found)), headers=etag(found.version))


async def _view(conn: Conn, found: OrganizationSettings) -> OrganizationView:
    return organization_view(found, (await customer(conn, found.id)).time_zone)
