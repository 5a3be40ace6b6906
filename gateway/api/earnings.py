"""/v1/earnings: what an organization earns as a payee – a merchant of its shop, a producer of its dramas – and is paid.

Who is a payee for whom is the platform's to say (`PATCH /v1/shares/payees/…`, `customer_id`); whose it is not, it is not there.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from litestar import Response, get

from billing.errors import UnknownPayee
from billing.kit.pool import as_platform, tenant
from billing.kit.query import Conn
from billing.shares.model import Payee
from billing.shares.payees import payee_by_id, payee_page
from billing.shares.payouts import payout_page
from billing.shares.read import PayeeStatement, accruals, payee_statement
from gateway.api.payees import (
    LISTED,
    MONTH,
    AccrualList,
    PayeeList,
    PayoutList,
    accrual_list,
    encode,
    month_in,
    payee_list,
    payout_list,
)
from gateway.edge.caller import HttpRequest, gateway_of
from gateway.edge.described import Answer, Described, Parameter
from gateway.edge.manager import manager
from gateway.edge.pages import PAGE, page_of, uuid_of
from gateway.edge.query import query_of
from gateway.edge.replies import json_reply
from gateway.errors import NotFound

_ID = Parameter("payee_id", "The id of a payee of the organization's.", str, "path")
_LIST = Described(
    tag="Earnings",
    answers={200: Answer("A page of payees that are the organization's.", PayeeList)},
    parameters=PAGE,
    errors=LISTED,
    scope="billing:read",
)
_STATEMENT = Described(
    tag="Earnings",
    answers={200: Answer("Opening, every movement, closing.", PayeeStatement)},
    parameters=(_ID, *MONTH),
    errors=(*LISTED, NotFound),
    scope="billing:read",
)
_ACCRUALS = Described(
    tag="Earnings",
    answers={200: Answer("A page of shares, each with its basis.", AccrualList)},
    parameters=(_ID, *PAGE),
    errors=(*LISTED, NotFound),
    scope="billing:read",
)
_PAYOUTS = Described(
    tag="Earnings",
    answers={200: Answer("A page of payouts.", PayoutList)},
    parameters=(_ID, *PAGE),
    errors=(*LISTED, NotFound),
    scope="billing:read",
)


@get("/v1/earnings", operation_id="list_earnings", opt={"described": _LIST})
async def list_earnings(request: HttpRequest) -> Response[bytes]:
    """List what the organization is owed, payee by payee, newest first."""
    who, (limit, after) = await manager(request), page_of(query_of(request, "limit", "cursor"))
    async with tenant(gateway_of(request).pool, who.org_id, readonly=True) as conn:
        found = await payee_page(conn, who.org_id, after=after, limit=limit + 1)
        async with as_platform(conn):
            return json_reply(encode(await payee_list(conn, found, limit)))


@get("/v1/earnings/{payee_id:str}/statement", operation_id="get_earnings_statement", opt={"described": _STATEMENT})
async def get_earnings_statement(request: HttpRequest, payee_id: str) -> Response[bytes]:
    """What was owed in a month, every movement and why, and what is owed at its end."""
    async with _owner(request, payee_id) as (conn, found):
        period = month_in(query_of(request, "month", "time_zone"))
        return json_reply(encode(await payee_statement(conn, found.reference, period.start, period.end)))


@get("/v1/earnings/{payee_id:str}/accruals", operation_id="list_earnings_accruals", opt={"described": _ACCRUALS})
async def list_earnings_accruals(request: HttpRequest, payee_id: str) -> Response[bytes]:
    """List shares of incomes and pools, what was given back, and how each came about."""
    async with _owner(request, payee_id) as (conn, found):
        limit, after = page_of(query_of(request, "limit", "cursor"))
        return json_reply(encode(accrual_list(await accruals(conn, found.id, after=after, limit=limit + 1), limit)))


@get("/v1/earnings/{payee_id:str}/payouts", operation_id="list_earnings_payouts", opt={"described": _PAYOUTS})
async def list_earnings_payouts(request: HttpRequest, payee_id: str) -> Response[bytes]:
    """List payouts, newest first."""
    async with _owner(request, payee_id) as (conn, found):
        limit, after = page_of(query_of(request, "limit", "cursor"))
        return json_reply(encode(payout_list(await payout_page(conn, found.id, after=after, limit=limit + 1), limit)))


@asynccontextmanager
async def _owner(request: HttpRequest, payee_id: str) -> AsyncGenerator[tuple[Conn, Payee]]:
    """The payee, found as the organization that it is of, and a snapshot that reads what is the platform's about it.

    Raises NotFound for one that is not the organization's.
    """
    who = await manager(request)
    pool = gateway_of(request).pool
    async with tenant(pool, who.org_id, isolation="repeatable_read", readonly=True) as conn:
        try:
            found = await payee_by_id(conn, uuid_of(payee_id))
        except UnknownPayee as error:
            raise NotFound from error
        async with as_platform(conn):
            yield conn, found
