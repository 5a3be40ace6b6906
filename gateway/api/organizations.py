"""The manager's own organization: GET and PATCH /v1/organization."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from litestar import Response, get, patch
from msgspec import UNSET, Meta, UnsetType

from billing.customers.register import customer
from billing.kit.pool import transact
from billing.kit.query import Conn
from gateway.access.model import OrganizationSettings
from gateway.access.organizations import read_organization, rename_organization
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described
from gateway.edge.manager import manager
from gateway.edge.replies import json_reply
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.errors import Conflict, InvalidRequest, TooLarge, UnsupportedContent, UnsupportedField

BODY_ERRORS = (InvalidRequest, UnsupportedField, TooLarge, UnsupportedContent)
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]


class OrganizationView(msgspec.Struct, frozen=True, kw_only=True):
    """An organization. `currency` and `time_zone` are fixed: prices, invoices and quotas follow them."""

    id: str
    object: Literal["organization"] = "organization"
    name: str
    currency: str
    time_zone: str
    created_at: datetime


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
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        return await _reply(conn, await read_organization(conn, who.org_id))


@patch("/v1/organization", operation_id="change_organization", opt={"described": _CHANGE})
async def change_organization(request: HttpRequest) -> Response[bytes]:
    """Rename the organization."""
    who, change = await manager(request), await read_json(request, _change)

    async def write(conn: Conn) -> Response[bytes]:
        found = await read_organization(conn, who.org_id, lock=True)
        require_match(request, found.version)
        if change.name is not UNSET and change.name != found.name:
            found = await rename_organization(conn, who.org_id, change.name)
        return await _reply(conn, found)

    return await transact(gateway_of(request).pool, write)


async def _reply(conn: Conn, found: OrganizationSettings) -> Response[bytes]:
    time_zone = (await customer(conn, found.id)).time_zone
    view = OrganizationView(
        id=str(found.id), name=found.name, currency=found.currency, time_zone=time_zone, created_at=found.created_at
    )
    return json_reply(_encode(view), headers=etag(found.version))
