"""/v1/sign-in: from an address and a password, by a code of an authenticator, to a session."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from litestar import Response, post
from msgspec import Meta

from billing.kit.pool import transact
from billing.kit.query import Conn
from gateway.access.model import Email
from gateway.api.organizations import BODY_ERRORS
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described
from gateway.edge.entrance import note, note_failure
from gateway.edge.person import door_of, memberships, place_of, require_ours, session_header, signed_in
from gateway.edge.replies import json_reply
from gateway.errors import Conflict, CrossSiteRefused, Forbidden, SignInOff, SignInPaused, SignInRefused
from gateway.people.model import (
    FREE_OF_ACCOUNT,
    FREE_OF_ADDRESS,
    PASSWORD_MAX,
    Password,
    Person,
    SignedIn,
    Stage,
    check_password,
    of_account,
    of_network,
    of_person,
)
from gateway.people.pace import claim_attempt, forgive, forgive_one
from gateway.people.persons import change_password, lock_person, person_of, person_to_reset
from gateway.people.second_factor import Enrolment, begin_enrolment, show_code
from gateway.people.sessions import begin_session, end_session, end_sessions, find_session
from gateway.people.view import WhoView, who_view


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who has a password here."""

    email: Email
    password: Annotated[str, Meta(min_length=1, max_length=PASSWORD_MAX)]


class ShowCode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Six digits of the authenticator, or one of the recovery codes."""

    code: Annotated[str, Meta(min_length=6, max_length=64)]


class ResetPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """With a token from whoever runs the gateway."""

    token: Annotated[str, Meta(min_length=1, max_length=255)]
    password: Password


Result = TypeVar("Result")

_encode = msgspec.json.Encoder().encode
_sign_in, _show, _reset = msgspec.json.Decoder(SignIn), msgspec.json.Decoder(ShowCode), msgspec.json.Decoder(ResetPassword)
PRIVATE = {"cache-control": "no-store"}
COOKIE = {"Set-Cookie": "The session, for this browser only."}
AT_THE_DOOR = (*BODY_ERRORS, SignInRefused, SignInPaused, CrossSiteRefused, Forbidden, SignInOff)
_SIGN_IN = Described(
    tag="Sign-in",
    body=SignIn,
    answers={200: Answer("A session at the stage `password`, for ten minutes.", WhoView, headers=COOKIE)},
    errors=AT_THE_DOOR,
    public=True,
)
_ENROL = Described(
    tag="Sign-in",
    answers={200: Answer("What the authenticator is given, this once.", Enrolment)},
    errors=(Conflict, Forbidden),
    session=True,
)
_CODE = Described(
    tag="Sign-in",
    body=ShowCode,
    answers={200: Answer("Another session, at the stage `full`.", WhoView, headers=COOKIE)},
    errors=(*BODY_ERRORS, SignInRefused, SignInPaused, Forbidden),
    session=True,
)
_RESET = Described(
    tag="Sign-in",
    body=ResetPassword,
    answers={204: Answer("It is set. All sessions have ended; sign in.", empty=True)},
    errors=(*AT_THE_DOOR, Conflict),
    public=True,
)


@post("/v1/sign-in", status_code=200, operation_id="sign_in", opt={"described": _SIGN_IN})
async def sign_in(request: HttpRequest) -> Response[bytes]:
    """Show your password. What is answered to a wrong one does not tell whether there is such an address."""
    door, pool = door_of(request), gateway_of(request).pool
    require_ours(request)
    body, place = await read_json(request, _sign_in), place_of(request)
    account, network = of_account(body.email), of_network(place.address)

    async def claim(conn: Conn) -> Person | None:
        await claim_attempt(conn, {account: FREE_OF_ACCOUNT, network: FREE_OF_ADDRESS})
        return await person_of(conn, body.email)

    person = await transact(pool, claim)
    fits = await door.passwords.fits(body.password, person and person.password_hash)
    if person is None or not fits:
        raise await note_failure(request, person, "session.begin", SignInRefused())

    async def begin(conn: Conn) -> tuple[SignedIn, str]:
        if (await lock_person(conn, person.id)).password_hash != person.password_hash:
            raise SignInRefused
        await forgive(conn, account)
        await forgive_one(conn, network)
        return await begin_noted(conn, request, person, "password")

    return await answer_who(request, *await transact(pool, begin))


@post("/v1/sign-in/enrolment", status_code=200, operation_id="enrol_second_factor", opt={"described": _ENROL})
async def enrol_second_factor(request: HttpRequest) -> Response[bytes]:
    """Enrol an authenticator. It counts once it has shown a code; until then each call begins anew."""
    door, (who, _) = door_of(request), await signed_in(request, "password")

    async def enrol(conn: Conn) -> Enrolment:
        enrolment = await begin_enrolment(conn, door.seal, await lock_person(conn, who.person_id))
        await note(conn, request, who, "second_factor.enrol")
        return enrolment

    return json_reply(_encode(await transact(gateway_of(request).pool, enrol)), headers=PRIVATE)


@post("/v1/sign-in/code", status_code=200, operation_id="show_second_factor", opt={"described": _CODE})
async def show_second_factor(request: HttpRequest) -> Response[bytes]:
    """Show a code: then you are signed in. The first code of an authenticator is answered with recovery codes."""
    (who, _), body = await signed_in(request, "password"), await read_json(request, _show)

    async def enter(conn: Conn, codes: list[str] | None) -> tuple[SignedIn, str, list[str] | None]:
        await end_session(conn, who.person_id, who.id)
        entered, token = await begin_noted(conn, request, who, "full")
        if codes is not None:
            await note(conn, request, who, "second_factor.confirm")
        return entered, token, codes

    entered, token, codes = await with_code(request, who, body.code, "session.begin", enter)
    return await answer_who(request, entered, token, codes)


@post("/v1/sign-in/password", status_code=204, operation_id="reset_password", opt={"described": _RESET})
async def reset_password(request: HttpRequest) -> Response[None]:
    """Set a password with a token that whoever runs the gateway gave you. The second factor stays."""
    door, pool = door_of(request), gateway_of(request).pool
    require_ours(request)
    body = await read_json(request, _reset)
    async with pool.acquire(timeout=5) as conn, conn.transaction():
        check_password((await person_to_reset(conn, body.token)).email, body.password)
    hashed = await door.passwords.hash(body.password)

    async def write(conn: Conn) -> None:
        person = await person_to_reset(conn, body.token)
        await change_password(conn, person, hashed)
        await end_sessions(conn, person.id)
        await note(conn, request, person, "password.reset")

    await transact(pool, write)
    return Response(None, status_code=204)


async def with_code(
    request: HttpRequest, who: SignedIn, code: str, name: str, then: Callable[[Conn, list[str] | None], Awaitable[Result]]
) -> Result:
    """Runs `then` in the transaction that takes the code, with recovery codes where it was an authenticator's first.

    Raises SignInRefused, which stands in the trail as a refusal of `name`, and SignInPaused.
    """
    door, pool, subject = door_of(request), gateway_of(request).pool, of_person("code", who.person_id)
    await transact(pool, lambda conn: claim_attempt(conn, {subject: FREE_OF_ACCOUNT}))

    async def take(conn: Conn) -> Result:
        codes = await show_code(conn, door.seal, await lock_person(conn, who.person_id), code)
        await forgive(conn, subject)
        return await then(conn, codes)

    try:
        return await transact(pool, take)
    except SignInRefused as refused:
        raise await note_failure(request, who, name, refused) from refused


async def begin_noted(conn: Conn, request: HttpRequest, who: SignedIn | Person, stage: Stage) -> tuple[SignedIn, str]:
    """A new session of this person, with its secret."""
    token = await begin_session(conn, who.person_id if isinstance(who, SignedIn) else who.id, stage, place_of(request))
    await note(conn, request, who, "session.begin", after={"stage": stage})
    return await found(conn, token), token


async def found(conn: Conn, token: str) -> SignedIn:
    """The session that was begun in this transaction."""
    begun = await find_session(conn, token)
    assert begun is not None
    return begun


async def answer_who(
    request: HttpRequest, who: SignedIn, token: str, codes: Sequence[str] | None = None, status: int = 200
) -> Response[bytes]:
    """Who is signed in now, and the cookie for it."""
    async with gateway_of(request).pool.acquire(timeout=5) as conn:
        view = who_view(who, token, await memberships(conn, who), codes)
    return json_reply(_encode(view), status, {**PRIVATE, "set-cookie": session_header(request, token)})
