"""An organization's own sign-in provider (OpenID Connect): set by its owners, and the way there and back for its people."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, delete, get, put
from msgspec import Meta

from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from gateway.access.managers import require_within
from gateway.access.model import Label
from gateway.access.scopes import ROLES
from gateway.api.organizations import BODY_ERRORS
from gateway.api.sign_in import COOKIE, found
from gateway.audit.record import record
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.entrance import note, note_failure
from gateway.edge.manager import manager
from gateway.edge.pages import uuid_of
from gateway.edge.person import cookie, cookie_header, door_of, origin_of, place_of, session_header
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.errors import Conflict, Forbidden, InvalidRequest, NotFound, ProviderFailed, SignInOff, SignInPaused, SignInRefused
from gateway.people.model import FREE_OF_ADDRESS, TRIP_S, of_network
from gateway.people.pace import claim_attempt, forgive_one
from gateway.people.providers import Identity, Provider, person_of_identity, read_provider, remove_provider, set_provider
from gateway.people.sessions import begin_session
from gateway.people.trips import Trip, begin_trip, end_trip


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """Where the organization's people may sign in. Register `redirect_uri` there; people go to `sign_in_url`."""

    object: Literal["sign_in_provider"] = "sign_in_provider"
    issuer: str
    client_id: str
    redirect_uri: str
    sign_in_url: str
    created_at: datetime


class SetProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client of the code flow that the provider has registered."""

    issuer: Annotated[
        str, Meta(min_length=8, max_length=2048, pattern="^https?://[!-~]+$", description="Exactly as it names itself.")
    ]
    client_id: Label
    client_secret: Annotated[str, Meta(min_length=1, max_length=1024)]


_encode = msgspec.json.Encoder().encode
_set = msgspec.json.Decoder(SetProvider)
_COOKIE = "tallylight-trip"
_ORG_ID = Parameter("org_id", "The id of an organization.", str, "path")
_OFF = (NotFound, SignInOff)
_GET = Described(tag="Organization", answers={200: Answer("The provider.", ProviderView)}, errors=_OFF, scope="organization:read")
_SET = Described(
    tag="Organization",
    body=SetProvider,
    answers={200: Answer("The provider, which has answered.", ProviderView)},
    errors=(*BODY_ERRORS, SignInOff),
    scope="organization:write",
)
_REMOVE = Described(
    tag="Organization",
    answers={204: Answer("Nobody signs in there any more; who did is signed out.", empty=True)},
    errors=_OFF,
    scope="organization:write",
)
_LOCATION = {"Location": "Where the browser goes on."}
_LEAVE = Described(
    tag="Sign-in",
    answers={302: Answer("To the provider.", empty=True, headers={**_LOCATION, **COOKIE})},
    parameters=(_ORG_ID,),
    errors=(*_OFF, SignInPaused, ProviderFailed, Forbidden),
    public=True,
)
_RETURN = Described(
    tag="Sign-in",
    answers={303: Answer("Signed in, in this organization: to GET /v1/session.", empty=True, headers={**_LOCATION, **COOKIE})},
    parameters=(
        _ORG_ID,
        Parameter("state", "As it was sent to the provider."),
        Parameter("code", "What the provider gave."),
        Parameter("error", "Why it gave none."),
        Parameter("iss", "Who the provider says it is (RFC 9207)."),
    ),
    errors=(*_OFF, SignInRefused, ProviderFailed, Forbidden, Conflict),
    public=True,
)


@get("/v1/sign-in-provider", operation_id="get_sign_in_provider", opt={"described": _GET})
async def get_sign_in_provider(request: HttpRequest) -> Response[bytes]:
    """Where the organization's people may sign in."""
    who, door = await manager(request), door_of(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return json_reply(_encode(_view(request, who.org_id, await read_provider(conn, door.seal, who.org_id))))


@put("/v1/sign-in-provider", operation_id="set_sign_in_provider", opt={"described": _SET})
async def set_sign_in_provider(request: HttpRequest) -> Response[bytes]:
    """Let the organization's people sign in at a provider of its own. Whoever sets it can become any of them: only owners may."""
    who, door, body = await manager(request), door_of(request), await read_json(request, _set)
    require_within(who, ROLES["owner"])
    try:
        await door.issuers.metadata(body.issuer)
    except ProviderFailed as failed:  # what was named is no provider, as far as can be seen from here
        raise InvalidRequest(failed.message, param="issuer") from failed

    async def write(conn: Conn) -> Provider:
        made = await set_provider(
            conn, door.seal, who.org_id, issuer=body.issuer, client_id=body.client_id, client_secret=body.client_secret
        )
        await record(conn, acted(request, who, who.org_id, after=_view(request, who.org_id, made)))
        return made

    return json_reply(_encode(_view(request, who.org_id, await transact(gateway_of(request).pool, write, of=who.org_id))))


@delete("/v1/sign-in-provider", status_code=204, operation_id="remove_sign_in_provider", opt={"described": _REMOVE})
async def remove_sign_in_provider(request: HttpRequest) -> Response[None]:
    """Let nobody sign in there any more."""
    who, door = await manager(request), door_of(request)
    require_within(who, ROLES["owner"])

    async def write(conn: Conn) -> None:
        found = await read_provider(conn, door.seal, who.org_id, lock=True)
        await remove_provider(conn, who.org_id)
        await record(conn, acted(request, who, who.org_id, before=_view(request, who.org_id, found)))

    await transact(gateway_of(request).pool, write, of=who.org_id)
    return Response(None, status_code=204)


@get("/v1/sign-in/provider/{org_id:str}", operation_id="sign_in_at_provider", opt={"described": _LEAVE})
async def sign_in_at_provider(request: HttpRequest, org_id: str) -> Response[None]:
    """Go to the organization's provider to sign in. Open it as a page."""
    door, owner, network = door_of(request), uuid_of(org_id), of_network(place_of(request).address)

    async def leave(conn: Conn) -> tuple[Provider, Trip]:
        provider = await read_provider(conn, door.seal, owner)
        return provider, await begin_trip(conn, owner, provider.issuer)

    await transact(gateway_of(request).pool, lambda conn: claim_attempt(conn, {network: FREE_OF_ADDRESS}))
    provider, trip = await transact(gateway_of(request).pool, leave, of=owner)
    url = await door.issuers.authorization_url(
        provider, _return_uri(request, owner), state=trip.state, nonce=trip.nonce, challenge=trip.challenge
    )
    headers = {"location": url, "set-cookie": cookie_header(request, _COOKIE, trip.browser, TRIP_S), "cache-control": "no-store"}
    return Response(None, status_code=302, headers=headers)


@get("/v1/sign-in/provider/{org_id:str}/return", operation_id="return_from_provider", opt={"described": _RETURN})
async def return_from_provider(request: HttpRequest, org_id: str) -> Response[None]:
    """Come back from the provider. Where to go on is fixed: no address is taken from the request."""
    owner = uuid_of(org_id)
    door_of(request)
    try:
        token = await _entered(request, owner)
    except (SignInRefused, ProviderFailed, Conflict) as refused:
        raise await note_failure(request, None, "session.begin", refused, org_id=owner) from refused
    return Response(None, status_code=303, headers={"location": "/v1/session", "set-cookie": session_header(request, token)})


async def _entered(request: HttpRequest, owner: UUID) -> str:
    """The secret of a new session. Raises SignInRefused, ProviderFailed, Conflict, NotFound."""
    door, pool = door_of(request), gateway_of(request).pool
    given = {name: str(request.query_params.get(name, "")) for name in ("state", "code", "error", "iss")}
    browser = cookie(request, _COOKIE) or ""
    async with tenant(pool, owner) as conn:
        trip = await end_trip(conn, owner, given["state"], browser)
        provider = await read_provider(conn, door.seal, owner)
    if provider.issuer != trip.issuer or given["iss"] not in ("", trip.issuer):
        raise SignInRefused("this answer is not of the provider that was asked; begin again")
    if given["error"] or not given["code"]:
        raise SignInRefused("the provider did not sign you in; begin again")
    identity = await door.issuers.identity(
        provider,
        _return_uri(request, owner),
        code=given["code"],
        verifier=trip.verifier,
        nonce=trip.nonce,
        now=trip.now,
    )
    return await transact(pool, lambda conn: _enter(conn, request, owner, identity))


async def _enter(conn: Conn, request: HttpRequest, owner: UUID, identity: Identity) -> str:
    person = await person_of_identity(conn, owner, identity)
    place = place_of(request)
    await forgive_one(conn, of_network(place.address))
    token = await begin_session(conn, person.id, "full", place, org_id=owner)
    await note(conn, request, await found(conn, token), "session.begin", after={"stage": "full", "issuer": identity.issuer})
    return token


def _return_uri(request: HttpRequest, owner: UUID) -> str:
    return f"{origin_of(request)}/v1/sign-in/provider/{owner}/return"


def _view(request: HttpRequest, owner: UUID, provider: Provider) -> ProviderView:
    return ProviderView(
        issuer=provider.issuer,
        client_id=provider.client_id,
        redirect_uri=_return_uri(request, owner),
        sign_in_url=f"{origin_of(request)}/v1/sign-in/provider/{owner}",
        created_at=provider.created_at,
    )
