"""/v1/shares/payees and /v1/shares/payouts, for operators: who is paid, what it is owed and why, and what became of payouts."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from litestar import Response, get, patch, post
from msgspec import Meta

from billing import errors as billing
from billing.customers.model import TIME_ZONE_DEFAULT
from billing.kit.pool import transact
from billing.kit.query import Conn
from billing.reports.period import Period, month_of, zone_of
from billing.shares.model import Accrual, Payee, PayeeChange, Payout, PayoutState, Waiting
from billing.shares.payees import change_payee, lock_payee, payee, payee_page, register_payee
from billing.shares.payouts import payout_by_id, payout_page
from billing.shares.read import PayeeStatement, accruals, owed, payee_statement
from gateway.api.fleet import require_operator
from gateway.api.organizations import BODY_ERRORS
from gateway.api.payments import Address, Page, asked, desk_of
from gateway.edge.bodies import read_json
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.pages import PAGE, cut, page_of, uuid_of
from gateway.edge.query import query_of, single
from gateway.edge.replies import json_reply
from gateway.edge.versions import ETAG, IF_MATCH, VERSION_ERRORS, etag, require_match
from gateway.errors import Conflict, InvalidRequest, NotFound, PaymentRefused, StatementRefused, UnsupportedField

Result = TypeVar("Result")
Amount = Annotated[int, Meta(ge=1, le=10**15)]


class CreatePayee(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`reference` is what statements and counts call it; from `threshold_micro` on it is paid out."""

    reference: Annotated[str, Meta(pattern=r"^[^/\x00]{1,200}$")]
    name: Annotated[str, Meta(min_length=1, max_length=200)]
    currency: Literal["CNY", "USD"]
    threshold_micro: Amount = 100_000_000


class Onboard(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the payee is, and where it comes back to from Stripe's page."""

    country: Annotated[str, Meta(pattern="^[A-Z]{2}$")]
    return_url: Address


class PayeeView(msgspec.Struct, frozen=True, kw_only=True):
    """A payee. `waits_for`: why it is not paid whatever it is owed: destination, verification, held or balance, or nothing."""

    id: str
    object: Literal["payee"] = "payee"
    reference: str
    name: str
    currency: str
    owed_micro: int
    threshold_micro: int
    verified: bool
    requirements: list[str]
    destination: str | None
    paid_by: Literal["stripe", "hand"]
    held: str | None
    waits_for: Waiting
    customer_id: str | None
    etag: str


class PayeeList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[PayeeView, ...]
    has_more: bool
    next_cursor: str | None


class PayoutView(msgspec.Struct, frozen=True, kw_only=True):
    """A payout. `reversed_micro` of it came back after it was paid and is owed again."""

    id: str
    object: Literal["payout"] = "payout"
    payee_id: str
    currency: str
    amount_micro: int
    reversed_micro: int
    state: PayoutState
    destination: str
    outside_id: str | None
    reason: str | None
    created_at: datetime
    ended_at: datetime | None


class PayoutList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[PayoutView, ...]
    has_more: bool
    next_cursor: str | None


class AccrualList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[Accrual, ...]
    has_more: bool
    next_cursor: str | None


encode = msgspec.json.Encoder().encode
_create = msgspec.json.Decoder(CreatePayee)
_change = msgspec.json.Decoder(PayeeChange)
_onboard = msgspec.json.Decoder(Onboard)
MONTH = (
    Parameter("month", "Such as 2026-11.", str, required=True),
    Parameter("time_zone", f"Where the month begins: an IANA name; {TIME_ZONE_DEFAULT} if not given."),
)
LISTED = (InvalidRequest, UnsupportedField)
_REFERENCE = Parameter("reference", "What statements call the payee.", str, "path")
_LIST = Described(
    tag="Shares", operator=True, answers={200: Answer("A page of payees.", PayeeList)}, parameters=PAGE, errors=LISTED
)
_CREATE = Described(
    tag="Shares",
    operator=True,
    body=CreatePayee,
    answers={201: Answer("The payee, as it is where there was one.", PayeeView, headers=ETAG)},
    errors=(*BODY_ERRORS, Conflict),
)
_GET = Described(
    tag="Shares",
    operator=True,
    answers={200: Answer("The payee.", PayeeView, headers=ETAG)},
    parameters=(_REFERENCE,),
    errors=(NotFound,),
)
_CHANGE = Described(
    tag="Shares",
    operator=True,
    body=PayeeChange,
    answers={200: Answer("As it is now.", PayeeView, headers=ETAG)},
    parameters=(_REFERENCE, IF_MATCH),
    errors=(*BODY_ERRORS, NotFound, *VERSION_ERRORS, Conflict),
)
_CONNECT = Described(
    tag="Shares",
    operator=True,
    body=Onboard,
    answers={201: Answer("A page of Stripe's, good for some minutes.", Page)},
    parameters=(_REFERENCE,),
    errors=(*BODY_ERRORS, NotFound, PaymentRefused),
)
_STATEMENT = Described(
    tag="Shares",
    operator=True,
    answers={200: Answer("Opening, every movement, closing.", PayeeStatement)},
    parameters=(_REFERENCE, *MONTH),
    errors=(*LISTED, NotFound),
)
_ACCRUALS = Described(
    tag="Shares",
    operator=True,
    answers={200: Answer("A page of shares, each with its basis.", AccrualList)},
    parameters=(_REFERENCE, *PAGE),
    errors=(*LISTED, NotFound),
)
_PAYOUTS = Described(
    tag="Shares",
    operator=True,
    answers={200: Answer("A page of payouts.", PayoutList)},
    parameters=(*PAGE, Parameter("payee", "Only this payee's, by its reference.")),
    errors=(*LISTED, NotFound),
)
_PAYOUT = Described(
    tag="Shares",
    operator=True,
    answers={200: Answer("The payout.", PayoutView)},
    parameters=(Parameter("payout_id", "The id of a payout.", str, "path"),),
    errors=(NotFound,),
)


@get("/v1/shares/payees", operation_id="list_payees", opt={"described": _LIST})
async def list_payees(request: HttpRequest) -> Response[bytes]:
    """List the payees, newest first."""
    require_operator(request)
    limit, after = page_of(query_of(request, "limit", "cursor"))

    async def read(conn: Conn) -> PayeeList:
        return await payee_list(conn, await payee_page(conn, after=after, limit=limit + 1), limit)

    return json_reply(encode(await operate(request, read)))


@post("/v1/shares/payees", operation_id="create_payee", opt={"described": _CREATE})
async def create_payee(request: HttpRequest) -> Response[bytes]:
    """Register a payee. It is not verified yet, so nothing is paid out."""
    require_operator(request)
    body = await read_json(request, _create)

    async def write(conn: Conn) -> tuple[Payee, PayeeView]:
        return await _seen(conn, await register_payee(conn, body.reference, body.name, body.currency, body.threshold_micro))

    return _reply(await operate(request, write), 201)


@get("/v1/shares/payees/{reference:str}", operation_id="get_payee", opt={"described": _GET})
async def get_payee(request: HttpRequest, reference: str) -> Response[bytes]:
    """One payee, with what it is owed now."""

    async def read(conn: Conn) -> tuple[Payee, PayeeView]:
        return await _seen(conn, await payee(conn, reference))

    return _reply(await operate(request, read))


@patch("/v1/shares/payees/{reference:str}", operation_id="change_payee", opt={"described": _CHANGE})
async def change_one_payee(request: HttpRequest, reference: str) -> Response[bytes]:
    """Change a payee, hold it, or let it go on with `held: null`."""
    require_operator(request)
    body = await read_json(request, _change)

    async def write(conn: Conn) -> tuple[Payee, PayeeView]:
        found = await lock_payee(conn, reference)
        require_match(request, found.version)
        return await _seen(conn, await change_payee(conn, found, body))

    return _reply(await operate(request, write))


@post("/v1/shares/payees/{reference:str}/connect", operation_id="connect_payee", opt={"described": _CONNECT})
async def connect_payee(request: HttpRequest, reference: str) -> Response[bytes]:
    """Open a page of Stripe's on which the payee says who it is; from then on it is paid by transfers."""
    require_operator(request)
    body = await read_json(request, _onboard)
    url = await asked(_told(desk_of(request).paymaster.onboard(reference, body.country, body.return_url)))
    return json_reply(encode(Page(url)), 201)


@get("/v1/shares/payees/{reference:str}/statement", operation_id="get_payee_statement", opt={"described": _STATEMENT})
async def get_payee_statement(request: HttpRequest, reference: str) -> Response[bytes]:
    """What a payee was owed in a month, every movement and why, and what it is owed at its end."""
    require_operator(request)
    period = month_in(query_of(request, "month", "time_zone"))
    found = await operate(request, lambda conn: payee_statement(conn, reference, period.start, period.end))
    return json_reply(encode(found))


@get("/v1/shares/payees/{reference:str}/accruals", operation_id="list_payee_accruals", opt={"described": _ACCRUALS})
async def list_payee_accruals(request: HttpRequest, reference: str) -> Response[bytes]:
    """List what a payee got of incomes and pools, or gave back, and how each share came about."""
    require_operator(request)
    limit, after = page_of(query_of(request, "limit", "cursor"))

    async def read(conn: Conn) -> AccrualList:
        return accrual_list(await accruals(conn, (await payee(conn, reference)).id, after=after, limit=limit + 1), limit)

    return json_reply(encode(await operate(request, read)))


@get("/v1/shares/payouts", operation_id="list_payouts", opt={"described": _PAYOUTS})
async def list_payouts(request: HttpRequest) -> Response[bytes]:
    """List payouts, newest first."""
    require_operator(request)
    values = query_of(request, "limit", "cursor", "payee")
    (limit, after), named = page_of(values), single(values, "payee")

    async def read(conn: Conn) -> PayoutList:
        of = None if named is None else (await payee(conn, named)).id
        return payout_list(await payout_page(conn, of, after=after, limit=limit + 1), limit)

    return json_reply(encode(await operate(request, read)))


@get("/v1/shares/payouts/{payout_id:str}", operation_id="get_payout", opt={"described": _PAYOUT})
async def get_payout(request: HttpRequest, payout_id: str) -> Response[bytes]:
    """One payout."""
    return json_reply(encode(_payout_view(await operate(request, lambda conn: payout_by_id(conn, uuid_of(payout_id))))))


async def operate(request: HttpRequest, work: Callable[[Conn], Awaitable[Result]]) -> Result:
    """Runs `work` for an operator, in a transaction of its own. Raises what the money plane refuses as HTTP says it."""
    require_operator(request)
    return await _told(transact(gateway_of(request).pool, work))


async def payee_list(conn: Conn, found: Sequence[Payee], limit: int) -> PayeeList:
    page, cursor = cut(found, limit)
    amounts = await owed(conn, page)
    views = tuple(_view(one, amounts.get(one.id, 0)) for one in page)
    return PayeeList(data=views, has_more=cursor is not None, next_cursor=cursor)


def payout_list(found: Sequence[Payout], limit: int) -> PayoutList:
    page, cursor = cut(found, limit)
    return PayoutList(data=tuple(map(_payout_view, page)), has_more=cursor is not None, next_cursor=cursor)


def accrual_list(found: Sequence[Accrual], limit: int) -> AccrualList:
    page, cursor = cut(found, limit)
    return AccrualList(data=tuple(page), has_more=cursor is not None, next_cursor=cursor)


def month_in(values: dict[str, list[str]]) -> Period:
    """Raises InvalidRequest."""
    month = single(values, "month")
    if month is None:
        raise InvalidRequest("say which month, such as 2026-11", param="month")
    try:
        return month_of(month, zone_of(single(values, "time_zone") or TIME_ZONE_DEFAULT))
    except billing.ReportInvalid as error:
        raise InvalidRequest(error.detail) from error


async def _told(work: Awaitable[Result]) -> Result:
    """What shares refuse, as HTTP says it."""
    try:
        return await work
    except (billing.UnknownPayee, billing.UnknownPool, billing.UnknownPayout) as error:
        raise NotFound(error.detail) from error
    except billing.StatementRefused as error:
        raise StatementRefused(str(error)) from error
    except (billing.PayeeConflict, billing.PoolConflict, billing.AgreementInvalid) as error:
        raise Conflict(error.detail) from error


async def _seen(conn: Conn, one: Payee) -> tuple[Payee, PayeeView]:
    return one, _view(one, (await owed(conn, [one])).get(one.id, 0))


def _view(one: Payee, owed_micro: int) -> PayeeView:
    return PayeeView(
        id=str(one.id),
        reference=one.reference,
        name=one.name,
        currency=one.currency,
        owed_micro=owed_micro,
        threshold_micro=one.threshold_micro,
        verified=one.verified,
        requirements=one.requirements,
        destination=one.destination,
        paid_by="stripe" if one.connected else "hand",
        held=one.held,
        waits_for=one.waits_for,
        customer_id=None if one.customer_id is None else str(one.customer_id),
        etag=etag(one.version)["etag"],
    )


def _payout_view(one: Payout) -> PayoutView:
    return PayoutView(
        id=str(one.id),
        payee_id=str(one.payee_id),
        currency=one.currency,
        amount_micro=one.amount_micro,
        reversed_micro=one.reversed_micro,
        state=one.state,
        destination=one.destination,
        outside_id=one.outside_id,
        reason=one.reason,
        created_at=one.created_at,
        ended_at=one.ended_at,
    )


def _reply(found: tuple[Payee, PayeeView], status: int = 200) -> Response[bytes]:
    one, view = found
    return json_reply(encode(view), status, etag(one.version))
