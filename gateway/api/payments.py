"""Payments: /v1/payments, /v1/paying and /v1/payment-methods for managers, and where Stripe sends its messages."""

import re
from collections.abc import Awaitable
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec
from litestar import Response, delete, get, post, put
from msgspec import Meta

from billing import errors as billing
from billing.kit.ids import new_id
from billing.kit.pool import tenant, transact
from billing.kit.query import Conn
from billing.stripe import inbox
from billing.stripe.desk import Desk
from billing.stripe.methods import methods
from billing.stripe.model import AMOUNT_MINOR_MAX, MethodKind, Order, Payer, Payment, SavedMethod, State
from billing.stripe.note import find_payment, payments
from billing.stripe.recharge import Recharge, paying, set_paying
from billing.stripe.signature import BODY_BYTES_MAX, read_event
from gateway.api.organizations import BODY_ERRORS
from gateway.audit.record import record
from gateway.edge.bodies import read_body, read_json
from gateway.edge.caller import HttpRequest, gateway_of, header, idempotency_key
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.manager import manager
from gateway.edge.pages import PAGE, cut, page_of, uuid_of
from gateway.edge.query import query_of
from gateway.edge.replies import json_reply
from gateway.edge.trail import acted
from gateway.errors import (
    Conflict,
    IdempotencyMismatch,
    InvalidRequest,
    NotFound,
    PaymentRefused,
    TooLarge,
    Unavailable,
    UnsupportedField,
    WebhookRefused,
)

Result = TypeVar("Result")
Address = Annotated[
    str,
    Meta(max_length=2000, pattern=r"^https?://[^\s]+$", description="Where the customer comes back to: https, or this machine."),
]
_LOCAL = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\])([:/]|$)")
_METHOD = re.compile(r"[A-Za-z0-9_]{1,255}")


class CreatePayment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What to pay. A pack, a plan and an invoice have their own price; a top-up says its amount, in fen or cents."""

    purpose: Literal["top_up", "pack", "subscription", "invoice"] = "top_up"
    subject: Annotated[str, Meta(max_length=100)] = ""
    amount_minor: Annotated[int, Meta(ge=1, le=AMOUNT_MINOR_MAX)] | None = None
    flow: Literal["checkout", "intent"] = "checkout"
    methods: Annotated[tuple[MethodKind, ...], Meta(min_length=1, max_length=3)] = ("card",)
    return_url: Address
    save_method: bool = False


class PaymentView(msgspec.Struct, frozen=True, kw_only=True):
    """A payment. `url` is the page to pay on, `client_secret` is for Stripe's own parts in a page of yours; both only while it
    is open and only to whoever creates it. `refused`: why it bought nothing; the money is in the wallet.
    """

    id: str
    object: Literal["payment"] = "payment"
    purpose: str
    subject: str
    currency: str
    amount_minor: int
    received_minor: int
    state: State
    failure: str
    refused: str
    created_at: datetime
    ended_at: datetime | None
    url: str | None = None
    client_secret: str | None = None


class PaymentList(msgspec.Struct, frozen=True, kw_only=True):
    """A page, newest first; pass `next_cursor` as `cursor` for the next one."""

    object: Literal["list"] = "list"
    data: tuple[PaymentView, ...]
    has_more: bool
    next_cursor: str | None


class Paying(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the organization pays: invoices are sent, or charged to the saved method; the wallet is recharged, or not."""

    invoices: Literal["send", "charge"] = "send"
    recharge: Recharge | None = None
    return_url: Address


class PayingView(msgspec.Struct, frozen=True, kw_only=True):
    """As it is. `paused`: why nothing is recharged any more; set it again to go on."""

    object: Literal["paying"] = "paying"
    invoices: Literal["send", "charge"]
    recharge: Recharge | None
    return_url: str
    method: str | None
    paused: str
    tax_id_state: str


class MethodList(msgspec.Struct, frozen=True, kw_only=True):
    """What is saved, newest first."""

    object: Literal["list"] = "list"
    data: tuple[SavedMethod, ...]


class Return(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    return_url: Address


class Page(msgspec.Struct, frozen=True):
    """A page of Stripe's to send the customer to."""

    url: str
    object: Literal["page"] = "page"


class Received(msgspec.Struct, frozen=True):
    received: bool = True


_encode = msgspec.json.Encoder().encode
_create = msgspec.json.Decoder(CreatePayment)
_paying = msgspec.json.Decoder(Paying)
_return = msgspec.json.Decoder(Return)
_ID = Parameter("payment_id", "The id of a payment.", str, "path")
_KEY = Parameter(
    "Idempotency-Key", "The same key is the same payment, as it is now; with another body it is refused.", str, "header"
)
_CREATE = Described(
    tag="Payments",
    body=CreatePayment,
    answers={201: Answer("The payment, and where to go on with it.", PaymentView)},
    parameters=(_KEY,),
    errors=(*BODY_ERRORS, PaymentRefused, NotFound, Conflict, IdempotencyMismatch),
    scope="billing:write",
)
_LIST = Described(
    tag="Payments",
    answers={200: Answer("A page of payments.", PaymentList)},
    parameters=PAGE,
    errors=(InvalidRequest, UnsupportedField),
    scope="billing:read",
)
_GET = Described(
    tag="Payments", answers={200: Answer("It.", PaymentView)}, parameters=(_ID,), errors=(NotFound,), scope="billing:read"
)
_GET_PAYING = Described(tag="Payments", answers={200: Answer("As it is.", PayingView)}, scope="billing:read")
_PUT_PAYING = Described(
    tag="Payments", body=Paying, answers={200: Answer("As it is now.", PayingView)}, errors=BODY_ERRORS, scope="billing:write"
)
_METHODS = Described(tag="Payments", answers={200: Answer("Saved methods.", MethodList)}, scope="billing:read")
_PAGE = Described(
    tag="Payments",
    body=Return,
    answers={201: Answer("The page.", Page)},
    errors=(*BODY_ERRORS, PaymentRefused, NotFound),
    scope="billing:write",
)
_FORGET = Described(
    tag="Payments",
    answers={204: Answer("It is gone.", empty=True)},
    parameters=(Parameter("method_id", "The id of a saved method.", str, "path"),),
    errors=(NotFound, PaymentRefused),
    scope="billing:write",
)
_EVENT = Described(
    tag="Payments",
    answers={200: Answer("It is kept.", Received)},
    parameters=(Parameter("Stripe-Signature", "Over the bytes of the body.", str, "header"),),
    errors=(WebhookRefused, NotFound),
    public=True,
)


@post("/v1/payments", operation_id="create_payment", opt={"described": _CREATE})
async def create_payment(request: HttpRequest) -> Response[bytes]:
    """Pay into the wallet, for a pack, a plan or an invoice. Send an Idempotency-Key: the same one is the same payment."""
    who, key, body = await manager(request), idempotency_key(request), await read_json(request, _create)
    if (body.purpose == "top_up") != (body.amount_minor is not None):
        raise InvalidRequest("a top-up says its amount_minor, everything else has a price of its own", param="amount_minor")
    order = Order(
        purpose=body.purpose,
        subject=body.subject,
        amount_minor=body.amount_minor or 0,
        flow=body.flow,
        methods=body.methods,
        return_url=_checked(body.return_url),
        saves=body.save_method,
    )
    started = await asked(desk_of(request).pay(who.org_id, order, f"api/{key or new_id()}"))
    if started.payment.state == "failed":
        raise PaymentRefused(f"the payment has failed: {started.payment.failure}")
    view = _view(started.payment)
    await transact(gateway_of(request).pool, lambda conn: record(conn, acted(request, who, view.id, after=view)), of=who.org_id)
    return json_reply(_encode(msgspec.structs.replace(view, url=started.url, client_secret=started.client_secret)), 201)


@get("/v1/payments", operation_id="list_payments", opt={"described": _LIST})
async def list_payments(request: HttpRequest) -> Response[bytes]:
    """List the payments, newest first."""
    who, (limit, after) = await manager(request), page_of(query_of(request, "limit", "cursor"))
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        page, cursor = cut(await payments(conn, who.org_id, after=after, limit=limit + 1), limit)
    views = tuple(map(_view, page))
    return json_reply(_encode(PaymentList(data=views, has_more=cursor is not None, next_cursor=cursor)))


@get("/v1/payments/{payment_id:str}", operation_id="get_payment", opt={"described": _GET})
async def get_payment(request: HttpRequest, payment_id: str) -> Response[bytes]:
    """One payment."""
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return json_reply(_encode(_view(await asked(find_payment(conn, who.org_id, uuid_of(payment_id))))))


@get("/v1/paying", operation_id="get_paying", opt={"described": _GET_PAYING})
async def get_paying(request: HttpRequest) -> Response[bytes]:
    """How the organization pays."""
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return json_reply(_encode(_paying_view(await paying(conn, who.org_id))))


@put("/v1/paying", operation_id="change_paying", opt={"described": _PUT_PAYING})
async def change_paying(request: HttpRequest) -> Response[bytes]:
    """Say how the organization pays from now on. What was paused goes on."""
    who, body = await manager(request), await read_json(request, _paying)
    if body.recharge and body.recharge.amount_minor > body.recharge.month_max_minor:
        raise InvalidRequest("month_max_minor must allow at least one recharge of amount_minor", param="month_max_minor")
    back = _checked(body.return_url)

    async def write(conn: Conn) -> PayingView:
        before = _paying_view(await paying(conn, who.org_id))
        payer = await set_paying(conn, who.org_id, collects=body.invoices, recharge=body.recharge, return_url=back)
        after = _paying_view(payer)
        await record(conn, acted(request, who, who.org_id, before=before, after=after))
        return after

    return json_reply(_encode(await transact(gateway_of(request).pool, write, of=who.org_id)))


@get("/v1/payment-methods", operation_id="list_payment_methods", opt={"described": _METHODS})
async def list_methods(request: HttpRequest) -> Response[bytes]:
    """List what may be charged while nobody is there."""
    who = await manager(request)
    async with tenant(gateway_of(request).pool, who.org_id) as conn:
        return json_reply(_encode(MethodList(data=tuple(await methods(conn, who.org_id)))))


@post("/v1/payment-methods", operation_id="save_payment_method", opt={"described": _PAGE})
async def save_method(request: HttpRequest) -> Response[bytes]:
    """Open a page on which a card is saved without paying."""
    who, key, body = await manager(request), idempotency_key(request), await read_json(request, _return)
    url = await asked(desk_of(request).save_method(who.org_id, _checked(body.return_url), key or str(new_id())))
    return json_reply(_encode(Page(url)), 201)


@delete("/v1/payment-methods/{method_id:str}", operation_id="forget_payment_method", status_code=204, opt={"described": _FORGET})
async def forget_method(request: HttpRequest, method_id: str) -> None:
    """Remove a saved method."""
    who = await manager(request)
    if not _METHOD.fullmatch(method_id):
        raise NotFound
    await asked(desk_of(request).forget_method(who.org_id, method_id))
    await transact(gateway_of(request).pool, lambda conn: record(conn, acted(request, who, method_id)), of=who.org_id)


@post("/v1/paying/portal", operation_id="open_paying_portal", opt={"described": _PAGE})
async def open_portal(request: HttpRequest) -> Response[bytes]:
    """Open Stripe's own page about what the organization has saved there."""
    who, body = await manager(request), await read_json(request, _return)
    return json_reply(_encode(Page(await asked(desk_of(request).portal(who.org_id, _checked(body.return_url))))), 201)


@post("/stripe/webhook", operation_id="take_stripe_event", opt={"described": _EVENT})
async def take_event(request: HttpRequest) -> Response[bytes]:
    """For Stripe's messages. Each is kept before anything is done about it; the clerk asks Stripe for what it names."""
    gateway = gateway_of(request)
    desk_of(request)
    try:
        body = await read_body(request, BODY_BYTES_MAX)
        secret = gateway.settings.stripe_webhook_secret.reveal()
        signed = read_event(body, header(request, b"stripe-signature") or "", secret)
        await transact(gateway.pool, lambda conn: inbox.store_event(conn, signed))
    except (billing.WebhookRefused, TooLarge, InvalidRequest) as error:
        raise WebhookRefused from error
    return json_reply(_encode(Received()))


def desk_of(request: HttpRequest) -> Desk:
    """Raises NotFound where no payments are taken."""
    found = gateway_of(request).desk
    if found is None:
        raise NotFound("this gateway takes no payments: its operator has set no stripe_api_key")
    return found


async def asked(work: Awaitable[Result]) -> Result:
    """What the money plane refuses, as HTTP says it."""
    try:
        return await work
    except billing.StripeAway as error:
        raise Unavailable(str(error), retry_after_s=10) from error
    except billing.PaymentRefused as error:
        raise PaymentRefused(error.detail) from error
    except billing.PaymentConflict as error:
        raise IdempotencyMismatch from error
    except (billing.UnknownPayment, billing.UnknownInvoice, billing.UnknownPlan) as error:
        raise NotFound(error.detail) from error
    except billing.PlanChangeRefused as error:
        raise Conflict(error.detail) from error


def _checked(address: str) -> str:
    """Raises InvalidRequest for an address without TLS that is not on the customer's own machine."""
    if not (address.startswith("https://") or _LOCAL.match(address)):
        raise InvalidRequest("return_url must be https, or on localhost", param="return_url")
    return address


def _view(payment: Payment) -> PaymentView:
    return PaymentView(
        id=str(payment.id),
        purpose=payment.purpose,
        subject=payment.subject,
        currency=payment.currency,
        amount_minor=payment.amount_minor,
        received_minor=payment.received_minor,
        state=payment.state,
        failure=payment.failure,
        refused=payment.refused,
        created_at=payment.created_at,
        ended_at=payment.ended_at,
    )


def _paying_view(payer: Payer) -> PayingView:
    recharge = None
    if payer.threshold_micro is not None and payer.recharge_minor is not None and payer.month_max_minor is not None:
        recharge = Recharge(
            threshold_micro=payer.threshold_micro, amount_minor=payer.recharge_minor, month_max_minor=payer.month_max_minor
        )
    return PayingView(
        invoices=payer.collects,
        recharge=recharge,
        return_url=payer.return_url,
        method=payer.method_id,
        paused=payer.paused,
        tax_id_state=payer.tax_id_state,
    )
